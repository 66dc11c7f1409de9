"""Whether the addresses to listen at are free, and who has them when they are not."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.cluster.settings import SettingsError

# The workers of a master that was killed keep its port until they notice.
_ORPHANS_SECONDS = 20.0
# A process that ends has no command any more, and then no sockets that can be seen.
_UNSEEN_SECONDS = 1.0


class AddressTakenError(SettingsError):
    """Another process listens where we were told to; nothing was started."""

    exit_code = 1


@dataclass(frozen=True)
class Holder:
    """The process that listens at an address."""

    pid: int
    command: str

    @property
    def is_orphaned_worker(self) -> bool:
        """A worker whose master is gone: it is about to leave."""
        return self.command.startswith("gunicorn: worker-")

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command})"


def wait_until_free(addresses: Sequence[object], *, on_wait: Callable[[str], None]) -> None:
    """Returns when every TCP address of `addresses` can be bound; others are not looked at.

    An address that the workers of a killed master still hold is waited for, `on_wait` told once;
    any other holder is named at once in an AddressTakenError.
    """
    deadline = time.monotonic() + _ORPHANS_SECONDS
    for address in addresses:
        waiting = False
        seen = time.monotonic()
        while isinstance(address, tuple) and not _is_free(address):
            now = time.monotonic()
            holder = _holder(address[1])
            if holder is None or not holder.command:
                # It ends at this moment, or it is another user's: the next looks tell.
                patience = seen + _UNSEEN_SECONDS
            else:
                seen = now
                patience = deadline if holder.is_orphaned_worker else now
            taken = f"{address[0]}:{address[1]} is taken by {holder or 'another process'}"
            if now >= patience:
                raise AddressTakenError(f"{taken}: stop it, or set PORT or BIND to a free address")
            if not waiting and holder is not None and holder.is_orphaned_worker:
                on_wait(f"{taken}, which has lost its master: waiting for it to end")
                waiting = True
            time.sleep(0.1)


def refuse_taken(address: tuple[str, int]) -> None:
    """Raises an AddressTakenError that names the holder, without any wait."""
    if not _is_free(address):
        holder = _holder(address[1]) or "another process"
        raise AddressTakenError(f"{address[0]}:{address[1]} is taken by {holder}")


def _is_free(address: tuple[str, int]) -> bool:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Gunicorn binds
        try:
            probe.bind(address[:2])
        except OSError as error:
            # Any other error is Gunicorn's to report when it binds in earnest.
            return error.errno != errno.EADDRINUSE
        return True


def _holder(port: int) -> Holder | None:
    """Who listens at the port, as far as the kernel tells us; of parent and child, the parent."""
    import psutil

    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return None
    pids = {
        connection.pid
        for connection in connections
        if connection.pid
        and connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr[1] == port
    }
    for pid in sorted(pids):
        try:
            process = psutil.Process(pid)
            if process.ppid() not in pids:
                return Holder(pid, " ".join(process.cmdline()).strip())
        except psutil.Error:  # it has just ended
            continue
    return None
