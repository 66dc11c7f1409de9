"""`python -m bench.peers`: the comparison, or a part of it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from bench.peers import comparison, objectives, results
from bench.peers.environment import EnvironmentBuildError
from bench.peers.figures import Figures
from bench.peers.lineup import BY_NAME as PEERS
from bench.peers.plan import Plan
from bench.peers.workloads import BY_NAME as WORKLOADS
from bench.throughput import MissingProgramError


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--workload", "-w", multiple=True, type=click.Choice(list(WORKLOADS)), help="All.")
@click.option("--peer", "-p", multiple=True, type=click.Choice(list(PEERS)), help="All.")
@click.option("--processes", "-n", multiple=True, type=click.IntRange(1, 64), help="1 and 2.")
@click.option("--rounds", type=click.IntRange(1, 100), default=Plan.rounds)
@click.option("--seconds", type=click.IntRange(1, 600), default=Plan.seconds)
@click.option(
    "--results",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where peers.md and peers.json go; the whole comparison's go to bench/results.",
)
def main(
    workload: tuple[str, ...],
    peer: tuple[str, ...],
    processes: tuple[int, ...],
    rounds: int,
    seconds: int,
    directory: Path | None,
) -> None:
    """Measure our worker beside its peers, and print the tables.

    Options that may be repeated select: without them, everything is measured, which takes about
    half an hour. Exits with 1 when a bound is missed.

    \b
    python -m bench.peers --workload json --peer gthread --peer ours --processes 1
    """
    # Ended by TERM, it must still stop what it has started.
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    everything = Plan()
    plan = Plan(
        workloads=tuple(WORKLOADS[name] for name in WORKLOADS if not workload or name in workload),
        peers=tuple(PEERS[name] for name in PEERS if not peer or name in peer),
        processes=tuple(dict.fromkeys(processes)) or everything.processes,
        rounds=rounds,
        seconds=seconds,
    )
    if directory is None and plan == everything:
        directory = results.DIRECTORY
    try:
        outcome = comparison.run(plan)
    except (MissingProgramError, EnvironmentBuildError) as error:
        raise click.ClickException(str(error)) from None
    found = objectives.of(Figures(outcome.measurements))
    if directory is not None:
        results.write(directory, plan, outcome, found)
    click.echo(results.page(plan, outcome, found))
    sys.exit(0 if all(each.met for each in found) else 1)


if __name__ == "__main__":
    main()
