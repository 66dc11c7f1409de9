"""The second master of a USR2: this program anew, beside the first, on the same listeners."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

# Where systemd's descriptors begin (sd_listen_fds(3)).
_FIRST_GIVEN = 3


def start(arbiter: Any) -> int:
    """Forks and executes it as the first one was started; returns its pid.

    Gunicorn's own would take descriptors from 3 on for systemd's sockets, which it has moved by
    then, and would hand on the first master's WATCHDOG_PID.
    """
    master = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        arbiter.cfg.pre_exec(arbiter)
        descriptors = [listener.fileno() for listener in arbiter.LISTENERS]
        if arbiter.systemd:
            _place(descriptors)
        environ = _environment(
            arbiter.cfg.env_orig, master=master, descriptors=descriptors, systemd=arbiter.systemd
        )
        _execute(arbiter.START_CTX, environ)
    except BaseException as error:
        arbiter.log.error("[Master] No second master: %s", error)
    finally:  # whatever happens, this copy of the first master must not go on as one
        os._exit(1)


def _environment(
    started_with: Mapping[str, str], *, master: int, descriptors: Sequence[int], systemd: bool
) -> dict[str, str]:
    """What the first master was started with, and what it has to hand on. Of this process."""
    given: dict[str, str] = {"GUNICORN_PID": str(master)}
    if systemd:
        given |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(descriptors))}
    else:
        given["GUNICORN_FD"] = ",".join(map(str, descriptors))
    if "WATCHDOG_PID" in started_with:
        given["WATCHDOG_PID"] = str(os.getpid())
    return {**started_with, **given}


def _place(descriptors: Sequence[int]) -> None:
    """Puts copies where systemd puts its own, whatever is there, and lets no other copy through."""
    above = _FIRST_GIVEN + len(descriptors)
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for fd in descriptors]
    for fd in descriptors:
        os.set_inheritable(fd, False)
    for number, copy in enumerate(copies, _FIRST_GIVEN):
        os.dup2(copy, number, inheritable=True)


def _execute(context: Mapping[Any, Any], environ: Mapping[str, str]) -> NoReturn:
    os.chdir(context["cwd"])
    os.execvpe(context[0], context["args"], environ)  # noqa: S606 - ourselves
