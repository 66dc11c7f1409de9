"""One worker against a cluster, under the same users in turn: `python -m loadtests.comparison`.

Both servers run all the while, each on an empty database, and only one is under load at a time, so
that whatever else the machine does hits both. Exits with 0 when every objective is met, 1 when one
is missed (or the test itself failed), 2 for wrong usage, 130 after a Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import click

from loadtests import generator, machine, page
from loadtests.facts import facts
from loadtests.generator import GeneratorError, Plan
from loadtests.measurement import Measurement, Trial
from loadtests.objectives import Limits, judge
from loadtests.sampler import Sampler, within
from loadtests.server import Server, StartError, create_database, postgres
from loadtests.shapes import SHAPES

_WARM_SECONDS = 2
_REPORT = Path("var/loadtest/report.html")
_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was measured, and on what."""

    fork: Measurement
    cluster: Measurement
    release: str
    postgres: str  # version


def compare(plan: Plan, *, rounds: int, workers: int, tell: Callable[[str], None]) -> Comparison:
    """Runs it all; raises StartError or GeneratorError. Nothing of it runs on after the call."""
    with tempfile.TemporaryDirectory(prefix="loadtest-") as name, ExitStack() as started:
        directory = Path(name)
        tell("starting Postgres")
        url = started.enter_context(postgres(directory))
        servers: list[Server] = []
        for mode, number in (("fork", 1), ("cluster", workers)):
            tell(f"starting {mode}")
            database, version = create_database(url, mode)
            servers.append(
                Server(mode=mode, workers=number, directory=directory / mode, database_url=database)
            )
            started.enter_context(servers[-1].running())

        def measure(server: Server, run: Plan, what: str) -> Trial:
            def watch(passed: float) -> None:
                tell(f"{what} · {server.mode} · {min(passed, run.seconds):.0f} of {run.seconds} s")

            with Sampler(server) as sampler:
                done = generator.run(server.url, run, directory, watch)
            return Trial(done, within(sampler.samples, done))

        warm = Plan(users=plan.users, seconds=_WARM_SECONDS, shape="steady", think=plan.think)
        for server in servers:
            measure(server, warm, "warming up")
        trials: dict[str, list[Trial]] = {server.mode: [] for server in servers}
        for number in range(1, rounds + 1):
            # In turn also who begins: what a round leaves behind is not always the same one's.
            for server in servers if number % 2 else reversed(servers):
                trial = measure(server, plan, f"round {number} of {rounds}")
                trials[server.mode].append(trial)
        status = servers[-1].status() or {}
    fork, cluster = (
        Measurement(server.mode, server.workers, tuple(trials[server.mode])) for server in servers
    )
    return Comparison(
        fork=fork, cluster=cluster, release=str(status.get("release") or "?"), postgres=version
    )


def _bound(name: str, what: str) -> Callable[[Any], Any]:
    """The option that sets one of the limits; `none` lifts it."""
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        type=_Limit(),
        default=str(getattr(_LIMITS, name)),
        help=what,
    )


class _Limit(click.ParamType[Any]):
    name = "number|none"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        if value == "none":
            return None
        try:
            number = float(value)
        except ValueError:
            number = -1
        if not 0 <= number < float("inf"):
            self.fail(f"{value!r}: expected a number of at least 0, or none", param, ctx)
        return number


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--rounds", type=click.IntRange(1, 1000), default=3, help="Of each server.")
@click.option("--seconds", type=click.IntRange(2, 86400), default=10, help="Of each round.")
@click.option("--users", type=click.IntRange(1, 10000), default=20, help="At once.")
@click.option(
    "--workers",
    type=click.IntRange(2, 64),
    default=max(2, machine.cpus()),
    show_default="as many as CPUs, at least 2",
    help="Of the cluster.",
)
@click.option("--shape", type=click.Choice(list(SHAPES)), default="steady", help="Of a round.")
@click.option(
    "--think",
    type=click.FloatRange(0, 3600),
    default=0,
    help="Seconds that a user waits between two visits.",
)
@_bound("max_error_rate", "Percent of the requests to each server that may fail.")
@_bound("max_p95", "Milliseconds, cluster.")
@_bound("max_p99", "Milliseconds, cluster.")
@_bound("min_throughput", "Right answers a second, cluster.")
@_bound("min_fairness", "Answers of the least busy worker over the busiest one's, cluster.")
@_bound("min_ratio", "Throughput of the cluster over that of one worker.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    default=_REPORT,
    help="The page; the figures go beside it, with the suffix .json.",
)
def main(
    rounds: int,
    seconds: int,
    users: int,
    workers: int,
    shape: str,
    think: float,
    report: Path,
    **limits: float | None,
) -> None:
    """Measure fork mode (one worker) and cluster mode under load, and write a report.

    Starts everything that it needs on this machine, and stops it. Exits with 1 when an objective is
    missed.
    """
    plan = Plan(users=users, seconds=seconds, shape=shape, think=think)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        done = compare(plan, rounds=rounds, workers=workers, tell=_tell)
    except (StartError, GeneratorError) as error:
        _tell("")
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        _tell("")
        click.echo("interrupted: everything is stopped, no report is written", err=True)
        sys.exit(130)
    _tell("")
    objectives = judge(done.fork, done.cluster, Limits(**limits))
    found = facts(
        done.fork,
        done.cluster,
        objectives,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        release=done.release,
        machine=machine.describe(done.postgres),
        parameters={
            "rounds": rounds,
            "seconds": seconds,
            "users": users,
            "workers": workers,
            "shape": shape,
            "think": think,
        },
    )
    _replace(report.with_suffix(".json"), json.dumps(found, indent=1) + "\n")
    _replace(report, page.render(found))
    for side in (done.fork, done.cluster):
        click.echo(
            f"{side.mode:8} {side.workers} worker(s)  {side.throughput:8.1f} /s  "
            f"p50 {side.latency(50):7.1f} ms  p95 {side.latency(95):7.1f} ms  "
            f"p99 {side.latency(99):7.1f} ms  failed {side.failed}"
        )
    for objective in objectives:
        click.echo(str(objective))
    click.echo(f"report: {report}")
    sys.exit(0 if found["met"] else 1)


def _tell(line: str) -> None:
    """Says on a terminal what goes on, on one line that is written over."""
    if sys.stderr.isatty():
        click.echo(f"\r{line}\033[K", err=True, nl=False)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _replace(file: Path, text: str) -> None:
    """Whoever reads the file sees the old text or the new one, never a part."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


if __name__ == "__main__":
    main()
