"""The service itself: does it run, and does it listen where it was told to?"""

from __future__ import annotations

import socket
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from deploy.ops.checks.check import Check
from deploy.ops.checks.context import CannotLookError, Context, cluster
from deploy.ops.checks.finding import Finding, fail, ok, skip, together, warn
from deploy.ops.checks.unit_facts import known
from deploy.ops.checks.units import configured
from deploy.ops.systemd import BARE, SERVICE, SOCKET

_CONNECT_SECONDS = 3.0
_START = f"systemctl start {SERVICE}; without systemd: deploy/scripts/start.sh"


def judge_cluster(state: str, detail: str, *, production: bool, plain: bool) -> Finding:
    """Whether every worker is ready, in the words of `status`."""
    if state == "ready":
        return ok(detail)
    if state == "starting":
        return warn(detail, "wait for it: smart-factory status")
    if state == "degraded":
        return fail(detail, "smart-factory status, smart-factory logs --level warning")
    if plain:
        return warn(
            "the plain service serves, without the kit",
            "back with: smart-factory rollback bare --undo",
        )
    return fail(detail, _START) if production else skip(detail)


def _cluster(context: Context) -> Finding:
    status = context.once(cluster)
    detail = status.detail
    if status.master is not None and status.state == "ready":
        master = status.master
        detail = f"{status.ready} of {master.wanted} workers ready, {master.mode}, {master.address}"
    return judge_cluster(
        status.state, detail, production=context.production, plain=plain_serves(context)
    )


def plain_serves(context: Context) -> bool:
    """Whether the plain Gunicorn, without the kit, is what runs."""
    return known(context, BARE, "ActiveState") == "active"


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Who listens at an address; None where the kernel does not tell us."""

    pid: int | None
    command: str = ""

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command[:80]})"


def judge_address(
    address: str, listeners: Collection[Listener], ours: Collection[int], *, running: bool
) -> Finding:
    """Whether who listens at the address is ours, where we run; whether nobody does, elsewhere."""
    known = [listener for listener in listeners if listener.pid is not None]
    strangers = [listener for listener in known if listener.pid not in ours]
    if strangers:
        step = "stop it, or set PORT or BIND to a free address"
        if running:
            return warn(f"{address}: {strangers[0]} listens there, too", step)
        return fail(f"{address}: taken by {strangers[0]}", step)
    if known:
        return ok(f"{address}: ours, pid {known[0].pid}")
    if listeners:
        if running:
            return ok(f"{address}: somebody listens; whether it is us, root would see")
        return skip(f"{address}: needs root: another user's process listens there")
    if running:
        detail = f"{address}: nobody listens, though the service runs"
        return fail(detail, "BIND, HOST or PORT were changed: smart-factory reload, or a restart")
    return ok(f"{address}: free")


def _address(context: Context) -> Finding:
    context.need_environment()
    status = context.once(cluster)
    running = status.state != "stopped" or plain_serves(context)
    ours = _ours(
        context, status.master.pid if status.state != "stopped" and status.master else None
    )
    findings = []
    for address in configured(context):
        if address.startswith("/"):
            findings.append(_unix(context.file(address), running=running))
            continue
        host, _, port = address.rpartition(":")
        if not port.isdigit():
            raise CannotLookError(f"BIND={address!r}: expected host:port: the start refuses it")
        listeners = _listeners(host.strip("[]"), int(port))
        findings.append(judge_address(address, listeners, ours, running=running))
    return together(findings)


def _unix(path: Path, *, running: bool) -> Finding:
    try:
        there = stat.S_ISSOCK(path.stat().st_mode)
    except FileNotFoundError:
        there = False
    if not there:
        return judge_address(str(path), (), (), running=running)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_CONNECT_SECONDS)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return judge_address(str(path), (), (), running=running)
        except BlockingIOError:  # its queue is full
            return warn(f"{path}: takes no connection", "smart-factory status, smart-factory logs")
    return ok(f"{path}: answers")


def _ours(context: Context, master: int | None) -> set[int]:
    """The processes that may hold our listener: the master's, and systemd for our socket."""
    import psutil

    pids = set()
    if master is not None:
        try:
            children = psutil.Process(master).children(recursive=True)
            pids |= {master} | {child.pid for child in children}
        except psutil.Error:
            pids.add(master)
    if known(context, SOCKET, "ActiveState") == "active":
        pids.add(1)  # systemd itself holds the socket
    if plain_serves(context):
        pids |= {p.pid for p in psutil.process_iter() if _is_plain(p.pid)}
    return pids


def _is_plain(pid: int) -> bool:
    """Whether the process is of the plain service, by its control group (cgroups(7))."""
    try:
        return BARE in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def _listeners(host: str, port: int) -> list[Listener]:
    """Who listens at the port, at this host or at all of them; of parent and child, one is told."""
    import psutil

    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        raise CannotLookError("needs root: the kernel does not tell who listens") from None
    hosts = _meant(host)
    found = []
    for each in connections:
        if each.status != psutil.CONN_LISTEN or not each.laddr or each.laddr[1] != port:
            continue
        if hosts and each.laddr[0] not in hosts:
            continue
        found.append(Listener(pid=each.pid, command=_command(each.pid)))
    return found


def _meant(host: str) -> set[str]:
    """The addresses at which a listener is in the way of this one; empty: any."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - nothing is bound
        return set()
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
    except OSError:
        found = {host}
    return {*found, "0.0.0.0", "::"}  # noqa: S104


def _command(pid: int | None) -> str:
    import psutil

    try:
        return " ".join(psutil.Process(pid).cmdline()).strip() if pid else ""
    except psutil.Error:
        return ""


CHECKS = (
    Check("cluster", "service", "every worker is ready", _cluster),
    Check("address", "service", "who listens where we are to listen is us", _address),
)
