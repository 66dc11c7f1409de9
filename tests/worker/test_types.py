"""What else than their values an application can see of the environ's objects: their types."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.worker.case import Case, post, raw, request
from tests.worker.record import Record
from tests.worker.stage import WORKER_CLASS, Pair, pair
from tests.worker.variants import Variant

# On purpose: a short body is there as a whole, and nothing is made for each request that only few
# applications ask for.
_OWN = {
    "wsgi.early_hints": "builtins.method",
    "wsgi.errors": "deploy.cluster.adaptive.origin._Errors",
    "wsgi.input": "deploy.cluster.adaptive.body.Body",
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("types"), Variant(name="types", cases=())) as found:
        yield found


def types(record: Record) -> dict[str, str]:
    lines = record.answers[0].json["read"]
    return {name: kind for name, _, kind in (line.partition(" is ") for line in lines)}


@pytest.mark.parametrize(
    "case",
    [
        raw("GET", request(b"/types")),
        raw("POST", post(b"hello", target=b"/types")),
        raw("POST of nothing", post(b"", target=b"/types")),
    ],
    ids=lambda case: case.name,
)
def test_objects_are_of_the_types_that_stock_has_but_for_those_on_purpose(
    servers: Pair, case: Case
) -> None:
    two = servers.play(case)
    own = _OWN if WORKER_CLASS == "adaptive" else {}
    assert types(two.ours) == types(two.stock) | own
