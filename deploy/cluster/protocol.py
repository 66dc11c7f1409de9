"""What master and mold say to each other: JSON messages with descriptors, over a socket pair.

The socket is of type SOCK_SEQPACKET, which keeps messages apart (unix(7)). Master and mold may be
of different releases, hence the version, which each mold says first.

Mold to master: `hello`, `configured`, `unsafe`, `ready`, `failed`. Master to mold: `load`, `spawn`,
`reopen`. A worker reports its own boot over a pipe, in lines of JSON: `pid`, then `ready`, or
`failed`, or the canary's `passed`.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

VERSION = 1
_MESSAGE_BYTES = 256 * 1024  # more than the kernel lets through
_DESCRIPTORS_MAX = 128
_TEXT_BYTES = 16 * 1024  # JSON may double it

Message = dict[str, Any]


class ProtocolError(RuntimeError):
    """What came is no message of this protocol."""


def pair() -> tuple[socket.socket, socket.socket]:
    """The master's end, which never blocks, and the mold's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


def send(end: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Sends one message; raises OSError when the other side is gone or does not read."""
    socket.send_fds(end, [json.dumps(message, ensure_ascii=False).encode()], descriptors)


def receive(end: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors; None when the other side is gone.

    Raises BlockingIOError when nothing has come, ProtocolError for nonsense.
    """
    try:
        raw, descriptors = _received(end)
    except ConnectionResetError:  # said once, when the other side has left something unread
        raw, descriptors = _received(end)
    if not raw:
        return None
    try:
        message = decode(raw)
    except ProtocolError:
        for fd in descriptors:
            os.close(fd)
        raise
    for fd in descriptors:
        os.set_inheritable(fd, False)
    return message, descriptors


def _received(end: socket.socket) -> tuple[bytes, list[int]]:
    raw, descriptors, _, _ = socket.recv_fds(end, _MESSAGE_BYTES, _DESCRIPTORS_MAX)
    return raw, descriptors


def decode(raw: bytes) -> Message:
    """One JSON object; raises ProtocolError for anything else."""
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        raise ProtocolError(f"not a message: {raw[:80]!r}") from None
    if not isinstance(message, dict):
        raise ProtocolError(f"not a message: {raw[:80]!r}")
    return message


def shortened(text: str) -> str:
    """The end of a text, which is where a traceback says what happened; in bytes it has a limit."""
    return text.encode(errors="replace")[-_TEXT_BYTES:].decode(errors="ignore")
