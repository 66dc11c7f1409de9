from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config

from deploy.cluster import listeners
from deploy.cluster.listen import AddressTakenError
from deploy.cluster.settings import SettingsError
from tests.cluster import free_port

LOG = logging.getLogger(__name__)


def config(*bind: str) -> Config:
    cfg = Config()
    cfg.set("bind", list(bind))
    return cfg


class Site:
    """The listeners of a test, closed at its end."""

    def __init__(self) -> None:
        self._all: list[Any] = []

    def rebind(self, current: list[Any], *bind: str) -> list[Any]:
        found = listeners.rebind(current, config(*bind), LOG)
        self._all += found
        return found

    def close(self) -> None:
        listeners.close(self._all)


@pytest.fixture
def site() -> Iterator[Site]:
    with contextlib.closing(Site()) as opened:
        yield opened


def local(port: int) -> str:
    return f"127.0.0.1:{port}"


def answers(address: str) -> bool:
    """Whether somebody listens there."""
    kind = socket.AF_UNIX if "/" in address else socket.AF_INET
    host, _, port = address.rpartition(":")
    with socket.socket(kind) as client:
        client.settimeout(5)
        return client.connect_ex(address if kind == socket.AF_UNIX else (host, int(port))) == 0


def test_an_address_that_stays_keeps_its_socket(site: Site, tmp_path: Path) -> None:
    tcp, unix = local(free_port()), f"unix:{tmp_path}/a.sock"
    before = site.rebind([], tcp, unix)
    again = site.rebind(before, unix, tcp)
    assert again[0] is before[1]
    assert again[1] is before[0]
    assert site.rebind(before) == []


def test_two_spellings_of_an_address_are_one(site: Site) -> None:
    port = free_port()
    before = site.rebind([], f"localhost:{port}")
    (after,) = site.rebind(before, local(port))
    assert after is before[0]


def test_a_new_address_is_bound_while_the_old_one_still_answers(site: Site, tmp_path: Path) -> None:
    old, new, path = local(free_port()), local(free_port()), f"{tmp_path}/a.sock"
    before = site.rebind([], old)
    after = site.rebind(before, new, f"unix:{path}")
    assert all(answers(address) for address in (old, new, path))
    assert all(each not in before for each in after)
    listeners.close(before)
    assert not answers(old)
    assert answers(new)


def test_a_listener_is_made_as_gunicorn_makes_it(site: Site) -> None:
    (listener,) = site.rebind([], local(free_port()))
    assert not listener.getblocking()
    assert os.get_inheritable(listener.fileno())
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_a_port_that_is_taken_is_refused_with_its_holder_and_nothing_stays_bound(
    site: Site, tmp_path: Path
) -> None:
    code = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
    code += "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        taken = int(holder.stdout.readline())
        kept = site.rebind([], local(free_port()))
        free, path = local(free_port()), tmp_path / "a.sock"
        with pytest.raises(AddressTakenError) as refusal:
            site.rebind(kept, kept[0].conf.bind[0], free, f"unix:{path}", local(taken))
        holder.communicate()
    said = str(refusal.value)
    assert said.startswith(f"127.0.0.1:{taken} is taken by pid {holder.pid} (")
    assert len(said.splitlines()) == 1
    assert not answers(free)
    assert not path.exists()
    assert answers(kept[0].conf.bind[0])


# Gunicorn leaves the socket that it could not bind to the garbage collector.
leaves_a_socket = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@leaves_a_socket
def test_an_address_of_another_machine_is_refused_and_nothing_stays_bound(site: Site) -> None:
    free = local(free_port())
    with pytest.raises(SettingsError, match=r"bind=\('192\.0\.2\.1', 80\): expected an address"):
        site.rebind([], free, "192.0.2.1:80")
    assert not answers(free)


@leaves_a_socket
@pytest.mark.parametrize("bind", ["fd://99", "unix:/nowhere/at/all/a.sock"])
def test_what_cannot_be_bound_is_named(site: Site, bind: str) -> None:
    with pytest.raises(SettingsError, match="expected an address to listen at"):
        site.rebind([], bind)


@leaves_a_socket
def test_a_path_that_cannot_be_bound_leaves_the_master_s_umask(site: Site) -> None:
    # Gunicorn's own bind does not: what the master makes from then on, everybody could write.
    former = os.umask(0o027)
    try:
        with pytest.raises(SettingsError):
            site.rebind([], "unix:/nowhere/at/all/a.sock")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(former)


def test_a_file_that_is_no_socket_is_left_alone(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(SettingsError, match="is not a socket"):
        site.rebind([], f"unix:{path}")
    assert path.read_text() == "mine"


def test_a_unix_socket_at_which_somebody_answers_is_refused(site: Site, tmp_path: Path) -> None:
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(AddressTakenError) as refusal:
            site.rebind([], f"unix:{path}")
        assert str(refusal.value) == f"unix:{path} is taken by another process"
        assert answers(path)


def test_one_that_is_too_busy_to_answer_is_refused_too(site: Site, tmp_path: Path) -> None:
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as other, contextlib.ExitStack() as clients:
        other.bind(path)
        other.listen(0)
        clients.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
        before = Path(path).stat().st_ino
        with pytest.raises(AddressTakenError):
            site.rebind([], f"unix:{path}")
        assert Path(path).stat().st_ino == before


def test_a_socket_of_another_kind_that_is_in_use_is_not_replaced(
    site: Site, tmp_path: Path
) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(path)
        with pytest.raises(SettingsError):
            site.rebind([], f"unix:{path}")


def test_a_unix_socket_that_nobody_answers_at_is_replaced(site: Site, tmp_path: Path) -> None:
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
        stale.listen()
    assert not answers(path)
    site.rebind([], f"unix:{path}")
    assert answers(path)


def test_two_spellings_of_a_path_are_one(site: Site, tmp_path: Path) -> None:
    before = site.rebind([], f"unix:{tmp_path}/a.sock")
    (after,) = site.rebind(before, f"unix:{tmp_path}/../{tmp_path.name}/a.sock")
    assert after is before[0]


def test_closing_stops_to_listen_and_takes_the_file_away(site: Site, tmp_path: Path) -> None:
    tcp, path = local(free_port()), tmp_path / "a.sock"
    opened = site.rebind([], tcp, f"unix:{path}")
    listeners.close(opened)
    assert not path.exists()
    assert not answers(tcp)
    listeners.close(opened)  # once more does no harm
