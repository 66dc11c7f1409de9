"""Apache Kafka's jars from Maven Central: fetched once, kept outside the tree."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

_POM = Path(__file__).with_name("pom.xml")
_PACKAGES = {"java": "default-jre-headless", "mvn": "maven"}
_SECONDS = 600  # for some 45 MB


class KafkaError(AssertionError):
    """There is no Kafka; the message says why."""


def program(name: str) -> str:
    """The path of java or mvn; raises KafkaError, which names Debian's package."""
    found = shutil.which(name)
    if found is None:
        raise KafkaError(
            f"Kafka needs {name}, which is not installed: apt-get install {_PACKAGES[name]}"
        )
    return found


def jars() -> Path:
    """The directory with the jars, fetched now if it is not there yet; raises KafkaError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smart-factory"
    cache.mkdir(parents=True, exist_ok=True)
    found = cache / f"kafka-4.1.1-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:8]}"
    with (cache / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever waits here has a deadline of its own
        if not found.is_dir():
            # Fetched beside its place and renamed: an interrupted download leaves no half of it.
            fetched = found.with_name(f"{found.name}.new")
            shutil.rmtree(fetched, ignore_errors=True)
            _fetch(fetched)
            fetched.rename(found)
    return found


def _fetch(directory: Path) -> None:
    command = [program("mvn"), "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={directory}", "-DincludeScope=runtime"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise KafkaError(f"mvn could not fetch Kafka:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    jars()
