"""One check of `doctor`, on a machine that a test has laid out in a folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.ops.checks import CHECKS
from deploy.ops.checks.check import Check
from deploy.ops.checks.context import TREE, Context
from deploy.ops.checks.examination import look
from deploy.ops.checks.finding import Finding, Verdict
from deploy.ops.directories import Directories
from deploy.ops.installation import Installation

ID = "20261124-010203-abcdef0"
OTHER_ID = "20261123-010203-1234567"

OK, WARN, FAIL, SKIPPED = Verdict.OK, Verdict.WARN, Verdict.FAIL, Verdict.SKIPPED


def machine(tmp_path: Path, environ: Mapping[str, str] | None = None, **known: Any) -> Context:
    """A context whose directories and machine lie in `tmp_path`; an installation if it has one."""
    root = tmp_path / "root"
    directories = Directories(
        runtime=tmp_path / "run", state=tmp_path / "state", environ=dict(environ or {})
    )
    values: dict[str, Any] = {
        "environ": directories.environ,
        "directories": directories,
        "root": root,
        "installation": Installation(root) if (root / "releases").is_dir() else None,
        "tree": TREE,
        "systemd": False,
        "now": time.time(),
        "machine": tmp_path / "machine",
    }
    return Context(**{**values, **known})


def check(name: str) -> Check:
    return next(each for each in CHECKS if each.name == name)


def finding(name: str, context: Context) -> Finding:
    """What the check says, as `doctor` would show it."""
    return look(check(name), context)


def release(tmp_path: Path, name: str, *marks: str) -> Path:
    """A release below the root, with a Python of its own that runs."""
    directory = tmp_path / "root" / "releases" / name
    (directory / ".venv" / "bin").mkdir(parents=True)
    python = directory / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    for mark in marks:
        (directory / mark).write_text("the reason\n")
    return directory


def write(path: Path, text: str = "", mode: int = 0o644) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path
