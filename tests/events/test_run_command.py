"""`python -m app.consumers run`: what it refuses, in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.events.stage import ROOT

NAMED = {"DATABASE_URL": "host=/nowhere dbname=none"}


def run(directory: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.consumers", *words],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "environ", "named"),
    [
        (["run"], NAMED, "NAME"),
        (["run", "purchases"], NAMED, "purchases"),
        (["run", "purchase"], {}, "DATABASE_URL"),
        (["run", "allocation"], NAMED, "ADMIN_SERVICE_URL"),
        (["run", "purchase"], {**NAMED, "KAFKA_BROKERS": "nowhere"}, "KAFKA_BROKERS"),
        (["run", "purchase"], {**NAMED, "LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        (["run", "purchase"], {**NAMED, "LOG_FORMAT": "xml"}, "LOG_FORMAT"),
        (
            ["develop"],
            {
                **NAMED,
                "APP_ENV": "production",
                **dict.fromkeys(["SECRET_KEY", "INTERNAL_TOKEN"], "0f9d8c7b6a5e4d3c2b1a"),
            },
            "APP_ENV",
        ),
    ],
)
def test_bad_input_is_refused_with_its_name(
    tmp_path: Path, words: list[str], environ: dict[str, str], named: str
) -> None:
    done = run(tmp_path, *words, **environ)
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
