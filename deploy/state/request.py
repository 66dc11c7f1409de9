"""What an operator's command asks of the master beside the signal that it sends."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.state.replacement import replace_file

FILE, TAKEN = "request.json", ".request-taken.json"
SECONDS_MAX = 60  # an older one is a command's that gave up, not the signal's that came now


@dataclass(frozen=True, kw_only=True)
class Request:
    """One thing asked for, by one person."""

    id: str  # 16 hex digits; the answer on the scoreboard names it
    operation: str  # "reload"
    who: str
    why: str
    force: bool  # without the probe
    at: float  # Unix time


def new(operation: str, *, why: str, force: bool = False) -> Request:
    """A request by the person who runs this process."""
    return Request(
        id=secrets.token_hex(8),
        operation=operation,
        who=who(),
        why=why,
        force=force,
        at=time.time(),
    )


def who() -> str:
    """The person at the keyboard: who called sudo, the user, or a number without a name."""
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # no entry for this user: KeyError before Python 3.13
        name = f"uid {os.getuid()}"
    return name


def leave(runtime_directory: Path, request: Request) -> None:
    """Puts the request where the master looks at its next HUP; raises OSError."""
    replace_file(runtime_directory / FILE, json.dumps(asdict(request)).encode(), durable=False)


def take(runtime_directory: Path) -> Request | None:
    """The request that was left, which is then gone; None when there is none, or it is of no use.

    Never raises: a damaged or old one is dropped.
    """
    taken = runtime_directory / TAKEN
    try:
        # Renamed first: what is left from now on is the next one's.
        (runtime_directory / FILE).rename(taken)
        values = json.loads(taken.read_bytes())
    except (OSError, ValueError, RecursionError):
        values = None
    with contextlib.suppress(OSError):
        taken.unlink()
    return _decoded(values)


def _decoded(values: object) -> Request | None:
    if not isinstance(values, dict):
        return None
    if any(type(values.get(name)) is not kind for name, kind in _KINDS.items()):
        return None
    if not abs(time.time() - values["at"]) <= SECONDS_MAX:  # not a number is not near, either
        return None
    return Request(**{name: values[name] for name in _KINDS})


_KINDS = {"id": str, "operation": str, "who": str, "why": str, "force": bool, "at": float}
