"""The three-way merge, in tables: base, mine, theirs → both."""

from __future__ import annotations

from typing import Any

import pytest

from app.sessions.merge import merge

Data = dict[str, Any]


class Everything:
    """The request had looked at every key before it set it."""

    def __contains__(self, key: object) -> bool:
        return True

    def __iter__(self) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


def merged(base: Data, mine: Data, theirs: Data, *, read: Any = None) -> tuple[Data, int]:
    outcome = merge(
        base=base, mine=mine, theirs=theirs, read=Everything() if read is None else read
    )
    return outcome.data, outcome.overwritten


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "both"),
    [
        pytest.param({}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="distinct keys are all kept"),
        pytest.param({"a": 1}, {}, {"a": 1, "b": 2}, {"b": 2}, id="mine deletes, theirs sets"),
        pytest.param({"a": 1}, {"a": 1, "b": 2}, {}, {"b": 2}, id="theirs deletes, mine sets"),
        pytest.param({"a": 1}, {}, {}, {}, id="both delete"),
        pytest.param({"n": 5}, {"n": 6}, {"n": 9}, {"n": 10}, id="a number moves by my difference"),
        pytest.param({"n": 5}, {"n": 6}, {"n": 6}, {"n": 7}, id="equal increments both count"),
        pytest.param({}, {"n": 1}, {"n": 1}, {"n": 2}, id="a counter that both began"),
        pytest.param({"n": 5}, {"n": 7}, {}, {"n": 2}, id="a counter that they reset"),
        pytest.param({"n": 1.5}, {"n": 2}, {"n": 2.0}, {"n": 2.5}, id="numbers of two kinds"),
        pytest.param({"l": [1]}, {"l": [1, 2]}, {"l": [1, 3]}, {"l": [1, 3, 2]}, id="lists append"),
        pytest.param(
            {"l": [1]}, {"l": [1, 2]}, {"l": [1, 2]}, {"l": [1, 2, 2]}, id="equal items append"
        ),
        pytest.param({}, {"l": ["x"]}, {"l": ["x"]}, {"l": ["x", "x"]}, id="a list both began"),
        pytest.param(
            {"l": [1, 2]}, {"l": [2]}, {"l": [1, 2, 3]}, {"l": [2, 3]}, id="mine pops, theirs adds"
        ),
        pytest.param(
            {"l": [1, 2]}, {"l": [1, 2, 3]}, {"l": [2]}, {"l": [2, 3]}, id="theirs pops, mine adds"
        ),
        pytest.param({"l": [1]}, {"l": [1, 2]}, {}, {"l": [2]}, id="a list that they took away"),
        pytest.param(
            {"d": {"n": 1, "x": 1}},
            {"d": {"n": 2, "x": 1}},
            {"d": {"n": 4, "y": 1}},
            {"d": {"n": 5, "y": 1}},
            id="dicts merge within",
        ),
        pytest.param({}, {"d": {"a": 1}}, {"d": {"b": 2}}, {"d": {"a": 1, "b": 2}}, id="new dicts"),
        pytest.param(
            {"d": {"a": 1}}, {"d": {"a": 1, "b": 2}}, {}, {"d": {"b": 2}}, id="a dict they deleted"
        ),
        pytest.param({"a": None}, {"a": 1}, {"a": None}, {"a": 1}, id="null is a value"),
        pytest.param({"a": 1}, {"a": True}, {"a": 1}, {"a": True}, id="true is not one"),
        pytest.param({}, {"a": "x"}, {"a": "x"}, {"a": "x"}, id="the same text twice"),
    ],
)
def test_both_changes_are_kept(base: Data, mine: Data, theirs: Data, both: Data) -> None:
    assert merged(base, mine, theirs) == (both, 0)


@pytest.mark.parametrize(
    ("base", "mine", "theirs"),
    [
        pytest.param({"a": "x"}, {"a": "y"}, {"a": "z"}, id="texts"),
        pytest.param({"a": 1}, {"a": 2}, {"a": "z"}, id="of two types"),
        pytest.param({"a": 1}, {}, {"a": 2}, id="mine deletes what they changed"),
        pytest.param({"a": "x"}, {"a": "y"}, {}, id="mine changed what they deleted"),
        pytest.param({"a": True}, {"a": False}, {"a": 1}, id="truth values are no numbers"),
        pytest.param({"l": [1, 2]}, {"l": [3]}, {"l": [4]}, id="both rewrote a list"),
        pytest.param({"d": {"a": "x"}}, {"d": {"a": "y"}}, {"d": {"a": "z"}}, id="within a dict"),
    ],
)
def test_the_last_wins_and_is_counted(base: Data, mine: Data, theirs: Data) -> None:
    assert merged(base, mine, theirs) == (mine, 1)


def test_a_number_that_was_not_read_is_set() -> None:
    assert merged({"n": 5}, {"n": 0}, {"n": 9}, read=()) == ({"n": 0}, 1)
    assert merged({}, {"n": 1}, {"n": 1}, read=()) == ({"n": 1}, 0)


def test_a_new_list_that_was_not_read_is_set() -> None:
    assert merged({}, {"l": [1]}, {"l": [2]}, read=()) == ({"l": [1]}, 1)


def test_the_arguments_stay_as_they_are() -> None:
    base, mine, theirs = {"l": [1]}, {"l": [1, 2]}, {"l": [1, 3], "d": {"a": 1}}
    merged(base, mine, theirs)
    assert (base, mine, theirs) == ({"l": [1]}, {"l": [1, 2]}, {"l": [1, 3], "d": {"a": 1}})


def test_whatever_the_order_no_increment_is_lost() -> None:
    stored: Data = {}
    for base in ({}, {"n": 1}, {}, {"n": 2}, {}):
        mine = {"n": base.get("n", 0) + 1}
        stored, overwritten = merged(base, mine, stored)
        assert overwritten == 0
    assert stored == {"n": 5}
