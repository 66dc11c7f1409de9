"""What systemd hears of the master, and what it hands it: notifications, watchdog, sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.state.scoreboard import Scoreboard
from tests.cluster import Cluster
from tests.processes import runs
from tests.systemd import Notifications, activated, descriptors, main_process, notifications
from tests.wait import wait_until

_WATCHDOG_SECONDS = 3
# `/hang` is not answered while the directory exists that its query names; an entry there is a
# request that hangs.
GOOD = """
import os, time, uuid

def app(environ, start_response):
    if environ["PATH_INFO"] == "/hang":
        hang(environ["QUERY_STRING"])
    start_response("200 OK", [])
    return [b"ok"]

def hang(gate):
    try:
        os.mkdir(os.path.join(gate, str(uuid.uuid4())))
    except FileNotFoundError:
        return
    while os.path.exists(gate):
        time.sleep(0.01)
"""


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Notifications]:
    """The socket that a unit's NOTIFY_SOCKET names."""
    with notifications(tmp_path / "notify") as opened:
        yield opened


def service(directory: Path, systemd: Notifications, app: str = GOOD, **env: str) -> Cluster:
    """A cluster whose supervisor listens; the application is the file served.py."""
    env = {"NOTIFY_SOCKET": systemd.path, "RELEASE": "2f1c9e", **env}
    return Cluster(directory, *serving(directory, app), env=env, program=main_process())


def serving(directory: Path, app: str = GOOD) -> tuple[str, ...]:
    """Gunicorn's arguments for this application, in a file below the directory."""
    code = directory / "code"
    code.mkdir(parents=True)
    (code / "served.py").write_text(app)
    return ("--chdir", str(code), "served:app")


def rewrite(directory: Path, app: str) -> None:
    (directory / "code" / "served.py").write_text(app)


def hears(systemd: Notifications, *states: str, pid: int | None = None) -> None:
    """Waits until exactly these changes of state were said."""
    expected = list(states)
    try:
        wait_until(lambda: systemd.states(pid=pid) == expected, what=f"{expected}")
    except AssertionError as error:
        raise AssertionError(f"{error}; said: {systemd.lines()}") from None


def shows(systemd: Notifications, status: str) -> None:
    """Waits until the status line is this one."""
    try:
        wait_until(lambda: systemd.status == status, what=f"the status {status!r}")
    except AssertionError as error:
        raise AssertionError(f"{error}; said: {systemd.lines()}") from None


def watchdog(seconds: int = _WATCHDOG_SECONDS) -> dict[str, str]:
    return {"WATCHDOG_USEC": str(seconds * 1_000_000), "WATCHDOG_PATH": "/"}


# --- notifications


def test_ready_is_said_once_all_workers_are_ready(tmp_path: Path, systemd: Notifications) -> None:
    gate = tmp_path / "gate"
    slow = f"""
import os, time
if os.environ["WORKER_SLOT"] == "3":
    while not os.path.exists({str(gate)!r}):
        time.sleep(0.01)
"""
    cluster = service(tmp_path, systemd, slow + GOOD, CLUSTER_PRELOAD="fresh", READY_PATH="")
    cluster.start()
    try:
        shows(systemd, "2/3 ready · cluster · release 2f1c9e")
        assert systemd.states() == []
        gate.touch()
        shows(systemd, "3/3 ready · cluster · release 2f1c9e")
        hears(systemd, "READY=1")
        assert {message.pid for message in systemd.messages} == {cluster.pid}
    finally:
        cluster.stop()
    systemd.close()  # all is read then
    assert systemd.states() == ["READY=1", "STOPPING=1"]


def test_a_socket_without_a_file_is_as_good(tmp_path: Path) -> None:
    with (
        notifications(f"@smart-factory-test-{os.getpid()}-{tmp_path.name}") as systemd,
        service(tmp_path, systemd),
    ):
        hears(systemd, "READY=1")


def test_no_application_sees_what_is_the_masters(tmp_path: Path, systemd: Notifications) -> None:
    env = {"NOTIFY_SOCKET": systemd.path, **watchdog()}
    with Cluster(tmp_path, app="plain:app", env=env) as cluster:
        for process in cluster.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                assert process.environ().keys().isdisjoint(env.keys() - {"WATCHDOG_PATH"})


def test_a_reload_is_told_from_its_begin_to_its_end(tmp_path: Path, systemd: Notifications) -> None:
    with service(tmp_path, systemd) as cluster:
        hears(systemd, "READY=1")
        cluster.signal(signal.SIGHUP)
        hears(systemd, "READY=1", "RELOADING=1", "READY=1")
        (told,) = [m.text for m in systemd.messages if "RELOADING=1" in m.text]
        assert "\nMONOTONIC_USEC=" in told
        assert "\nSTATUS=3/3 ready · cluster · release 2f1c9e · reloading: " in told
        shows(systemd, "3/3 ready · cluster · release 2f1c9e")


def test_a_refused_reload_ends_too_and_its_reason_stays_until_one_succeeds(
    tmp_path: Path, systemd: Notifications
) -> None:
    with service(tmp_path, systemd) as cluster:
        hears(systemd, "READY=1")
        rewrite(tmp_path, "raise RuntimeError('no such table')")
        cluster.signal(signal.SIGHUP)
        hears(systemd, "READY=1", "RELOADING=1", "READY=1")
        shows(
            systemd,
            "3/3 ready · cluster · release 2f1c9e · "
            "last reload refused: RuntimeError: no such table",
        )
        rewrite(tmp_path, GOOD)
        cluster.signal(signal.SIGHUP)
        shows(systemd, "3/3 ready · cluster · release 2f1c9e")


def test_a_failing_check_is_in_the_status(tmp_path: Path, systemd: Notifications) -> None:
    ill = GOOD.replace('"200 OK"', '"503 Service Unavailable"')
    with service(tmp_path, systemd, ill, READY_PATH="/up"):
        wait_until(lambda: " · degraded: GET /up answered 503" in systemd.status, what="the check")
        assert systemd.states() == ["READY=1"]


def test_a_start_that_fails_is_never_ready(tmp_path: Path, systemd: Notifications) -> None:
    cluster = service(tmp_path, systemd, "raise RuntimeError")
    cluster.start()
    assert cluster.wait_exit() == 3
    systemd.close()  # all is read then
    assert systemd.states() == ["STOPPING=1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_told_once(tmp_path: Path, systemd: Notifications, number: int) -> None:
    with service(tmp_path, systemd) as cluster:
        hears(systemd, "READY=1")
        assert cluster.stop(number) == 0
    systemd.close()  # all is read then
    assert systemd.states() == ["READY=1", "STOPPING=1"]


def test_the_second_master_becomes_the_main_process(tmp_path: Path, systemd: Notifications) -> None:
    with service(tmp_path, systemd, **watchdog()) as cluster:
        hears(systemd, "READY=1")
        first = cluster.pid
        with second_master(cluster) as second:
            assert systemd.lines(pid=second.pid) == []
            os.kill(first, signal.SIGTERM)
            cluster.wait_exit()
            hears(systemd, "READY=1", f"MAINPID={second.pid}", pid=first)
            hears(systemd, "READY=1", pid=second.pid)
            wait_until(lambda: systemd.fed(pid=second.pid), what="food from the second master")
            assert systemd.status == "3/3 ready · cluster · release 2f1c9e"
            second.terminate()
            hears(systemd, "READY=1", "STOPPING=1", pid=second.pid)
    last_of_first = [each.pid for each in systemd.messages].index(second.pid)
    assert all(each.pid == second.pid for each in systemd.messages[last_of_first:])


def test_the_second_master_speaks_while_the_first_still_drains(
    tmp_path: Path, systemd: Notifications
) -> None:
    env = {"GRACEFUL_TIMEOUT": "60", **watchdog()}
    with service(tmp_path, systemd, **env) as cluster:
        hears(systemd, "READY=1")
        first = psutil.Process(cluster.pid)
        with hanging(cluster, 1), second_master(cluster) as second:
            first.terminate()
            hears(systemd, "READY=1", pid=second.pid)
            wait_until(lambda: systemd.fed(pid=second.pid), what="food")
            assert runs(first)


def test_the_first_master_stays_when_the_second_ends(
    tmp_path: Path, systemd: Notifications
) -> None:
    with service(tmp_path, systemd) as cluster:
        hears(systemd, "READY=1")
        with second_master(cluster) as second:
            pass
        assert systemd.lines(pid=second.pid) == []
        assert cluster.stop() == 0
        hears(systemd, "READY=1", "STOPPING=1")


# --- the watchdog


def test_requests_that_are_answered_feed_the_watchdog(
    tmp_path: Path, systemd: Notifications
) -> None:
    with service(tmp_path, systemd, **watchdog(12)):  # a request may take 4 s of them
        hears(systemd, "READY=1")
        wait_until(lambda: systemd.fed() >= 3, what="three times", seconds=60)
    assert "watchdog" not in Path(tmp_path / "log").read_text()


def test_it_is_fed_while_the_service_is_not_ready_for_want_of_its_database(
    tmp_path: Path, systemd: Notifications
) -> None:
    env = watchdog() | {"NOTIFY_SOCKET": systemd.path, "WATCHDOG_PATH": "/health/live"}
    env |= {"DATABASE_URL": "postgresql://127.0.0.1:1/none?connect_timeout=1"}
    with Cluster(tmp_path, env=env) as cluster:
        assert cluster.get("/health/ready").status == 503
        hears(systemd, "READY=1")
        wait_until(lambda: systemd.fed() >= 2, what="twice")
        wait_until(lambda: " · degraded: " in systemd.status, what="the check that fails")


def test_an_application_without_the_path_feeds_it(tmp_path: Path, systemd: Notifications) -> None:
    lacking = GOOD.replace('"200 OK"', '"404 Not Found"')
    with service(tmp_path, systemd, lacking, **watchdog() | {"WATCHDOG_PATH": "/health/live"}):
        wait_until(lambda: systemd.fed() >= 2, what="twice")


def test_a_service_whose_every_request_hangs_is_not_fed(
    tmp_path: Path, systemd: Notifications
) -> None:
    # Who hangs first must not be replaced before the last one does.
    env = {"THREADS": "1", "REQUEST_TIMEOUT": "300", **watchdog()}
    with service(tmp_path, systemd, **env) as cluster:
        wait_until(systemd.fed, what="food")
        with hanging(cluster, 3):
            wait_until(lambda: systemd.hunger > _WATCHDOG_SECONDS, what="the watchdog to bite")
            failed = "request failed: no answer within 1 s"
            wait_until(lambda: cluster.lines("watchdog")[-1].endswith(failed), what="its line")
        wait_until(lambda: systemd.hunger < _WATCHDOG_SECONDS, what="food")
        cluster.wait_log("[Master] The watchdog's request passes again")


def test_it_is_fed_while_one_of_three_workers_hangs(tmp_path: Path, systemd: Notifications) -> None:
    with service(tmp_path, systemd, THREADS="1", **watchdog()) as cluster:
        hears(systemd, "READY=1")
        with hanging(cluster, 1):
            before = systemd.fed()
            wait_until(lambda: systemd.fed() >= before + 4, what="four times more", seconds=60)


def test_without_a_path_the_loop_feeds_it(tmp_path: Path, systemd: Notifications) -> None:
    with service(tmp_path, systemd, **watchdog() | {"WATCHDOG_PATH": ""}) as cluster:
        wait_until(lambda: systemd.fed() >= 2, what="twice")
        assert not cluster.lines("GET ")


def test_a_watchdog_of_another_process_is_not_fed(tmp_path: Path, systemd: Notifications) -> None:
    env = watchdog() | {"WATCHDOG_PID": "1"}
    with service(tmp_path, systemd, **env) as cluster:
        hears(systemd, "READY=1")
        assert cluster.stop() == 0
        assert not cluster.lines('"GET / |GET /')
    assert systemd.fed() == 0


# --- its sockets


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[list[socket.socket]]:
    """Two listening sockets, as systemd holds them: one of TCP and one with a path."""
    path = str(tmp_path / "app.sock")
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as tcp,
        socket.create_server(path, family=socket.AF_UNIX, backlog=64) as unix,
    ):
        yield [tcp, unix]


def on(sockets: Sequence[socket.socket], directory: Path, **env: str) -> Cluster:
    """A cluster that is given these sockets, and told another address."""
    program, given = activated(sockets), descriptors(sockets)
    cluster = Cluster(directory, *serving(directory), env=env, program=program, pass_fds=given)
    cluster.port = sockets[0].getsockname()[1]  # PORT says another
    return cluster


def ask(address: Any, path: str = "/") -> socket.socket:
    """A request that is on its way; `answered` waits for what comes back."""
    client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    client.settimeout(60)
    client.connect(address)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    return client


def answered(client: socket.socket) -> bool:
    with client:
        said = b"".join(iter(lambda: client.recv(4096), b""))
    return said.startswith(b"HTTP/1.1 200 OK")


def all_answered(clients: Sequence[socket.socket]) -> bool:
    # All at once: a thread of a worker waits up to 2 s for the client that it answered to close.
    with ThreadPoolExecutor(len(clients)) as pool:
        return all(list(pool.map(answered, clients)))


def test_every_socket_is_served_and_the_real_addresses_are_shown(
    tmp_path: Path, sockets: list[socket.socket]
) -> None:
    with on(sockets, tmp_path) as cluster:
        tcp, path = (each.getsockname() for each in sockets)
        assert answered(ask(tcp))
        assert answered(ask(path))
        assert shown(cluster) == f"127.0.0.1:{tcp[1]}, unix:{path}"
        assert f"http://127.0.0.1:{tcp[1]},unix:{path}" in cluster.log


def test_reload_scaling_and_a_killed_worker_keep_the_socket(
    tmp_path: Path, sockets: list[socket.socket]
) -> None:
    env_file = tmp_path / "file.env"
    env_file.write_text("")
    (held, _) = sockets
    with on([held], tmp_path, ENV_FILE=str(env_file), PORT="") as cluster:
        env_file.write_text("PORT=4321\n")
        cluster.signal(signal.SIGHUP)
        cluster.wait_log("[Master] Reload complete")
        assert cluster.log.count("[Master] BIND=127.0.0.1:4321 is ignored: a systemd socket") == 1
        cluster.signal(signal.SIGTTIN)
        cluster.wait_log("Worker 4 (worker-4) is ready")
        os.kill(cluster.pids()["worker-2"], signal.SIGKILL)
        cluster.wait_log("[Master] Replacement worker 2 (worker-2) is ready")
        assert cluster.get("/").status == 200
        assert shown(cluster) == f"127.0.0.1:{held.getsockname()[1]}"


def test_who_waits_in_the_queue_of_a_stopped_service_is_answered_by_the_next(
    tmp_path: Path, sockets: list[socket.socket]
) -> None:
    with on(sockets, tmp_path / "first") as first:
        assert all(answered(ask(each.getsockname())) for each in sockets)
        assert first.stop() == 0
    waiting = [ask(each.getsockname()) for each in sockets for _ in range(20)]
    with on(sockets, tmp_path / "second"):
        assert all_answered(waiting)


def test_a_second_master_gets_the_sockets(tmp_path: Path, sockets: list[socket.socket]) -> None:
    with on(sockets, tmp_path) as cluster:
        first = cluster.pid
        with second_master(cluster) as second:
            os.kill(first, signal.SIGTERM)
            cluster.wait_exit()
            assert all(answered(ask(each.getsockname())) for each in sockets)
            inodes = {os.fstat(each.fileno()).st_ino for each in sockets}
            assert [inode for inode in held_by(second.pid) if inode in inodes] == sorted(inodes)
            assert cluster.log.count("Traceback") == 0
        late = [ask(each.getsockname()) for each in sockets]
        with on(sockets, tmp_path / "next"):
            assert all_answered(late)


def test_workers_of_a_killed_master_finish_their_requests_and_leave_the_socket(
    tmp_path: Path, sockets: list[socket.socket]
) -> None:
    (held, _) = sockets
    with on([held], tmp_path / "first", GRACEFUL_TIMEOUT="60") as first:
        workers = [psutil.Process(pid) for pid in first.pids().values()]
        queue = os.fstat(held.fileno()).st_ino
        with hanging(first, 1) as clients:
            in_flight = clients.pop()
            os.kill(first.pid, signal.SIGKILL)
            first.wait_exit()
            wait_until(lambda: sum(map(runs, workers)) == 1, what="the end of those without work")
            (orphan,) = filter(runs, workers)
            wait_until(lambda: queue not in held_by(orphan.pid), what="it to leave the socket")
            waiting = [ask(held.getsockname()) for _ in range(5)]
        assert answered(in_flight)
        wait_until(lambda: not runs(orphan), what="the orphan's end")
    with on([held], tmp_path / "second"):
        assert all_answered(waiting)


# --- parts


def shown(cluster: Cluster) -> str:
    """The address that the board shows."""
    board = Scoreboard.open(cluster.runtime / "scoreboard")
    try:
        return board.master().address
    finally:
        board.close()


def held_by(pid: int) -> list[int]:
    """The inodes of the sockets that a process has open, once for each descriptor."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(fd.readlink())
            if target.startswith("socket:["):
                found.append(int(target[len("socket:[") : -1]))
    return sorted(found)


@contextlib.contextmanager
def second_master(cluster: Cluster) -> Iterator[psutil.Process]:
    """USR2, and the second master, all of its workers ready; it is ended with the block."""
    pid_file = cluster.runtime / "gunicorn.pid.2"
    cluster.signal(signal.SIGUSR2)
    cluster.wait_log("[Master] All workers ready", times=2)
    second = psutil.Process(int(pid_file.read_text()))
    try:
        yield second
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            second.terminate()
        wait_until(lambda: not runs(second), what="the second master's end")


@contextlib.contextmanager
def hanging(cluster: Cluster, workers: int) -> Iterator[list[socket.socket]]:
    """Requests that hang while the block lasts, in so many threads of workers."""
    gate = cluster.directory / "gate"
    gate.mkdir()
    clients: list[socket.socket] = []

    # Not the board's count of busy threads: the watchdog's own request is in it for a moment.
    def hung() -> int:
        return len(list(gate.iterdir()))

    def hangs_one_more() -> bool:
        before = hung()
        clients.append(ask(("127.0.0.1", cluster.port), f"/hang?{gate}"))
        with contextlib.suppress(AssertionError):  # it may wait in a worker that hangs already
            wait_until(lambda: hung() > before, what="a thread more", seconds=1 if before else 20)
        return hung() >= workers

    try:
        wait_until(hangs_one_more, what=f"{workers} hanging request(s)", seconds=60)
        yield clients
    finally:
        gate.rename(cluster.directory / "open gate")
        for client in clients:
            client.close()
