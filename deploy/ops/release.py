"""`release`: a new version goes live, and stays only if it does well."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import click

from deploy.ops import bake, build, operation, options, prune, release_list, source
from deploy.ops.cluster import one_operation
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError, WrongUseError
from deploy.ops.installation import Installation, Release
from deploy.ops.live import SECONDS
from deploy.ops.operation import RolledBackError
from deploy.ops.release_change import ReleaseChange
from deploy.ops.source import Source


def _bake(context: click.Context, parameter: click.Parameter, text: str) -> int:  # noqa: ARG001 - click's
    try:
        return bake.seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("release", short_help="Bring a new release out, or an older one back.")
@click.argument("target", required=False, metavar="PATH|GITREF|ID")
@click.option("--list", "listed", is_flag=True, help="Show the releases that are there.")
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    metavar="DIRECTORY",
    help="Where GITREF is looked up; default: the current directory's repository.",
)
@click.option("--python", default="", metavar="PYTHON", help="The interpreter to build with.")
@click.option(
    "--bake",
    "seconds",
    default="0",
    show_default=True,
    callback=_bake,
    metavar="DURATION",
    help="How long to watch it before it counts as good, as 30s or 5m; 0: not at all.",
)
@options.why
@click.option("--force", is_flag=True, help="Skip the probe (READY_PATH) of the new release.")
@click.option("--no-migrate", is_flag=True, help="Leave the database's schema alone.")
@options.dry_run
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    metavar="N",
    help="How many releases stay on the disk.",
)
@options.timeout(SECONDS, "How long to wait for the reload.")
@options.outcome_as_json
def command(
    target: str | None,
    listed: bool,
    repository: Path,
    python: str,
    seconds: int,
    why: str,
    force: bool,
    no_migrate: bool,
    dry_run: bool,
    keep: int,
    timeout: float,
    as_json: bool,
) -> None:
    """Build PATH (a directory) or GITREF (a commit, tag, branch), and make it live.

    It is built beside the others, must load, and its migrations are applied, before anything is
    changed. Then the workers are replaced by a reload, the service is validated and watched; if
    anything fails, the former release comes back. ID makes a release live that is there already.

    \b
    Exit code: 0 complete, 1 failed and not put back, 2 wrong use, 4 rolled back,
    5 another operation runs, 6 it cannot be built or does not load and nothing was changed,
    130 Ctrl-C (rolled back).
    """
    directories = Directories.read(os.environ)
    installation = Installation.read(directories.environ)
    if listed:
        if target:
            raise WrongUseError(f"--list takes no argument, not '{target}'", "leave it out")
        lines = release_list.read(installation)
        click.echo(release_list.to_json(lines) if as_json else release_list.to_text(lines))
        return
    if not target:
        raise WrongUseError(
            "what is to be released? expected PATH, GITREF or ID", "see: smart-factory release -h"
        )
    with _wanted(installation, target, repository, dry_run=dry_run) as (release, made_of):
        change = ReleaseChange(
            installation,
            directories,
            release,
            made_of,
            python=python or build.default_python(),
            migrate=not no_migrate,
            bake=seconds,
            force=force,
            why=why,
            timeout=timeout,
        )
        try:
            operation.run(
                change, directories, why=why, dry_run=dry_run, as_json=as_json, watch=change.watch
            )
        except OperationError as error:
            if change.live.flipped:
                reason = error.reason if isinstance(error, RolledBackError) else error.message
                build.fail(release, reason)
            raise
    if not dry_run:
        _keep_house(change, installation, directories, keep)


@contextlib.contextmanager
def _wanted(
    installation: Installation, target: str, repository: Path, *, dry_run: bool
) -> Iterator[tuple[Release, Source | None]]:
    """The release, and what it is made of; None when it is there already."""
    there = {release.id: release for release in installation.all()}.get(target)
    if there is not None:
        yield there, None
        return
    with source.found(target, repository, brought_out=not dry_run) as made_of:
        name = source.new_id(made_of, time.time())
        yield Release(id=name, directory=installation.releases / name), made_of


def _keep_house(
    change: ReleaseChange, installation: Installation, directories: Directories, keep: int
) -> None:
    """It is live: says so on the disk, and removes what is too old. No reason to fail any more."""
    warnings: list[str] = []
    try:
        if change.live.served:
            change.release.mark("LIVED")
            change.release.unmark("FAILED")
        with one_operation(directories.state, "prune"):
            warnings = prune.prune(installation, keep=keep, spare=[change.release.id])
    except OSError as error:
        warnings = [f"{change.release.directory} cannot be marked ({error.strerror})"]
    except OperationError as error:
        warnings = [f"old releases were not removed: {error.message}"]
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
