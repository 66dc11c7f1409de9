"""Python and what is installed beside it, against what is pinned; the tools of development."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Mapping
from importlib import metadata

from deploy.ops.checks.check import Check
from deploy.ops.checks.context import CannotLookError, Context
from deploy.ops.checks.finding import Finding, fail, ok, skip, warn

_OLDEST, _NEWEST = (3, 11), (3, 14)
_PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s#]+)")
_TOOLS = {
    "chromium": "make test",
    "chromedriver": "make test",
    "wrk": "make bench",
}


def judge_python(
    version: tuple[int, int], pins: Mapping[str, str], installed: Mapping[str, str | None]
) -> Finding:
    """Whether the versions are those that the tests ran with."""
    shown = f"Python {version[0]}.{version[1]}"
    step = "make setup; on a server: a new release, smart-factory release …"
    if not _OLDEST <= version <= _NEWEST:
        return fail(
            f"{shown}: expected 3.{_OLDEST[1]} to 3.{_NEWEST[1]}", "build it with PYTHON=python3.13"
        )
    missing = [name for name in pins if installed.get(name) is None]
    if missing:
        return fail(f"{shown}; not installed: {', '.join(missing)}", step)
    other = [
        f"{n} {installed[n]} (pinned: {pin})" for n, pin in pins.items() if installed[n] != pin
    ]
    if other:
        return warn(f"{shown}; other versions than pinned: {', '.join(other)}", step)
    return ok(f"{shown}, {len(pins)} packages as pinned")


def pinned(text: str) -> dict[str, str]:
    """The packages of a requirements file with their versions."""
    lines = (line.strip() for line in text.splitlines())
    # A line with a marker (`; python_version < …`) is perhaps not for this Python.
    found = (_PIN.match(line) for line in lines if not line.startswith("#") and ";" not in line)
    return {match[1]: match[2] for match in found if match}


def _python(context: Context) -> Finding:
    try:
        pins = pinned((context.tree / "requirements.txt").read_text())
    except FileNotFoundError:
        raise CannotLookError(f"no requirements.txt in {context.tree}") from None
    major, minor = (int(part) for part in platform.python_version_tuple()[:2])
    finding = judge_python((major, minor), pins, {name: _version(name) for name in pins})
    if sys.prefix == sys.base_prefix and not finding.next_step:
        return warn(f"{finding.detail}, in no virtual environment", "make setup, then .venv/bin/…")
    return finding


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _tools(context: Context) -> Finding:
    if context.production:
        return skip("for development")
    found = {tool: shutil.which(tool) for tool in _TOOLS}
    missing = [f"{tool} ({_TOOLS[tool]} needs it)" for tool, path in found.items() if path is None]
    return skip(f"absent: {', '.join(missing)}") if missing else ok(", ".join(found))


CHECKS = (
    Check("python", "machine", "interpreter and packages are those that are pinned", _python),
    Check("tools", "machine", "what the tests and the bench need is there", _tools),
)
