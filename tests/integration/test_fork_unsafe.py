"""Applications that leave something open after their import are served by fresh imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import Cluster

APP = """
import os, socket, sqlite3, threading, time
{opens}
IMPORTED_IN = os.getpid()
def app(environ, start_response):
    body = b"fresh" if IMPORTED_IN == os.getpid() else b"mold"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
OPENS = {
    "thread": (
        "t = threading.Thread(target=time.sleep, args=(99,), daemon=True, name='beat')\nt.start()",
        "thread 'beat'",
    ),
    "connection": (
        "s = socket.create_server(('127.0.0.1', 0))\nc = socket.create_connection(s.getsockname())",
        "connection to 127.0.0.1:",
    ),
    "database": ("d = sqlite3.connect('things.db')", "SQLite database"),
}


def start(tmp_path: Path, opens: str, **env: str) -> Cluster:
    release = tmp_path / "release"
    release.mkdir()
    (release / "served.py").write_text(APP.format(opens=opens))
    return Cluster(tmp_path / "c", "--chdir", str(release), "served:app", env=env)


@pytest.mark.parametrize("name", OPENS)
def test_what_is_open_is_named_and_each_worker_imports_afresh(tmp_path: Path, name: str) -> None:
    opens, named = OPENS[name]
    with start(tmp_path, opens) as cluster:
        assert cluster.get("/").body == b"fresh"
        (line,) = cluster.lines("is not safe to fork")
        assert "so each worker imports it afresh" in line
        assert named in line
        assert cluster.reload().returncode == 0
        assert cluster.get("/").body == b"fresh"


def test_a_safe_application_is_forked(tmp_path: Path) -> None:
    with start(tmp_path, "") as cluster:
        assert cluster.get("/").body == b"mold"
        assert not cluster.lines("is not safe to fork")


def test_the_mold_can_be_insisted_on(tmp_path: Path) -> None:
    with start(tmp_path, OPENS["thread"][0], CLUSTER_PRELOAD="mold") as cluster:
        assert cluster.get("/").body == b"mold"
        (line,) = cluster.lines("is not safe to fork")
        assert "CLUSTER_PRELOAD=mold is a risk" in line


def test_fresh_imports_can_be_asked_for(tmp_path: Path) -> None:
    with start(tmp_path, "", CLUSTER_PRELOAD="fresh") as cluster:
        assert cluster.get("/").body == b"fresh"
        assert not cluster.lines("is not safe to fork")


def test_a_fresh_import_that_fails_refuses_the_reload(tmp_path: Path) -> None:
    with start(tmp_path, "", CLUSTER_PRELOAD="fresh") as cluster:
        before = cluster.pids()
        (tmp_path / "release" / "served.py").write_text("raise RuntimeError('broken')")
        done = cluster.reload()
        assert done.returncode == 1
        assert "RuntimeError: broken" in done.stderr
        assert cluster.pids() == before


def test_a_fresh_import_that_fails_ends_the_first_start_with_its_traceback(tmp_path: Path) -> None:
    cluster = start(tmp_path, "raise RuntimeError('broken')", CLUSTER_PRELOAD="fresh")
    cluster.start()
    assert cluster.wait_exit() == 3
    assert "RuntimeError: broken" in cluster.log
