"""Server-side sessions for Flask: opened lazily, saved once, never an exception at the end."""

from __future__ import annotations

import logging
from contextlib import suppress
from enum import Enum
from typing import Any, cast

from flask import Flask, Request, Response
from flask.sessions import SessionMixin
from flask_session.base import Serializer, ServerSideSessionInterface

from app.db import DatabaseUnavailable
from app.errors import rewrite_ended, rewrite_internal, rewrite_unavailable
from app.sessions import codec, token
from app.sessions.session import Session
from app.sessions.store import Login, Row, SessionStore

log = logging.getLogger(__name__)


class _Cookie(Enum):
    """What the answer does to the client's cookie, when it does not set a new one."""

    KEEP = "keep"
    DELETE = "delete"


class _OverError(Exception):
    """The session was to get a new token, and is over: nobody is logged in."""


class PostgresSessionInterface(ServerSideSessionInterface):
    """Flask-Session's interface without its eager read, its five statements and its pickle.

    Statements a request: none unused, one to read, one more to write. The cookie's name and
    attributes are Flask's settings SESSION_COOKIE_*; it has no expiry, the table has.
    """

    session_class = Session

    def __init__(self, app: Flask, *, store: SessionStore):
        super().__init__(app, key_prefix="", permanent=False)
        self.serializer = _Msgpack()
        self._store = store

    def open_session(self, app: Flask, request: Request) -> Session:
        """A session that has asked nobody yet."""
        cookie = request.cookies.get(self.get_cookie_name(app))
        sid = cookie if cookie and token.well_formed(cookie) else None
        return Session(cookie=cookie, token=sid, load=lambda t: self._store.load(token.digest(t)))

    def save_session(self, app: Flask, session: Session, response: Response) -> None:
        """Saves what changed; an answer that promised what could not be saved becomes an error.

        Flask calls this twice when it raises, and passes typed error handlers by: it does not.
        """
        if session.accessed:
            _vary(response)
        try:
            cookie = self._save(session)
        except DatabaseUnavailable:
            rewrite_unavailable(response)
        except _OverError:
            rewrite_ended(response)
        except codec.EncodeError as error:
            log.error("%s", error, extra={"event": "session.unencodable"})
            rewrite_internal(response)
        except codec.DecodeError as error:
            log.warning("the session became unreadable before it was saved: %s", error)
            rewrite_ended(response)
        except Exception:
            log.exception("the session could not be saved")
            rewrite_internal(response)
        else:
            self._set_cookie(app, response, cookie)

    def regenerate(self, session: SessionMixin) -> None:
        """A new token for the same session: call it at a login, with `flask.session`."""
        cast(Session, session).rotate()

    def revoke(self, user_id: str) -> int:
        """Ends all sessions of a user, this one included; how many. Raises DatabaseUnavailable."""
        return self._store.revoke(user_id)

    def close(self) -> None:
        """Closes this process's connections; the next session that is used opens others."""
        self._store.close()

    def _save(self, session: Session) -> str | _Cookie:
        """What becomes of the cookie: a new token, or nothing, or its end."""
        if not session.used:
            return _Cookie.KEEP
        row = session.row
        if session.ended:
            if row is not None:
                self._store.delete(row.id)
            return _Cookie.KEEP if session.cookie is None else _Cookie.DELETE
        data = session.encoded()
        user_id = _user_id(session)
        if row is None or session.token is None or not session.readable:
            # Always a token of ours: one that a client brought along may be known to others.
            return self._create(data, user_id) if session else _Cookie.KEEP
        if session.rotating or user_id != row.user_id:
            return self._rotate(session, session.token, row, data, user_id)
        if data != row.data:
            # When the row is gone (logged out meanwhile), so is the write.
            self._store.save(token.digest(session.token), row, data=data, merge=session.merged_with)
        elif row.touch_due:
            self._touch(session.token)
        return _Cookie.KEEP

    def _create(self, data: bytes, user_id: str | None) -> str:
        sid = token.new()
        self._store.insert(token.digest(sid), data=data, user_id=user_id)
        return sid

    def _rotate(
        self, session: Session, old: str, row: Row, data: bytes, user_id: str | None
    ) -> str:
        sid = token.new()
        saved = self._store.save(
            token.digest(old),
            row,
            data=data,
            merge=session.merged_with,
            login=Login(new_hash=token.digest(sid), user_id=user_id),
        )
        if not saved:
            raise _OverError
        return sid

    def _touch(self, sid: str) -> None:
        # Without it the answer is complete all the same, and the next read tries again.
        with suppress(DatabaseUnavailable):
            self._store.touch(token.digest(sid))

    def _set_cookie(self, app: Flask, response: Response, cookie: str | _Cookie) -> None:
        if cookie is _Cookie.KEEP:
            return
        _vary(response)
        attributes: dict[str, Any] = {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
        }
        name = self.get_cookie_name(app)
        if isinstance(cookie, str):
            response.set_cookie(name, cookie, **attributes)
        else:
            response.delete_cookie(name, **attributes)

    # What Flask-Session's own open_session and save_session call; ours replace both.

    def _retrieve_session_data(self, store_id: str) -> dict[str, Any] | None:
        row = self._store.load(token.digest(store_id))
        return None if row is None else codec.decode(row.data)

    def _delete_session(self, store_id: str) -> None:
        row = self._store.load(token.digest(store_id))
        if row is not None:
            self._store.delete(row.id)

    def _upsert_session(self, *_: Any) -> None:
        raise NotImplementedError("an upsert would bring a session back that was logged out")


class _Msgpack(Serializer):
    """In the place of Flask-Session's serializer, which falls back to pickle."""

    def encode(self, session: Session) -> bytes:
        return session.encoded()

    def decode(self, serialized_data: bytes) -> dict[str, Any]:
        return codec.decode(serialized_data)


def _vary(response: Response) -> None:
    if "Vary" in response.headers:
        response.vary.add("Cookie")
    else:  # the parser is not needed then, which each request would pay for
        response.headers["Vary"] = "Cookie"


def _user_id(session: Session) -> str | None:
    value = session.get("user_id")
    return None if value is None else str(value)
