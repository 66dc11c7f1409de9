"""A release's own programs, run as the service would run them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.ops.as_service import AsService
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError
from deploy.ops.installation import Release

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@pytest.fixture
def service(tmp_path: Path) -> AsService:
    state = tmp_path / "state"
    state.mkdir()
    if os.geteuid() == 0:
        os.chown(state, NOBODY, NOBODY)
    directories = Directories(runtime=tmp_path / "run", state=state, environ={})
    found = AsService.read(directories, tmp_path)
    return AsService(
        directories=directories,
        root=tmp_path,
        identity=found.identity,
        credentials=tmp_path / "credentials",
    )


@pytest.fixture
def release() -> Release:
    """In a directory that anybody may enter."""
    return Release(id="20261124-000001-0000001", directory=Path("/"))


def run(
    service: AsService, release: Release, script: str, seconds: float = 60
) -> tuple[int | None, str]:
    ran = service.run(release, ["/bin/sh", "-c", script], seconds=seconds)
    return ran.code, ran.last_line


@needs_root
def test_root_becomes_who_owns_the_state(service: AsService, release: Release) -> None:
    said = run(service, release, "echo $(id -u) $(id -g) $(pwd) $PWD")
    assert said == (0, f"{NOBODY} {NOBODY} / /")


def test_it_gets_the_directories_and_nothing_of_another_process(
    service: AsService, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@another")
    monkeypatch.setenv("MINE", "kept")
    directories = service.directories
    assert run(
        service, release, 'echo "$STATE_DIRECTORY $RUNTIME_DIRECTORY $MINE ${NOTIFY_SOCKET-none}"'
    ) == (0, f"{directories.state} {directories.runtime} kept none")


def test_secrets_are_its_own_for_as_long_as_it_runs(service: AsService, release: Release) -> None:
    service.credentials.mkdir()
    secret = service.credentials / "SECRET_KEY"
    secret.write_text("correct horse")
    secret.chmod(0o600)
    script = """
        cd "$CREDENTIALS_DIRECTORY" || exit
        echo $(pwd) $(cat SECRET_KEY) $(stat -c %a SECRET_KEY .) $(($(stat -c %u .) - $(id -u)))
    """
    code, said = run(service, release, script)
    folder, *rest = said.split()
    assert (code, rest) == (0, ["correct", "horse", "400", "700", "0"])
    assert not Path(folder).exists()


def test_without_secrets_there_is_no_directory_for_them(
    service: AsService, release: Release
) -> None:
    assert run(service, release, "echo ${CREDENTIALS_DIRECTORY-none}") == (0, "none")


def test_how_it_ends_is_told(service: AsService, release: Release) -> None:
    assert run(service, release, "echo begun; echo no such thing >&2; exit 3") == (
        3,
        "no such thing",
    )
    assert run(service, release, "echo begun; exec sleep 600", seconds=5) == (None, "begun")
    with pytest.raises(OperationError, match="/nowhere/python cannot be run"):
        service.run(release, ["/nowhere/python"], seconds=5)
