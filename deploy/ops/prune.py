"""Which releases may go, and their going."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from deploy.ops.installation import Installation, Release

_LINKS = ("current", "previous", "bare")


def superfluous(
    releases: Sequence[Release], *, keep: int, protected: Collection[str]
) -> list[Release]:
    """Those to remove, so that `keep` stay: leftovers of builds, then failed ones, then old ones.

    What is protected stays, and counts. `releases` come in the order of their age.
    """
    free = [release for release in releases if release.id not in protected]
    leftovers = [release for release in free if not release.whole]
    whole = [release for release in free if release.whole]
    whole.sort(key=lambda release: not release.failure)  # stable: of each kind the oldest first
    excess = len(releases) - len(leftovers) - keep
    return leftovers + whole[: max(0, excess)]


def prune(installation: Installation, *, keep: int, spare: Collection[str] = ()) -> list[str]:
    """Removes them, and returns what to warn of. Nothing else may build a release meanwhile."""
    linked = (installation.linked(name) for name in _LINKS)
    protected = {*spare, *(release.id for release in linked if release), *in_use(installation)}
    warnings = []
    for release in superfluous(installation.all(), keep=keep, protected=protected):
        try:
            # First of all: what is left of an interrupted removal must not look like a release.
            (release.directory / "BUILDING").touch()
            shutil.rmtree(release.directory)
        except OSError as error:
            warnings.append(f"release {release.id} cannot be removed: {error}")
    return warnings


def in_use(installation: Installation) -> set[str]:
    """The releases that processes were started in: a master lives longer than its first release."""
    folder = installation.releases.resolve()
    found = set()
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            place = link.readlink()
        except OSError:  # gone, or another user's
            continue
        if place.is_relative_to(folder) and place != folder:
            found.add(place.relative_to(folder).parts[0])
    return found
