"""The run itself: all peers serve at once, and are asked in turn.

Whatever else the machine does hits all of them alike, and a ratio is one round's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.peers import cpu, load, machine, progress, visitor
from bench.peers.environment import program
from bench.peers.lineup import Peer
from bench.peers.measurement import Measurement, Row
from bench.peers.plan import Plan, turned
from bench.peers.server import Server, Stand
from bench.peers.workloads import Workload
from deploy.ops.embedded_postgres import EmbeddedPostgres

_WARM_SECONDS = 1
_COOKIES_A_CONNECTION = 4  # so that hardly ever two requests at once bring the same


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was measured, where, and with what versions."""

    machine: Mapping[str, str]
    versions: Mapping[str, Mapping[str, str]]  # of each peer: package, version
    measurements: list[Measurement]


def run(plan: Plan) -> Outcome:
    """Builds what is missing, and measures; raises MissingProgramError."""
    program("wrk")
    environments = {peer.name: peer.build() for peer in plan.peers}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        postgres = EmbeddedPostgres(directory / "postgres")
        stack.callback(postgres.stop)
        url = postgres.start()
        facts = machine.describe(url)
        measurements = [
            each
            for processes in plan.processes
            for each in _with_processes(plan, processes, directory, url, environments)
        ]
    return Outcome(
        machine=facts,
        versions={
            peer.name: {
                package: peer.version(environments[peer.name], package) for package in peer.packages
            }
            for peer in plan.peers
        },
        measurements=measurements,
    )


def _with_processes(
    plan: Plan, processes: int, directory: Path, url: str, environments: Mapping[str, Path]
) -> Iterator[Measurement]:
    peers = plan.peers_with(processes)
    with ExitStack() as stack:
        servers = {}
        for peer in peers:
            progress.say(f"starting {peer.title}, {processes} process(es)")
            own = directory / f"{peer.name}-{processes}"
            own.mkdir()
            stand = Stand(
                directory=own,
                environment=environments[peer.name],
                database_url=url,
                processes=processes,
            )
            servers[peer.name] = server = stack.enter_context(peer.start(stand))
            for workload in plan.workloads:  # all of it now, rather than after many measurements
                visitor.check(workload, server.port, peer.title)
        for workload in plan.workloads:
            yield from _workload(plan, Row(workload.name, processes), workload, servers, directory)


def _workload(
    plan: Plan, row: Row, workload: Workload, servers: Mapping[str, Server], directory: Path
) -> Iterator[Measurement]:
    peers = plan.peers_with(row.processes)
    cookies: dict[str, Path | None] = {}
    for peer in peers:
        port = servers[peer.name].port
        cookies[peer.name] = _cookies(workload, port, directory / f"{peer.name}.cookies")
        load.run(workload, port, seconds=_WARM_SECONDS, cookies=cookies[peer.name])
    for number in range(1, plan.rounds + 1):
        found = [
            _measure(plan, row, workload, peer, number, servers[peer.name], cookies[peer.name])
            for peer in turned(peers, number - 1)
        ]
        progress.say(
            f"{workload.title}, {row.processes} process(es), round {number}: {_rates(found)}"
        )
        yield from found


def _measure(
    plan: Plan,
    row: Row,
    workload: Workload,
    peer: Peer,
    number: int,
    server: Server,
    cookies: Path | None,
) -> Measurement:
    before = cpu.seconds(server.processes())
    report = load.run(workload, server.port, seconds=plan.seconds, cookies=cookies)
    used = cpu.seconds(server.processes()) - before
    return Measurement.of(
        report,
        row=row,
        peer=peer.name,
        number=number,
        connections=workload.connections,
        cpu=used,
    )


def _cookies(workload: Workload, port: int, file: Path) -> Path | None:
    """A file with the cookies of new sessions, a line each; None when none are needed."""
    if not workload.sessions:
        return None
    count = workload.connections * _COOKIES_A_CONNECTION
    file.write_text("".join(f"{visitor.log_in(port)}\n" for _ in range(count)))
    return file


def _rates(measurements: list[Measurement]) -> str:
    return ", ".join(f"{each.peer} {each.per_second:.0f}/s" for each in measurements)
