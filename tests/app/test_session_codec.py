from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from app.sessions import codec


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"n": -1, "f": 0.5, "s": "ü", "b": b"\x00", "l": [1, {"a": None}], "t": True},
        {"when": datetime(2026, 1, 31, tzinfo=UTC)},
    ],
)
def test_data_comes_back_as_it_was(data: dict[str, Any]) -> None:
    assert codec.decode(codec.encode(data)) == data


def recursive() -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["self"] = data
    return data


@pytest.mark.parametrize(
    "data",
    [{"o": object()}, {"n": 2**70}, {"s": "\ud800"}, {"x": "a" * codec.MAX_BYTES}, recursive()],
    ids=["object", "integer", "surrogate", "size", "recursion"],
)
def test_what_cannot_be_stored_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(codec.EncodeError, match="session data"):
        codec.encode(data)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\xc1",
        b"garbage",
        b'{"user_id": 1}',
        b"\x93\x01\x02\x03",
        b"\x81\x01\x02",
        b"\x81",
        pickle.dumps({"user_id": "1"}),
        b"\x91" * 60_000,
        codec.encode({"x": "a" * (codec.MAX_BYTES - 10)}) + b"a" * 100,
    ],
)
def test_what_was_not_stored_by_us_is_refused(encoded: bytes) -> None:
    with pytest.raises(codec.DecodeError):
        codec.decode(encoded)
