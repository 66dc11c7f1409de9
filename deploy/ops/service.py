"""The service that is validated: its board, its address, its unit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from deploy.ops import systemd
from deploy.ops.change import Expected
from deploy.ops.cluster import PlainServiceError, RunningCluster
from deploy.ops.directories import Directories
from deploy.ops.endpoint import Endpoint
from deploy.ops.errors import OperationError
from deploy.state.scoreboard import Scoreboard

_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Service:
    """What answers at the address now: the cluster, or the plain service in its place."""

    def __init__(
        self,
        directories: Directories,
        endpoint: Endpoint,
        *,
        cluster: RunningCluster | None,
        unit: str,
    ):
        self.directories = directories
        self.endpoint = endpoint
        self.cluster = cluster  # None: the plain service
        self.unit = unit  # empty: systemd does not manage it

    @classmethod
    def find(cls, directories: Directories) -> Self:
        """The one that runs now; raises NotRunningError."""
        try:
            cluster = RunningCluster(directories.runtime)
        except PlainServiceError:
            listen = systemd.properties(systemd.SOCKET, "Listen")["Listen"]
            return cls(directories, _of_unit(listen), cluster=None, unit=systemd.BARE)
        managed = systemd.manages(cluster.master.pid)
        unit = systemd.SERVICE if managed else ""
        return cls(directories, _endpoint(cluster.master.address), cluster=cluster, unit=unit)

    @property
    def plain(self) -> bool:
        """Whether it is the plain service, which has no board."""
        return self.cluster is None

    @property
    def board(self) -> Scoreboard | None:
        """The cluster's board; None for the plain service."""
        return self.cluster.board if self.cluster else None

    @property
    def grace(self) -> float:
        """GRACEFUL_TIMEOUT: how long a worker may drain, in seconds."""
        found = _DURATION.fullmatch(self.directories.environ.get("GRACEFUL_TIMEOUT", "").strip())
        return float(int(found[1]) * _SECONDS[found[2]]) if found else 10.0

    def expected(self) -> Expected:
        """How it is now, to compare with later."""
        if self.board is None:
            return Expected(plain=True)
        master = self.board.master()
        return Expected(workers=master.wanted, mode=master.mode, release=master.release)


def _endpoint(address: str) -> Endpoint:
    try:
        return Endpoint.of(address)
    except ValueError as error:
        raise OperationError(f"the address of the cluster cannot be asked: {error}") from None


def _of_unit(listen: str) -> Endpoint:
    """`127.0.0.1:3000 (Stream)`, as systemd says it."""
    address = listen.partition(" ")[0]
    return _endpoint(f"unix:{address}" if Path(address).is_absolute() else address)
