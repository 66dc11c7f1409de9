from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from deploy.ops.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from tests.processes import runs
from tests.wait import wait_until


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=60) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def command(data: Path) -> list[str]:
    return [sys.executable, "-m", "deploy.ops.embedded_postgres", "--data", str(data)]


def test_data_survives_a_stop_and_a_start(own_postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(own_postgres.start()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    own_postgres.stop()

    with psycopg.connect(own_postgres.start()) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        version = connection.execute("SHOW server_version").fetchone()
        assert version is not None
        assert version[0].startswith("18.")


def test_the_last_user_stops_the_server(own_postgres: EmbeddedPostgres) -> None:
    second = EmbeddedPostgres(own_postgres.data)
    url = own_postgres.start()
    assert second.start() == url

    own_postgres.stop()
    assert answers(url)

    second.stop()
    assert not answers(url)


def test_a_user_that_was_killed_is_not_counted(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [*command(tmp_path / "pg"), "--hold"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    url = holder.stdout.readline().strip()
    holder.kill()
    holder.communicate(timeout=60)
    assert answers(url), "the server outlives a killed holder, until the next user ends"

    postgres = EmbeddedPostgres(tmp_path / "pg")
    assert postgres.start() == url
    postgres.stop()
    assert not answers(url)


def test_a_server_that_was_killed_is_started_again(own_postgres: EmbeddedPostgres) -> None:
    def postmaster() -> int:
        return int((own_postgres.data / "postmaster.pid").read_text().split()[0])

    url = own_postgres.start()
    first = postmaster()
    backends = psutil.Process(first).children()  # afterwards they are init's
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not answers(url), what="the server to be gone")
    wait_until(lambda: not any(map(runs, backends)), what="its backends to be gone")

    own_postgres.stop()  # nothing to stop: must not wait for it
    assert answers(own_postgres.start())
    assert postmaster() != first


def test_the_pid_of_another_process_is_not_taken_for_the_server(
    own_postgres: EmbeddedPostgres,
) -> None:
    own_postgres.start()
    lines = (own_postgres.data / "postmaster.pid").read_text().splitlines()
    own_postgres.stop()
    lines[0] = str(os.getpid())
    (own_postgres.data / "postmaster.pid").write_text("\n".join(lines) + "\n")
    assert answers(own_postgres.start())


def test_a_holder_stops_the_server_when_its_input_ends(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [*command(tmp_path / "pg"), "--hold"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    url = holder.stdout.readline().strip()
    assert answers(url)
    holder.communicate(timeout=100)
    assert holder.returncode == 0
    assert not answers(url)


def test_a_command_gets_the_url_and_its_exit_code_is_kept(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['DATABASE_URL']); sys.exit(7)"
    done = subprocess.run(
        [*command(tmp_path / "pg"), "--", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith("postgresql://postgres@/postgres?host=")
    assert not answers(done.stdout.strip())


def test_a_path_too_long_for_a_socket_still_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    postgres = EmbeddedPostgres(deep / "pg")
    url = postgres.start()
    assert answers(url)
    postgres.stop()
    assert not answers(url)


@pytest.mark.parametrize("name", ["notes.txt", "PG_VERSION"])
def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path, name: str) -> None:
    data = tmp_path / "pg"
    data.mkdir()
    (data / name).write_text("16\n")
    with pytest.raises(EmbeddedPostgresError, match=str(data)):
        EmbeddedPostgres(data).start()
    assert [path.name for path in data.iterdir()] == [name]
