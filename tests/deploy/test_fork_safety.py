"""Each in a process of its own: what pytest itself has open is of no interest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import ROOT

# What comes before is open already; `opened` keeps what the script opens from being collected.
SCRIPT = """
import ctypes, json, logging, logging.handlers, os, select, socket, sqlite3, sys, threading, time
from pathlib import Path
from deploy.cluster.fork_safety import OpenFiles, unsafe

here = Path(sys.argv[1])
opened = []
def keep(thing):
    opened.append(thing)
    return thing
{before}
before = OpenFiles.now()
{code}
print(json.dumps(unsafe(before)), flush=True)
os._exit(0)
"""


def found(here: Path, code: str, before: str = "", *, seconds: float = 60) -> Any:
    """What is unsafe about the code, run in `here` after `before`."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=before, code=code), str(here)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_application_that_leaves_nothing_open_may_be_forked(tmp_path: Path) -> None:
    assert found(tmp_path, "") == []


@pytest.mark.parametrize(
    "code",
    [
        "keep((here / 'app.log').open('a'))",
        "logging.getLogger().addHandler(logging.FileHandler(here / 'app.log'))",
        "keep(os.open('/dev/urandom', os.O_RDONLY))",
        "keep(os.open(here, os.O_RDONLY))",
        "keep(sqlite3.connect(':memory:')).execute('CREATE TABLE t (i)')",
        "keep(threading.Lock()).acquire()",
        "socket.create_server(('127.0.0.1', 0)).close()",
        "c = sqlite3.connect(here / 'app.db'); c.execute('CREATE TABLE t (i)'); c.close()",
        "with select.epoll(): pass",
    ],
    ids=lambda code: code[:40],
)
def test_files_and_what_is_closed_again_do_no_harm(tmp_path: Path, code: str) -> None:
    assert found(tmp_path, code) == []


def test_a_thread_that_has_ended_does_no_harm(tmp_path: Path) -> None:
    code = """
for _ in range(200):
    thread = threading.Thread(target=time.sleep, args=(0.001,))
    thread.start()
    thread.join()
    assert not unsafe(before), unsafe(before)
"""
    assert found(tmp_path, code) == []


def test_the_system_log_is_one_datagram_at_a_time(tmp_path: Path) -> None:
    log = "s = keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)); s.bind(str(here / 'log'))"
    handler = "logging.getLogger().addHandler(logging.handlers.SysLogHandler(str(here / 'log')))"
    assert found(tmp_path, f"{handler}; logging.error('x')", before=log) == []


@pytest.mark.parametrize(
    "code",
    [
        "keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).sendto(b'x', str(here / 'log'))",
        "logging.getLogger().addHandler(logging.handlers.SysLogHandler(('127.0.0.1', 9)))",
        "keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).connect(('127.0.0.1', 9))",
    ],
    ids=["journal", "syslog over UDP", "statsd"],
)
def test_other_logs_and_metrics_are_datagrams_too(tmp_path: Path, code: str) -> None:
    log = "s = keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)); s.bind(str(here / 'log'))"
    assert found(tmp_path, code, before=log) == []


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (
            "threading.Thread(target=time.sleep, args=(60,), daemon=True, name='poller').start()",
            "thread 'poller'",
        ),
        ("keep(threading.Timer(60, print)).start()", "thread 'Thread-1'"),
        ("keep(select.epoll())", "event loop (epoll)"),
        ("import asyncio; keep(asyncio.new_event_loop())", "event loop (epoll)"),
        ("keep(socket.socketpair())", "connection to an unnamed peer"),
        (
            "keep(socket.socket(socket.AF_UNIX)).bind(b'\\0kit-%d' % os.getppid())",
            "socket at @kit-{pid}",
        ),
        (
            "s = keep(socket.socket(socket.AF_UNIX)); s.bind(str(here / 'a.sock')); s.listen()",
            "socket at {here}/a.sock",
        ),
        ("keep(sqlite3.connect(here / 'new.db'))", "SQLite database {here}/new.db"),
        ("keep(sqlite3.connect(here / 'new.sqlite3'))", "SQLite database {here}/new.sqlite3"),
        (
            "keep(sqlite3.connect(here / 'data')).execute('CREATE TABLE t (i)')",
            "SQLite database {here}/data",
        ),
    ],
    ids=lambda text: text[:30],
)
def test_what_does_not_survive_a_fork_is_named(tmp_path: Path, code: str, name: str) -> None:
    assert name.format(here=tmp_path, pid=os.getpid()) in found(tmp_path, code)


@pytest.mark.parametrize(("family", "host"), [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1")])
def test_a_listener_and_a_connection_are_named_with_their_address(
    tmp_path: Path, family: str, host: str
) -> None:
    server = f"server = keep(socket.create_server(({host!r}, 0), family=socket.{family}))"
    port = "keep((here / 'port').write_text(str(server.getsockname()[1])))"
    connect = "keep(socket.create_connection(server.getsockname()[:2]))"
    named = found(tmp_path, f"{server}; {port}")
    address = f"{host}:{(tmp_path / 'port').read_text()}"
    assert named == [f"socket at {address}"]

    named = found(tmp_path, connect, before=f"{server}; {port}")
    assert named == [f"connection to {host}:{(tmp_path / 'port').read_text()}"]


def test_what_was_open_before_is_not_the_applications(tmp_path: Path) -> None:
    before = """
keep(select.epoll()); keep(socket.socketpair())
keep(socket.create_server(('127.0.0.1', 0))); keep(sqlite3.connect(here / 'app.db'))
"""
    assert found(tmp_path, "", before=before) == []


def test_a_descriptor_that_has_become_something_else_is_looked_at(tmp_path: Path) -> None:
    before = "file = open(os.devnull)"
    code = (
        "number = file.fileno(); file.close(); e = keep(select.epoll()); assert e.fileno()==number"
    )
    assert found(tmp_path, code, before=before) == ["event loop (epoll)"]


NATIVE = """
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_ulong, c_void_p
libc = ctypes.CDLL(None)
libc.pause.argtypes = []
thread = c_ulong()
# pause(2) itself is what the thread runs: no Python is in it.
libc.pthread_create.argtypes = [POINTER(c_ulong), c_void_p, c_void_p, c_void_p]
assert libc.pthread_create(
    ctypes.byref(thread), None, ctypes.cast(libc.pause, c_void_p), None
) == 0
"""
NAMED = (
    NATIVE
    + """
libc.pthread_setname_np.argtypes = [c_ulong, c_char_p]
assert libc.pthread_setname_np(thread, b"rdk:broker1") == 0
"""
)


def test_a_thread_of_a_library_is_named_by_the_kernel(tmp_path: Path) -> None:
    own_name = Path(sys.executable).resolve().name[:15]
    (unnamed,) = found(tmp_path, NATIVE)
    assert unnamed.startswith("native thread 'python")
    assert own_name.startswith("python")
    assert found(tmp_path, NAMED) == ["native thread 'rdk:broker1'"]
    assert found(tmp_path, NAMED + NAMED) == ["native thread 'rdk:broker1'"]


def test_a_pool_that_minds_forks_is_none_but_others_beside_it_are(tmp_path: Path) -> None:
    """Its threads bear no name of their own; what is loaded shows in the process's map."""
    library = tmp_path / "libopenblas.so"
    library.write_bytes(b"\0" * 4096)
    load = "import mmap; f = open(here / 'libopenblas.so', 'r+b'); keep(mmap.mmap(f.fileno(), 0))\n"
    assert found(tmp_path, load + NATIVE) == []
    assert found(tmp_path, load + NATIVE + NAMED) == ["native thread 'rdk:broker1'"]


def test_everything_is_named_threads_first(tmp_path: Path) -> None:
    code = """
keep(select.epoll()); keep(sqlite3.connect(here / 'a.db'))
for name in ('one', 'two'):
    threading.Thread(target=time.sleep, args=(60,), daemon=True, name=name).start()
"""
    assert found(tmp_path, code) == [
        "thread 'one'",
        "thread 'two'",
        "event loop (epoll)",
        f"SQLite database {tmp_path}/a.db",
    ]


def test_a_named_pipe_that_is_open_is_not_read_from(tmp_path: Path) -> None:
    """Nor a terminal or a serial line: the look must have no effect, and an end."""
    code = "os.mkfifo(here / 'pipe'); keep(os.open(here / 'pipe', os.O_RDWR))"
    assert found(tmp_path, code) == []


def test_a_helper_process_behind_pipes_is_a_conversation_too(tmp_path: Path) -> None:
    code = """
import subprocess
keep(subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
"""
    assert found(tmp_path, code) != []
