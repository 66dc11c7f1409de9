"""In scripts of their own: pytest must become nobody's parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from deploy.cluster import process_control
from tests.cluster import ROOT

HEAD = """
import os, select, signal, sys, time
from deploy.cluster.process_control import become_subreaper, die_with_parent, wait_for_parent

def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)

def orphan(act):
    '''A grandchild whose parent is gone; its pid. It leaves when `act` returns.'''
    global former
    reader, writer = os.pipe()
    middle = os.fork()
    if middle == 0:
        former = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(reader); os.close(writer)
            try:
                os._exit(act() or 0)
            finally:
                os._exit(99)
        os.write(writer, str(pid).encode())
        os._exit(0)
    os.waitpid(middle, 0)
    pid = int(os.read(reader, 100))
    os.close(reader); os.close(writer)
    return pid

me = os.getpid()
"""


def run(code: str) -> str:
    """What the script has printed."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_orphaned_grandchild_becomes_a_child_of_the_subreaper() -> None:
    code = """
assert become_subreaper()
pid = orphan(lambda: 7 if wait_for_parent(me, seconds=20) else 8)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert run(code) == "7"


def test_without_a_subreaper_it_does_not() -> None:
    code = """
pid = orphan(lambda: 0)
try:
    os.waitpid(pid, 0)
except ChildProcessError:
    print("somebody else's")
"""
    assert run(code) == "somebody else's"


def test_to_become_a_subreaper_twice_is_no_harm_and_children_do_not_inherit_it() -> None:
    code = """
assert become_subreaper() and become_subreaper()
child = os.fork()
if child == 0:
    orphan(lambda: 0 if wait_for_parent(me, seconds=20) else 1)
    os._exit(0)
os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1]))
"""
    assert run(code) == "0"


def test_the_parent_is_waited_for_as_long_as_was_said() -> None:
    assert process_control.wait_for_parent(os.getppid(), seconds=0)
    began = time.monotonic()
    assert not process_control.wait_for_parent(os.getpid(), seconds=0.1)
    assert 0.1 <= time.monotonic() - began < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR2])
def test_a_child_gets_the_signal_it_asked_for_when_its_parent_ends(number: signal.Signals) -> None:
    code = f"""
become_subreaper()
reader, writer = os.pipe()
parent = os.fork()
if parent == 0:
    child = os.fork()
    if child == 0:
        if not die_with_parent(os.getppid(), {int(number)}):
            os._exit(1)
        os.write(writer, str(os.getpid()).encode())
        select.select([], [], [], 60)
        os._exit(2)
    select.select([], [], [], 60)
    os._exit(3)
child = int(os.read(reader, 100))
os.kill(parent, signal.SIGKILL)
os.waitpid(parent, 0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(code) == str(-number)


def test_an_adopted_grandchild_ends_with_the_subreaper_that_was_killed() -> None:
    """As a worker does: its mold has left it to the master."""
    code = """
become_subreaper()
reader, writer = os.pipe()
master = os.fork()
if master == 0:
    become_subreaper()
    me = os.getpid()
    def serve():
        if not (wait_for_parent(me, seconds=20) and die_with_parent(me)):
            return 1
        os.write(writer, str(os.getpid()).encode())
        select.select([], [], [], 60)
    orphan(serve)
    select.select([], [], [], 60)
worker = int(os.read(reader, 100))
os.kill(master, signal.SIGKILL)
os.waitpid(master, 0)
print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
"""
    assert run(code) == str(-signal.SIGTERM)


def test_a_parent_that_is_gone_already_is_noticed() -> None:
    """The signal would never come: it was asked for too late."""
    code = """
become_subreaper()
reader, writer = os.pipe()
def late():
    until(lambda: os.getppid() == me)
    os.write(writer, b"no" if not die_with_parent(former) else b"yes")
os.waitpid(orphan(late), 0)
print(os.read(reader, 10).decode())
"""
    assert run(code) == "no"


def test_the_signal_of_a_fork_is_not_its_childs() -> None:
    code = """
become_subreaper()
reader, writer = os.pipe()
parent = os.fork()
if parent == 0:
    die_with_parent(me, signal.SIGKILL)
    if os.fork() == 0:
        until(lambda: os.getppid() == me)
        os.write(writer, b"alive")
        os._exit(0)
    os._exit(0)
os.waitpid(parent, 0)
os.waitpid(-1, 0)
print(os.read(reader, 10).decode())
"""
    assert run(code) == "alive"
