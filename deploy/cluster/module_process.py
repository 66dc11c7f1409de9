"""A module of the kit as a process of its own: what the master neither imports nor waits for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_KIT = Path(__file__).resolve().parents[2]


def start_module(
    module: str,
    *arguments: str,
    environ: Mapping[str, str] = os.environ,
    stdout: int | None = subprocess.PIPE,
    **options: Any,
) -> subprocess.Popen[str]:
    """Starts `python -m module`, found also when Gunicorn was started from elsewhere.

    `options` are Popen's; the text of standard output is the caller's to read.
    """
    path = os.pathsep.join(filter(None, [str(_KIT), environ.get("PYTHONPATH")]))
    return subprocess.Popen(  # noqa: S603 - our own modules, no shell
        [sys.executable, "-m", module, *arguments],
        stdout=stdout,
        text=True,
        env={**environ, "PYTHONPATH": path},
        **options,
    )
