"""`python -m bench [PART…]`: runs the benchmarks and holds them to their bounds."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from bench import events, fairness, payments, peers, releases, sessions, slow_clients, throughput
from bench.objective import Objective

PARTS = {
    "sessions": sessions.run,
    "releases": releases.run,
    "throughput": throughput.run,
    "events": events.run,
    "payments": payments.run,
    "peers": peers.run,
    "fairness": fairness.run,
    "slow-clients": slow_clients.run,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON list.")
def main(parts: tuple[str, ...], as_json: bool) -> None:
    """Run all benchmarks, or the PARTS named. Exits with 1 when a bound is missed."""
    results: list[Objective] = []
    for part in parts or PARTS:
        if sys.stderr.isatty():
            click.echo(f"{part} …", err=True)
        try:
            found = PARTS[part]()
        except throughput.MissingProgramError as error:
            raise click.ClickException(str(error)) from None
        results += found
        if not as_json:
            for objective in found:
                click.echo(str(objective))
    if as_json:
        click.echo(json.dumps([asdict(each) | {"met": each.met} for each in results], indent=2))
    sys.exit(0 if all(each.met for each in results) else 1)


if __name__ == "__main__":
    main()
