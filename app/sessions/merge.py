"""Two requests wrote to one session at once: what of both is kept.

A three-way merge that does to *their* data what this request did to the data it had loaded, as if
it had come after them. Pure: no clock, no database.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass
class Merged:
    """The outcome."""

    data: dict[str, Any] = field(default_factory=dict)
    overwritten: int = 0  # values of theirs that ours replaced: the last wins


class _Missing:
    """No value under this key; null is one."""

    def __bool__(self) -> bool:
        return False


_MISSING = _Missing()


def merge(
    *,
    base: Mapping[str, Any],
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    read: Collection[str],
) -> Merged:
    """What the session holds after both; all three are as msgpack decodes them.

    Key by key: what one side changed or deleted is taken over. Where both changed a key, dicts
    merge likewise, what was appended to a list is appended to theirs, and a number moves by as much
    as mine did. Anything else is ours, and counted. `read` are the keys that this request looked at
    before it set them: one it did not look at is set, not added to.
    """
    merged = Merged()
    merged.data = _dicts(base, mine, theirs, read, merged)
    return merged


def _dicts(
    base: Mapping[Any, Any],
    mine: Mapping[Any, Any],
    theirs: Mapping[Any, Any],
    read: Collection[Any] | None,
    merged: Merged,
) -> dict[Any, Any]:
    """`read` is None inside a value: who changed a part of it has read it."""
    result = dict(theirs)
    for key in {**base, **mine}:
        value = _values(
            base.get(key, _MISSING),
            mine.get(key, _MISSING),
            theirs.get(key, _MISSING),
            read is None or key in read,
            merged,
        )
        if value is _MISSING:
            result.pop(key, None)
        else:
            result[key] = value
    return result


def _values(base: Any, mine: Any, theirs: Any, was_read: bool, merged: Merged) -> Any:
    if _same(mine, base):
        return theirs
    if _same(theirs, base):
        return mine
    # A key that only one of us had, or that they deleted, is as good as empty.
    if isinstance(mine, dict) and _empty_or(dict, theirs):
        return _dicts(base if isinstance(base, dict) else {}, mine, theirs or {}, None, merged)
    if isinstance(mine, list) and _empty_or(list, theirs) and (was_read or isinstance(base, list)):
        joined = _lists(base if isinstance(base, list) else [], mine, theirs or [])
        if joined is not None:
            return joined
    if was_read and _is_number(mine) and _number_or_none(theirs) and _number_or_none(base):
        return (theirs or 0) + (mine - (base or 0))
    if not _same(mine, theirs):
        merged.overwritten += 1
    return mine


def _lists(base: list[Any], mine: list[Any], theirs: list[Any]) -> list[Any] | None:
    """Theirs with what mine has more than the base, or the other way round, else None."""
    length = len(base)
    if _same(mine[:length], base):
        return theirs + mine[length:]
    if _same(theirs[:length], base):
        return mine + theirs[length:]
    return None


def _same(one: Any, other: Any) -> bool:
    """Equal and of equal types: 1, 1.0 and True are three values."""
    if one is _MISSING or other is _MISSING:
        return one is other
    return msgspec.msgpack.encode(one) == msgspec.msgpack.encode(other)


def _empty_or(kind: type, value: Any) -> bool:
    return value is _MISSING or isinstance(value, kind)


def _number_or_none(value: Any) -> bool:
    return value is _MISSING or _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
