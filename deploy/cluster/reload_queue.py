"""Which reload is under way and which comes next: several HUPs become one more."""

from __future__ import annotations

from collections.abc import Callable

from deploy.cluster.launch import Launch
from deploy.cluster.mold_handle import MoldHandle
from deploy.cluster.reloading import Ended, Reloading, Site
from deploy.state.request import Request

# Workers that all crash wait for a fix: what is on disk is tried so often.
_RECOVERY_SECONDS = 15.0


class ReloadQueue:
    """At most one reload at a time, and one remembered."""

    def __init__(self, site: Site):
        self.current: Reloading | None = None
        self.generation = 1  # the newest, also of candidates that were refused
        self._site = site
        self._reloads = 0
        self._asked: Request | bool = False  # whose reload is still to begin
        self._recovery_after = 0.0  # monotonic

    @property
    def candidate(self) -> MoldHandle | None:
        """The mold of the reload under way."""
        return self.current.mold if self.current else None

    def ask(self, request: Request | None) -> None:
        """A HUP; of the requests that came with several of them the last one counts."""
        self._asked = request or self._asked or True

    def step(self, now: float, *, launch: Callable[[], Launch]) -> Ended | None:
        """Begins what is to begin, and does the next step; the outcome when it was the last one."""
        site = self._site
        if self.current is None and self._asked and site.crew.served:
            asked = self._asked if isinstance(self._asked, Request) else None
            self._begin(launch(), asked, asked.who if asked else "signal HUP")
        if self.current is not None:
            ended = self.current.step(now)
            if ended is not None:
                self.current = None
            return ended
        if now >= self._recovery_after and site.crew.looping(site.num_workers):
            self._recovery_after = now + _RECOVERY_SECONDS
            site.log.error("[Master] No worker stays up: trying what is on disk by now")
            self._begin(launch(), None, "crash loop")
        return None

    def abandon(self) -> None:
        """The master stops."""
        if self.current is not None:
            self.current.abandon()
            self.current = None

    def _begin(self, launch: Launch, asked: Request | None, who: str) -> None:
        self._asked = False
        self.generation += 1
        self._reloads += 1
        self._site.crew.failures.clear()
        self._site.log.info("[Master] Reload begins", extra={"event": "reload.begins"})
        self.current = Reloading(
            self._site,
            launch,
            number=self._reloads,
            generation=self.generation,
            request=asked,
            who=who,
        )
