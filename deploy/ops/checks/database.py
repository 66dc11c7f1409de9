"""The database: reachable, with connections for every worker, its schema up to date."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.ops.checks import database_facts
from deploy.ops.checks.check import Check
from deploy.ops.checks.context import (
    CannotLookError,
    Context,
    NoAnswerError,
    cluster,
    run,
    service_identity,
)
from deploy.ops.checks.finding import Finding, fail, ok, skip, warn

_SLOW_MS = 50.0
_LISTEN = 2  # connections of a worker beside its pool: one hears, one speaks (app/realtime)
_MARGIN = 3  # an operator, the prune, the migrations
_OLDEST = 14
_APPLY = "python -m app.db migrate, from the release's directory (smart-factory release does it)"


def judge_database(facts: Mapping[str, Any]) -> Finding:
    """Whether it answers, and soon."""
    if "error" in facts:
        step = (
            'start it, or mend DATABASE_URL; psql "$DATABASE_URL" as the service\'s user says more'
        )
        return fail(facts["error"], step)
    detail = f"PostgreSQL {facts['version']}, {facts['query_ms']} ms a query"
    if facts["read_only"]:
        return fail(f"{detail}, read-only: a standby?", "point DATABASE_URL to the primary")
    if int(facts["version"].split(".")[0]) < _OLDEST:
        return warn(f"{detail}: no longer supported", "upgrade it")
    if facts["query_ms"] > _SLOW_MS:
        return warn(detail, "it is far away or overloaded: see pg_stat_activity, and ping")
    return ok(f"{detail}, connected in {facts['connect_ms']:.0f} ms")


def _database(context: Context) -> Finding:
    context.need_environment()
    if not context.value("DATABASE_URL"):
        if context.value("APP_ENV", "development") == "development" and not context.installation:
            return skip("DATABASE_URL is not set: a start brings an embedded Postgres along")
        if not context.own_application:
            return skip("DATABASE_URL is not set")
        step = "set DATABASE_URL in the environment file"
        return warn("DATABASE_URL is not set: routes that need one answer 503", step)
    return judge_database(context.once(database_facts.facts))


def judge_connections(facts: Mapping[str, Any], *, workers: int, pool: int, extra: int) -> Finding:
    """Whether full pools of all workers find a connection each.

    One worker more than runs: in a reload the old one drains beside the new one.
    """
    allowed = facts["max_connections"] - facts["reserved"]
    free = allowed - facts["others"]
    each = pool + extra
    need = (workers + 1) * each + _MARGIN
    made = f"({workers} workers + 1) × {each} + {_MARGIN} = {need} connections at most"
    there = f"Postgres grants {allowed}, others use {facts['others']}"
    step = (
        "lower DATABASE_POOL_MAX or the workers, raise max_connections, or put a pooler before it"
    )
    if free < workers * (1 + extra):
        return fail(f"not one for each worker is left: {there}; {made}", step)
    if need > free:
        return warn(f"{made}, but {there}", step)
    return ok(f"{made}; {there}")


def _connections(context: Context) -> Finding:
    facts = context.once(database_facts.facts)
    if "error" in facts:
        return skip("the database does not answer: see `database`")
    master = context.once(cluster).master
    workers = master.wanted if master else context.number("CLUSTER_WORKERS", 0)
    if not workers:
        return skip("how many workers, the start decides; it warns by itself")
    pool = context.number("DATABASE_POOL_MAX", 5)
    extra = _LISTEN if context.own_application else 0
    return judge_connections(facts, workers=workers, pool=pool, extra=extra)


def judge_migrations(entries: Sequence[Mapping[str, Any]]) -> Finding:
    """Whether the schema is what the release expects; contract steps may wait."""
    named = [(f"{entry['version']:04}_{entry['name']}", entry) for entry in entries]
    changed = [name for name, entry in named if entry["state"] == "changed"]
    if changed:
        step = "restore the file as it was applied, and write a new migration"
        return fail(f"changed after they were applied: {', '.join(changed)}", step)
    left = [(name, entry) for name, entry in named if entry["state"] == "pending"]
    pending = [name for name, entry in left if entry.get("kind") != "contract"]
    if pending:
        return fail(f"pending: {', '.join(pending)}", _APPLY)
    contract = f"; {len(left)} contract step(s) left" if left else ""
    return ok(f"{len(entries) - len(left)} applied, none pending{contract}")


def _migrations(context: Context) -> Finding:
    context.need_environment()
    live = context.installation.linked("current") if context.installation else None
    directory = live.directory if live else context.tree
    python = directory / ".venv" / "bin" / "python"
    if not context.own_application or not (directory / "app" / "db").is_dir():
        return skip("for the application that the kit carries")
    if not context.value("DATABASE_URL"):
        return skip("DATABASE_URL is not set")
    ran = run(
        [str(python), "-m", "app.db", "status", "--json"],
        seconds=15,
        directory=directory,
        environ=context.environ,
        identity=service_identity(context),
    )
    try:
        entries = json.loads(ran.out)["migrations"]
    except (ValueError, KeyError):
        if "error" in _facts_or_error(context):
            return skip("the database does not answer: see `database`")
        raise CannotLookError(f"python -m app.db status: {ran.said}") from None
    return judge_migrations(entries)


def _facts_or_error(context: Context) -> Mapping[str, Any]:
    try:
        return context.once(database_facts.facts)
    except (CannotLookError, NoAnswerError) as error:
        return {"error": str(error)}


CHECKS = (
    Check("database", "postgres", "Postgres answers, and soon", _database),
    Check("connections", "postgres", "full pools find a connection each", _connections),
    Check("migrations", "postgres", "the schema is what the release expects", _migrations),
)
