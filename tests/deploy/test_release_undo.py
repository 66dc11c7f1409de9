"""When a rollback of the release can be undone."""

from __future__ import annotations

import pytest

from deploy.ops.rollback_release import may_undo

EVENTS = {
    "release": {"event": "release", "name": "release 20261124-000001-0000001"},
    "back": {"event": "rollback", "name": "rollback release"},
    "undo": {"event": "rollback", "name": "rollback release --undo"},
    "scale": {"event": "rollback", "name": "rollback scale"},
    "reload": {"event": "reload"},
}


@pytest.mark.parametrize(
    ("events", "may"),
    [
        ("", False),
        ("release", False),
        ("back", True),
        ("release back", True),
        ("back scale reload", True),
        ("back undo", False),
        ("back release", False),
        ("back undo back", True),
        ("back release!", True),  # one that failed has changed nothing
        ("release back!", False),
    ],
)
def test_table(events: str, may: bool) -> None:
    said = [
        EVENTS[word.rstrip("!")] | {"outcome": "rolled back" if "!" in word else "complete"}
        for word in events.split()
    ]
    assert may_undo(said) is may
