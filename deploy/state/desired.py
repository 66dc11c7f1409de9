"""What an operator asked for, kept across restarts: it wins over the environment."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from deploy.state.layout import SLOTS_MAX
from deploy.state.replacement import replace_file

FILE = "desired.json"
MODES = ("cluster", "fork")


class DesiredError(ValueError):
    """What an operator asked for cannot be read, or is not allowed; one line for people."""


@dataclass(frozen=True, kw_only=True)
class Desired:
    """What was asked for; None leaves it to the environment."""

    mode: str | None = None  # cluster or fork
    workers: int | str | None = None  # an integer, or "max"
    by: str = ""
    at: float = 0.0  # Unix time


def read(state_directory: Path) -> Desired:
    """What was asked for last; nothing without a file. Raises DesiredError.

    Keys of a later version of the kit are ignored.
    """
    return read_file(state_directory / FILE)


def read_file(path: Path) -> Desired:
    """What a file of that form says, such as a copy of it; as `read`."""
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Desired()
    except OSError as error:
        raise DesiredError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise _damaged(path) from None
    if not isinstance(values, dict):
        raise _damaged(path)
    return _checked(path, {key.name: values.get(key.name, key.default) for key in fields(Desired)})


def write(state_directory: Path, desired: Desired) -> None:
    """Replaces what was asked for, so that a crash leaves the old or the new; raises OSError.

    Raises DesiredError for what `read` would refuse.
    """
    path = state_directory / FILE
    _checked(path, asdict(desired))
    state_directory.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(asdict(desired)).encode() + b"\n")


def _checked(path: Path, values: dict[str, Any]) -> Desired:
    for name, (allowed, expected) in _ALLOWED.items():
        if not allowed(values[name]):
            shown = reprlib.repr(values[name])
            raise DesiredError(f"{path}: {name}={shown}: expected {expected}")
    return Desired(**values)


def _damaged(path: Path) -> DesiredError:
    return DesiredError(f"{path}: damaged: expected one JSON object; remove the file to forget it")


def _is_mode(value: object) -> bool:
    return value in (None, *MODES)


def _is_workers(value: object) -> bool:
    # A bool is an int to Python, not to an operator.
    number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= SLOTS_MAX
    return number or value in (None, "max")


def _is_name(value: object) -> bool:
    return isinstance(value, str)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < 1e11


_ALLOWED: dict[str, tuple[Callable[[object], bool], str]] = {
    "mode": (_is_mode, "cluster, fork or null"),
    "workers": (_is_workers, f'an integer from 1 to {SLOTS_MAX}, "max" or null'),
    "by": (_is_name, "a name"),
    "at": (_is_time, "seconds since 1970"),
}
