"""What is noted before a change, to be compared with afterwards: a session, and the errors so far.

The session is opened as a visitor would: PATCH /api/preferences answers with a cookie, whatever its
name. An application without such a route has no session to compare.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass, replace

from deploy.ops import new_errors
from deploy.ops.endpoint import Answer, Endpoint
from deploy.ops.new_errors import Mark
from deploy.ops.service import Service

PATH, NAME = "/api/preferences", "validation"


@dataclass(frozen=True, kw_only=True)
class Session:
    """A visitor's session, and the value that must be found in it."""

    cookie: str
    token: str

    def ask(self, endpoint: Endpoint) -> Answer:
        """Reads it; raises OSError."""
        return endpoint.ask("GET", PATH, headers={"Cookie": self.cookie})

    def wrong(self, answer: Answer) -> str:
        """What is wrong with the answer; empty when the value is there."""
        if answer.status != 200:
            return f"answered {answer.status}"
        return "" if _preferences(answer).get(NAME) == self.token else "does not know the session"

    def close(self, endpoint: Endpoint) -> None:
        """Takes the value out again, if that is still possible."""
        with contextlib.suppress(OSError):
            endpoint.ask("PATCH", PATH, json={NAME: None}, headers={"Cookie": self.cookie})


@dataclass(frozen=True, kw_only=True)
class Witness:
    """Opened before a change."""

    session: Session | None
    sessionless: str  # why there is no session
    broken: bool  # there should be one: the route answers with an error
    failing: str  # the check that the service failed already
    mark: Mark

    @classmethod
    def open(cls, service: Service) -> Witness:
        """Notes how it is; never raises for what cannot be asked."""
        mark = new_errors.mark(service.unit, service.directories.state)
        failing = service.board.failing if service.board else ""
        session, why, broken = _opened(service.endpoint)
        return cls(session=session, sessionless=why, broken=broken, failing=failing, mark=mark)

    def anew(self, service: Service) -> Witness:
        """For another change: the same session, but what has been said until now is known."""
        return replace(self, mark=new_errors.mark(service.unit, service.directories.state))


def _opened(endpoint: Endpoint) -> tuple[Session | None, str, bool]:
    token = secrets.token_hex(8)
    try:
        answer = endpoint.ask("PATCH", PATH, json={NAME: token})
    except OSError as error:
        return None, f"PATCH {PATH}: no answer ({error})", True
    if answer.status >= 500:
        return None, f"PATCH {PATH} answered {answer.status}", True
    cookies = [each.partition(";")[0].strip() for each in answer.headers.every("Set-Cookie")]
    if answer.status != 200 or not cookies or _preferences(answer).get(NAME) != token:
        return None, f"the application opens no session at PATCH {PATH} ({answer.status})", False
    return Session(cookie="; ".join(cookies), token=token), "", False


def _preferences(answer: Answer) -> dict[str, object]:
    body = answer.json
    found = body.get("preferences") if isinstance(body, dict) else None
    return found if isinstance(found, dict) else {}
