"""What is to be measured: all of it, unless somebody asks for less; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.peers.lineup import PEERS, Peer
from bench.peers.workloads import WORKLOADS, Workload

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Each peer once a round, for so many seconds, at each workload and number of processes.

    Many short rounds rather than few long ones: on a shared machine a round's ratio is off by a
    fifth either way, and the closer two peers are asked the less has changed between them.
    """

    workloads: tuple[Workload, ...] = WORKLOADS
    peers: tuple[Peer, ...] = PEERS
    processes: tuple[int, ...] = (1, 2)
    rounds: int = 15
    seconds: int = 1

    def peers_with(self, processes: int) -> tuple[Peer, ...]:
        """Those that can run as so many processes."""
        return tuple(
            peer
            for peer in self.peers
            if peer.most_processes is None or processes <= peer.most_processes
        )


def turned(items: Sequence[_T], places: int) -> list[_T]:
    """The same order, begun further on: nobody is always first, or always after the break."""
    places %= max(1, len(items))
    return [*items[places:], *items[:places]]
