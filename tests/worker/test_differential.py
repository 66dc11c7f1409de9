"""The same bytes to stock gthread and to our worker: the same answers, the same ends."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.worker.conftest import Results
from tests.worker.record import differences
from tests.worker.variants import VARIANTS, Variant

# Hundreds of exchanges a test: much longer than one of them, where others use the machine.
pytestmark = pytest.mark.timeout(400)

_CASES = [
    pytest.param(variant, case.name, id=f"{variant.name}: {case.name}")
    for variant in VARIANTS
    for case in variant.cases
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_each_case_has_a_name_of_its_own(variant: Variant) -> None:
    names = Counter(case.name for case in variant.cases)
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize(("variant", "name"), _CASES)
def test_our_worker_answers_as_stock_does(variant: Variant, name: str, played: Results) -> None:
    two = played(variant)[name]
    found = "\n".join(differences(two.ours, two.stock))
    if found:
        pytest.fail(f"{variant.case(name).steps}\n{found}", pytrace=False)
