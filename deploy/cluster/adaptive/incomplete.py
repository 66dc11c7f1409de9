"""Why Gunicorn would refuse a head that has not come in whole."""

from __future__ import annotations

from typing import Any

from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader


class _NoMoreYetError(Exception):
    """The parser wants bytes that are not here."""


class _Buffered(Unreader):
    def __init__(self, *pieces: bytes):
        super().__init__()
        self._pieces = [piece for piece in reversed(pieces) if piece]

    def chunk(self, size_hint: int | None = None) -> bytes:  # noqa: ARG002 - Unreader's signature
        if not self._pieces:
            raise _NoMoreYetError
        return self._pieces.pop()


def refusal(cfg: Any, data: bytes, peer: Any) -> Exception | None:
    """Asks Gunicorn's own parser, which raises what its worker answers; None while it would wait.

    It reads whole lines, so the answer changes only with a line's end or at a limit; and at some
    limits it looks only when more has come in.
    """
    for pieces in ((data,), (data[:-1], data[-1:])):
        try:
            Request(cfg, _Buffered(*pieces), peer)
        except _NoMoreYetError:
            continue
        except Exception as error:
            return error
    return None
