"""`python -m app.consumers`: the consumers of events, and what an operator does with them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import replace

import click

from app.command_line import CONTEXT, Failed, Misconfigured, configured, postgres_errors
from app.config import Config, ConfigError
from app.consumers import logs, pipeline
from app.consumers.admin_stub import AdminStub
from app.consumers.commands import dlq, lag, metrics, replay, status, topics
from app.consumers.run import run as run_consumers
from app.consumers.topup import top_up
from app.db import Database

_COMMAND = "python -m app.consumers …"
_TOPUP_SECONDS = 600  # as its unit allows; each of its statements ends within seconds


@click.group(context_settings=CONTEXT)
def main() -> None:
    """Consume events: purchases, allocations, sessions, caches.

    Configured by the environment, else by .env (or the file that ENV_FILE names): DATABASE_URL,
    KAFKA_BROKERS (unset: the events travel through Postgres), ADMIN_SERVICE_URL, REDIS_URL,
    LOG_LEVEL and LOG_FORMAT.

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration
    """


@main.command()
@click.argument(
    "names", nargs=-1, required=True, metavar="NAME…", type=click.Choice(pipeline.NAMES)
)
def run(names: tuple[str, ...]) -> None:
    """Run the consumers NAME…: purchase, allocation, session, cache.

    Any number of processes, here and on other machines, share a consumer's work. TERM: what is
    under way is finished and acknowledged, then it ends with 0.
    """
    _run(configured(_COMMAND), list(dict.fromkeys(names)))


@main.command()
@click.option("--hold", is_flag=True, help="Until standard input ends, too.")
def develop(hold: bool) -> None:
    """Run all four, with a stand-in for the admin service unless ADMIN_SERVICE_URL is set."""
    config = configured(_COMMAND)
    if config.production:
        raise Misconfigured("APP_ENV='production': develop runs a stand-in for the admin service")
    stop = _stopped_by_signals()
    if hold:
        threading.Thread(target=_wait_for_end_of_input, args=(stop,), daemon=True).start()
    if config.admin_service_url is not None:
        _run(config, list(pipeline.NAMES), stop)
    with AdminStub(port=0) as admin:
        _run(replace(config, admin_service_url=admin.url), list(pipeline.NAMES), stop)


@main.command()
def topup() -> None:
    """Schedule sessions for courses of which fewer than three remain; from a timer."""
    config = configured(_COMMAND)
    database = Database(url=config.database_url, pool_max=1)
    with postgres_errors():
        added = database.run(top_up, seconds=_TOPUP_SECONDS)
    if added is None:
        click.echo("another top-up is under way and does the work")
    else:
        click.echo(f"{added} session(s) scheduled")


def _run(config: Config, names: list[str], stop: threading.Event | None = None) -> None:
    try:
        logs.install(os.environ)
        well = run_consumers(names, config, stop or _stopped_by_signals())
    except ConfigError as error:
        raise Misconfigured(str(error)) from None
    if not well:
        raise Failed("a consumer failed: its reason stands above")
    sys.exit(0)


def _stopped_by_signals() -> threading.Event:
    """Set by TERM and INT; to be called before any thread begins.

    A thread waits for them, not a handler: that would run within the main thread's own wait for the
    event, and perhaps while it holds the event's lock.
    """
    stop = threading.Event()
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)

    def listen() -> None:
        signal.sigwait(ending)
        stop.set()

    threading.Thread(target=listen, name="signals", daemon=True).start()
    return stop


def _wait_for_end_of_input(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()


for each in (topics, lag, dlq, replay, status, metrics):
    main.add_command(each.command)

if __name__ == "__main__":
    main(prog_name="python -m app.consumers")
