"""Whether Gunicorn would refuse a head that has not come in whole."""

from __future__ import annotations

from typing import Any

from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader


class _NoMoreYetError(Exception):
    """The parser wants bytes that are not here."""


class _Buffered(Unreader):
    def __init__(self, data: bytes):
        super().__init__()
        self.unread(data)

    def chunk(self, size_hint: int | None = None) -> bytes:  # noqa: ARG002 - Unreader's signature
        raise _NoMoreYetError


def refused(cfg: Any, data: bytes, peer: Any) -> bool:
    """Asks Gunicorn's own parser; False while it would wait for more.

    It reads whole lines, so the answer changes only with a line's end or at a limit.
    """
    try:
        Request(cfg, _Buffered(data), peer)
    except _NoMoreYetError:
        return False
    except Exception:  # whatever it is, Gunicorn's own path raises it again
        return True
    return True
