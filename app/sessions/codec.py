"""Session data as bytes: msgpack, which holds data and no code. Never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

MAX_BYTES = 64 * 1024  # a session is a note about a visitor, not a store

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, Any])


class EncodeError(ValueError):
    """The data cannot be stored: a type that msgpack has not, or too much of it."""


class DecodeError(ValueError):
    """The bytes are not a session that we stored."""


def encode(data: Mapping[str, Any]) -> bytes:
    """The bytes; raises EncodeError, naming sizes and types but no contents."""
    try:
        encoded = _encoder.encode(dict(data))
    except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
        raise EncodeError(f"session data cannot be stored: {type(error).__name__}") from error
    if len(encoded) > MAX_BYTES:
        raise EncodeError(f"session data is {len(encoded)} bytes, the limit is {MAX_BYTES}")
    return encoded


def decode(encoded: bytes) -> dict[str, Any]:
    """The data; raises DecodeError."""
    if len(encoded) > MAX_BYTES:
        raise DecodeError(f"{len(encoded)} bytes, the limit is {MAX_BYTES}")
    try:
        return _decoder.decode(encoded)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not msgpack of a session: {type(error).__name__}") from error
