"""Whatever the request, made up of good and bad parts, our worker answers as stock does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker import generator
from tests.worker.case import Case
from tests.worker.conftest import fail_on_difference
from tests.worker.stage import Pair, pair
from tests.worker.variants import Variant

# Hundreds of exchanges a test: much longer than one of them, where others use the machine.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("generated"), Variant(name="generated", cases=())) as found:
        yield found


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(cases=st.lists(generator.cases(), min_size=16, max_size=16))
def test_a_generated_request(servers: Pair, cases: list[Case]) -> None:
    fail_on_difference(servers, cases)
