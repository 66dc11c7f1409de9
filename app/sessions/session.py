"""`flask.session`: a dictionary that asks the database when it is first used, and not before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from flask.sessions import SessionMixin

from app.sessions import codec
from app.sessions.merge import merge
from app.sessions.store import Row

log = logging.getLogger(__name__)


class Session(SessionMixin):
    """One request's view of a session.

    The key `user_id` says whose the session is: it is kept in a column too, and a request that
    changes it gets the session a new token. `clear()` that leaves it empty ends the session.
    """

    def __init__(self, *, cookie: str | None, token: str | None, load: Callable[[str], Row | None]):
        self.cookie = cookie  # as the client sent it
        self.token = token  # the same, when it is well-formed
        self.rotating = False
        self._load = load
        self._row: Row | None = None
        self._data: dict[str, Any] | None = None
        self._readable = False
        self._cleared = False
        self._read: set[str] = set()  # keys looked at before they were set
        self._set: set[str] = set()

    @property
    def used(self) -> bool:
        """Whether the request looked into it: one that did not costs nothing."""
        return self._data is not None

    @property
    def row(self) -> Row | None:
        """What was loaded, also when its data could not be read."""
        return self._row

    @property
    def readable(self) -> bool:
        return self._readable

    @property
    def ended(self) -> bool:
        return self._cleared and not self._data

    def rotate(self) -> None:
        """Asks for a new token at the end of the request; the old one is then worthless."""
        self._opened()
        self.rotating = True

    def encoded(self) -> bytes:
        """The data to store; raises EncodeError."""
        return codec.encode(self._opened())

    def merged_with(self, theirs: bytes) -> bytes:
        """The data to store when another request has stored `theirs` meanwhile.

        Raises EncodeError, or DecodeError when theirs are no session's.
        """
        if self._cleared or self._row is None:
            return self.encoded()  # what was there, and what came to it meanwhile, was thrown away
        merged = merge(
            base=codec.decode(self._row.data),
            mine=codec.decode(self.encoded()),
            theirs=codec.decode(theirs),
            read=self._read,
        )
        if merged.overwritten:
            log.info(
                "session %d: the last of two concurrent writers won %d value(s)",
                *(self._row.id, merged.overwritten),
                extra={"event": "session.overwritten", "overwritten": merged.overwritten},
            )
        return codec.encode(merged.data)

    def _opened(self) -> dict[str, Any]:
        if self._data is None:
            self._data = self._loaded()
        return self._data

    def _loaded(self) -> dict[str, Any]:
        if self.token is None:
            return {}
        self._row = self._load(self.token)
        if self._row is None:
            return {}
        try:
            data = codec.decode(self._row.data)
        except codec.DecodeError as error:
            # Kept for whoever looks into it; to the visitor it is as if there were none.
            log.warning("session %d is unreadable: %s", self._row.id, error)
            return {}
        self._readable = True
        return data

    def _looked_at(self, key: str) -> None:
        if key not in self._set:
            self._read.add(key)

    def __getitem__(self, key: str) -> Any:
        self._looked_at(key)
        return self._opened()[key]

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str):
            self._looked_at(key)
        return key in self._opened()

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"session keys are strings, not {type(key).__name__}")
        self._set.add(key)
        self._opened()[key] = value

    def __delitem__(self, key: str) -> None:
        self._set.add(key)
        del self._opened()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened())

    def __len__(self) -> int:
        return len(self._opened())

    def clear(self) -> None:
        self._opened().clear()
        self._cleared = True

    def copy(self) -> dict[str, Any]:
        return dict(self.items())

    def __repr__(self) -> str:
        # Neither token nor contents: this ends up in logs.
        return f"<Session {'used' if self.used else 'unused'}>"
