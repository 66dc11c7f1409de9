"""The application that a load test starts for itself."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import psutil
import pytest

from loadtests.server import Server, StartError, environment
from tests.processes import runs


def server(directory: Path, database_url: str, *, mode: str = "fork") -> Server:
    return Server(mode=mode, workers=2, directory=directory / "server", database_url=database_url)


def test_it_runs_while_the_block_does_and_whatever_the_developer_has_set(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("CLUSTER_WORKERS", "7"), ("ENV_FILE", "/nowhere"), ("PORT", "1")):
        monkeypatch.setenv(name, value)
    served = server(tmp_path, database_url, mode="cluster")
    with served.running():
        status = served.status()
        assert status is not None
        assert (status["state"], status["workers"]["ready"]) == ("ready", 2)
        with urllib.request.urlopen(f"{served.url}/health/ready", timeout=60) as answer:
            assert answer.status == 200
        master = psutil.Process(status["master"]["pid"])
        processes = [master, *master.children(recursive=True)]
    assert not any(map(runs, processes))
    stopped = served.status()
    assert stopped is not None
    assert stopped["state"] == "stopped"


def test_one_that_does_not_start_says_why_in_one_line(tmp_path: Path, database_url: str) -> None:
    served = server(tmp_path, database_url, mode="sideways")
    why = re.escape("in sideways mode ended: smart-factory: CLUSTER_MODE='sideways'")
    with pytest.raises(StartError, match=why) as error, served.running():
        pytest.fail("it must not get here")
    assert "\n" not in str(error.value)


def test_secrets_and_settings_of_the_shell_stay_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://production")
    monkeypatch.setenv("SECRET_KEY", "x")
    assert not {"DATABASE_URL", "SECRET_KEY"} & environment(APP_ENV="test").keys()
