"""A real Chromium, and the report of a real load test that it opens."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.cluster import ROOT

_UNBOUND = ("max-error-rate", "max-p95", "max-p99", "min-throughput", "min-fairness", "min-ratio")


def program(name: str, package: str) -> str:
    """The path of a program; a missing one is a failure that names its Debian package."""
    found = shutil.which(name)
    assert found, f"{name} is not installed: apt-get install {package}"
    return found


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """Chromium without a window, that keeps to itself."""
    options = ChromeOptions()
    options.binary_location = program("chromium", "chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",  # which root needs, and a container
        "--disable-dev-shm-usage",  # /dev/shm is small in a container
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(program("chromedriver", "chromium-driver")))
    driver.set_page_load_timeout(60)
    driver.set_script_timeout(30)
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The report of a short load test, one for all test processes of this run."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    page = shared / "loadtest" / "report.html"
    with (shared / "loadtest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever waits here has pytest's own deadline
        if not page.exists():
            # Eight seconds: on a busy machine a login takes two of them, and so does a sample.
            words = [word for name in _UNBOUND for word in (f"--{name}", "none")]
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "loadtests.comparison", "--report", str(page)),
                    *("--rounds", "2", "--seconds", "8", "--users", "10", "--workers", "2"),
                    *words,
                ],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
    return page
