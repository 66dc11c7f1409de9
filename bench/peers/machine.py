"""Where the comparison ran: what its figures cannot be read without."""

from __future__ import annotations

import os
import subprocess

from app.db import Connection
from bench.peers.environment import program
from loadtests import machine


def describe(database_url: str) -> dict[str, str]:
    """Names and values for people, in order; the load is that before the comparison began."""
    with Connection.open(database_url) as connection:
        version = connection.info.parameter_status("server_version") or "?"
    facts = machine.describe(version)
    named = {name: facts[name] for name in ("CPUs", "Memory", "System", "Python", "Postgres")}
    named["Flask"] = facts["Flask"]
    named["wrk"] = _wrk()
    named["Load before"] = f"{os.getloadavg()[0]:.2f}"
    return named


def _wrk() -> str:
    # It prints its version above its usage, and exits with 1.
    said = subprocess.run(
        [program("wrk"), "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    words = (said.stdout + said.stderr).split()
    return words[1] if len(words) > 1 else "?"
