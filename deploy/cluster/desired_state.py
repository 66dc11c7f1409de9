"""What an operator asked for, as the running master follows it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.cluster.capacity import available_cpus, worker_count
from deploy.cluster.cgroup import ControlGroup
from deploy.state import desired
from deploy.state.desired import Desired, DesiredError
from deploy.state.layout import SLOTS_MAX


class DesiredState:
    """The file in the state directory; a damaged one changes nothing and is said once."""

    def __init__(self, directory: Path, log: Any):
        self._directory = directory
        self._log = log
        self._seen: tuple[int, int, int] | None = None
        self._desired = Desired()
        self.changed()

    @property
    def workers(self) -> int | str | None:
        """The number asked for, or "max"; None when nobody has asked."""
        return self._desired.workers

    def wanted(self, mode: str, configured: int) -> int:
        """How many workers there are to be: what was asked for, else what is configured."""
        if mode == "fork":
            return 1
        if self.workers is None:
            return configured
        limits = ControlGroup().limits()
        return worker_count(self.workers, available_cpus(limits.affinity, limits.quota))

    @property
    def by(self) -> str:
        """Who asked."""
        return self._desired.by or "operator"

    def changed(self) -> bool:
        """Whether the file says something new, which then holds."""
        seen = self._stamp()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            before, self._desired = self._desired, desired.read(self._directory)
        except DesiredError as error:
            self._log.error("[Master] %s. It is ignored", error)
            return False
        return before != self._desired

    def ask(self, workers: int, who: str) -> bool:
        """Asks for a number, in the file where it can be written; False outside 1 to SLOTS_MAX."""
        if not 1 <= workers <= SLOTS_MAX:
            return False
        self.changed()  # what else was asked for meanwhile stays
        self._desired = replace(self._desired, workers=workers, by=who, at=time.time())
        try:
            desired.write(self._directory, self._desired)
        except OSError as error:
            self._log.error("[Master] The number of workers is lost at a restart: %s", error)
        self._seen = self._stamp()
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = (self._directory / desired.FILE).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
