"""What a release must pass before anything is changed: it loads, and the schema follows it."""

from __future__ import annotations

import click

from deploy.ops.as_service import AsService, Ran, variable
from deploy.ops.build import fail
from deploy.ops.change import Say
from deploy.ops.check import Check
from deploy.ops.directories import Directories
from deploy.ops.installation import Release
from deploy.ops.operation import PreflightError
from deploy.ops.terminal import printable
from deploy.ops.waiting import Progress

_LOAD_SECONDS = 120.0
_MIGRATE_SECONDS = 3600.0  # an index of a large table takes its time
_OWN_APPLICATION = "app.wsgi:app"


def check(release: Release, service: AsService, say: Say) -> None:
    """Has the release load its configuration and application; raises PreflightError."""
    program = release.directory / ".venv" / "bin" / "gunicorn"
    line = Progress()
    line.show(f"Release {release.id}: does it load?")
    try:
        ran = service.run(
            release,
            [str(program), "--check-config", "-c", str(release.directory / "gunicorn.conf.py")],
            seconds=_LOAD_SECONDS,
        )
    finally:
        line.clear()
    if ran.code != 0:
        _refuse(release, "it does not load", ran, _LOAD_SECONDS)
    say(str(Check(name="loads", ok=True, detail="its configuration and its application")))


def migrates(release: Release, directories: Directories) -> bool:
    """Whether the release brings our application's schema, and there is a database to bring it to.

    Without DATABASE_URL it is development, where the start applies migrations by itself.
    """
    ours = variable(directories, "WSGI_APP") in ("", _OWN_APPLICATION)
    there = (release.directory / "app" / "db").is_dir()
    return ours and there and bool(variable(directories, "DATABASE_URL"))


def migrate(release: Release, service: AsService, say: Say) -> None:
    """Applies the release's expand steps, under which the former one goes on; PreflightError."""
    line = Progress()
    line.show(f"Release {release.id}: migrations")
    try:
        ran = service.run(
            release, [str(release.python), "-m", "app.db", "migrate"], seconds=_MIGRATE_SECONDS
        )
    finally:
        line.clear()
    if ran.code != 0:
        _refuse(release, "its migrations failed", ran, _MIGRATE_SECONDS)
    for text in ran.output.splitlines():
        say(str(Check(name="migrations", ok=True, detail=printable(text))))


def _refuse(release: Release, what: str, ran: Ran, seconds: float) -> None:
    why = f"no end within {seconds:g} s" if ran.code is None else ran.last_line
    reason = f"{what}: {printable(why)}"
    fail(release, reason)
    click.echo(ran.output.rstrip("\n"), err=True)
    raise PreflightError(f"release {release.id}: {reason}", "mend it, then release again")
