"""`doctor`: what it makes of the consumers' units."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from deploy.ops.checks import unit_facts
from deploy.ops.checks.consumers import judge_consumers
from deploy.ops.checks.finding import Verdict
from deploy.ops.checks.units import judge_states
from deploy.ops.consumer_unit import NAMES, PROGRAM, unit_of
from deploy.ops.systemd import SERVICE
from tests.deploy.examined import ID, OK, SKIPPED, WARN, finding, machine, release, write

RUNS = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}
STOPPED = {**RUNS, "ActiveState": "inactive", "UnitFileState": "disabled"}
CRASHES = {**RUNS, "ActiveState": "activating", "Result": "exit-code", "ExecMainStatus": "1"}
MASKED = {"LoadState": "masked"}


def units(**changed: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
    return {unit_of(name): changed.get(name, RUNS) for name in NAMES}


@pytest.mark.parametrize(
    ("found", "verdict", "said", "step"),
    [
        (units(), OK, "running: purchase, allocation, session, cache", ""),
        (
            units(session=STOPPED, cache=STOPPED),
            WARN,
            "not running: session, cache",
            f"systemctl enable --now {unit_of('session')} {unit_of('cache')}",
        ),
        (
            units(cache={**RUNS, "UnitFileState": "disabled"}),
            WARN,
            "not enabled, so not back after a boot: cache",
            f"systemctl enable {unit_of('cache')}",
        ),
        (
            units(purchase=CRASHES),
            WARN,
            "purchase: activating (exit-code, status 1)",
            f"journalctl -u {unit_of('purchase')} -n 50",
        ),
        (units(cache=MASKED), OK, "running: purchase, allocation, session", ""),
        (dict.fromkeys(units(), MASKED), SKIPPED, "masked: they run elsewhere", ""),
    ],
)
def test_each_consumer_runs_and_comes_back(
    found: Mapping[str, Mapping[str, str]], verdict: Verdict, said: str, step: str
) -> None:
    judged = judge_consumers(found, admin_service=True)
    assert (judged.verdict, judged.detail, judged.next_step) == (verdict, said, step)


def test_who_misses_its_service_is_told_so() -> None:
    judged = judge_consumers(units(allocation=STOPPED), admin_service=False)
    assert (judged.verdict, judged.detail) == (
        WARN,
        "allocation does not run: ADMIN_SERVICE_URL is not set",
    )
    assert judged.next_step.endswith(f"then systemctl enable --now {unit_of('allocation')}")


def test_a_masked_consumer_is_an_operator_s_will() -> None:
    assert judge_states(dict.fromkeys(units(), MASKED)) == []


def test_it_asks_where_they_belong(tmp_path: Path) -> None:
    directory = release(tmp_path, ID)
    (tmp_path / "root/current").symlink_to(f"releases/{ID}")

    def said(facts: Mapping[str, Any], **environ: str) -> str:
        context = machine(tmp_path, environ, systemd=True)
        known: Future[Any] = Future()  # there is no systemd to ask here
        known.set_result({SERVICE: RUNS, **facts})
        context._kept[unit_facts.facts] = known  # noqa: SLF001
        return finding("consumers", context).detail

    assert said(units()) == "the live release has none"
    write(directory / PROGRAM)
    assert said(units()).startswith("running: ")
    assert said({}) == "their unit is not installed: see `unit-files`"
    assert said(units(), WSGI_APP="shop:app") == "for our own application"
    assert said({**units(), SERVICE: STOPPED}) == "the service does not run"
