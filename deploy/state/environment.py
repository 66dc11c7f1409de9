"""The environment that both sides of the kit start from, and the directories it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

_MEANT_EMPTY = ("READY_PATH", "WATCHDOG_PATH")


class EnvironmentFileError(ValueError):
    """The file that ENV_FILE names cannot be read."""


def read_env_file(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of `.env`, or of the file that ENV_FILE names; empty without a `.env`.

    Values are taken literally: no `$NAME` is replaced, so a password may hold one.
    Raises EnvironmentFileError when ENV_FILE names a file that cannot be read.
    """
    named = environ.get("ENV_FILE")
    path = Path(named or ".env")
    if not named and not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8") as file:
            values = dotenv_values(stream=file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise EnvironmentFileError(
            f"ENV_FILE='{path}': expected a file of NAME=value lines ({why})"
        ) from None
    return {name: value for name, value in values.items() if value is not None}


def added_by_file(environ: Mapping[str, str], file: Mapping[str, str]) -> dict[str, str]:
    """What the file adds to the environment: a variable that is empty there is left to the file.

    Except for READY_PATH and WATCHDOG_PATH, whose empty value says that nothing is asked.
    """
    return {
        name: value
        for name, value in file.items()
        if not environ.get(name) and not (name in _MEANT_EMPTY and name in environ)
    }


def runtime_directory(environ: Mapping[str, str]) -> Path:
    """Where the pid file and the scoreboard are; they mean nothing after a reboot."""
    return _directory(environ, "RUNTIME_DIRECTORY", "var/run")


def state_directory(environ: Mapping[str, str]) -> Path:
    """Where what must survive a restart is kept."""
    return _directory(environ, "STATE_DIRECTORY", "var/state")


def _directory(environ: Mapping[str, str], name: str, default: str) -> Path:
    # systemd joins several directories with colons; the first is ours (systemd.exec(5)).
    return Path((environ.get(name) or default).split(":")[0]).absolute()
