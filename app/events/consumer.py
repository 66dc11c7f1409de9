"""The loop of one consumer: receives, has it carried out, acknowledges.

The loop's thread talks to the bus, so that the bus hears of it each second; another one does the
work, however long it takes.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import monotonic
from typing import Any

from app.db import Database, DatabaseUnavailable
from app.events.bus import Bus, BusRefused, BusUnavailable, Message
from app.events.giving_up import Round
from app.events.handler import Handler
from app.events.instances import Instance
from app.events.processing import Processor
from app.events.retry import OUTAGE
from app.events.throughput import Throughput

log = logging.getLogger(__name__)

_KEEP_SECONDS = 1.0  # between two signs of life to the bus
_RECEIVE_SECONDS = 0.5
_BEAT_SECONDS = 5.0  # between two signs of life to the operator
_SETTLE_SECONDS = 8.0  # for the batch under way, before its messages go to another member
_WAITING_MOST = 1000  # messages that wait for another attempt; then none is received


class Consumer:
    """One member of its handler's group.

    `emitted` is called when events wait in the outbox.
    """

    def __init__(
        self,
        *,
        handler: Handler[Any],
        bus: Bus,
        topic: str,
        database: Database,
        emitted: Callable[[], None],
    ):
        self._handler = handler
        self._bus = bus
        self._topic = topic
        self._subscription = bus.subscribe(handler.group, [topic], settle=self._settle)
        self._database = database
        self._emitted = emitted
        self._instance = Instance(consumer=handler.name)
        self._throughput = Throughput()
        self._order = itertools.count()
        self._later: list[tuple[float, int, Message]] = []  # a heap: when due, in which order
        self._work: Future[Round] | None = None
        self._working_on: Sequence[Message] = ()
        self._paused_until = 0.0  # monotonic seconds
        self._outages = 0  # rounds that met one, one after the other
        self._detail = ""  # why it is paused
        self._beat: Future[None] | None = None
        self._beat_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Consumes until `stop`; then finishes and acknowledges the batch under way, and leaves."""
        name = self._handler.name
        processor = Processor(
            handler=self._handler,
            bus=self._bus,
            database=self._database,
            instance=self._instance,
            stop=stop,
        )
        log.info("%s: consuming %s", name, self._topic, extra=self._extra("started"))
        with ThreadPoolExecutor(1, f"{name}-work") as worker:
            while not stop.is_set():
                try:
                    self._turn(processor, worker, stop)
                except (BusUnavailable, BusRefused) as error:
                    self._pause(str(error))
                self._show(worker)
            self._subscription.close()
            processor.close()
            worker.submit(self._leave).result()
        log.info("%s: left the group", name, extra=self._extra("left"))

    def _turn(
        self, processor: Processor[Any], worker: ThreadPoolExecutor, stop: threading.Event
    ) -> None:
        subscription = self._subscription
        now = monotonic()
        if now < self._paused_until:
            subscription.keep()
            stop.wait(min(_KEEP_SECONDS, self._paused_until - now))
            return
        batch = self._due(now)
        room = min(self._handler.batch - len(batch), _WAITING_MOST - len(self._later))
        if room > 0:
            try:
                batch += subscription.receive(room, 0.0 if batch else self._patience(now))
            except (BusUnavailable, BusRefused):
                for message in batch:
                    self._put_off(message, now)
                raise
        elif not batch:
            subscription.keep()
            stop.wait(self._patience(now))
        if batch:
            self._working_on = batch
            work = self._work = worker.submit(processor.process, batch)
            while not wait([work], _KEEP_SECONDS).done:
                self._keep()
            self._settle()
        elif not self._later:
            self._goes_on()  # whatever it was, nothing waits for it any more

    def _due(self, now: float) -> list[Message]:
        """The messages whose pause is over; those that another member has by now are dropped."""
        due: list[Message] = []
        while self._later and self._later[0][0] <= now and len(due) < self._handler.batch:
            message = heapq.heappop(self._later)[2]
            if self._subscription.holds(message):
                due.append(message)
        return due

    def _patience(self, now: float) -> float:
        """How long to wait for messages, in seconds: not beyond the next one's pause."""
        next_due = self._later[0][0] - now if self._later else _RECEIVE_SECONDS
        return min(max(next_due, 0.01), _RECEIVE_SECONDS)

    def _keep(self) -> None:
        try:
            self._subscription.keep()
        except (BusUnavailable, BusRefused) as error:
            log.warning("%s: %s", self._handler.name, error, extra=self._extra("bus_away"))

    def _settle(self) -> None:
        """Takes in what became of the batch under way; also before its messages go elsewhere."""
        work = self._work
        if work is None:
            return
        if not wait([work], _SETTLE_SECONDS).done:
            return  # the loop takes it in; the guard makes the second delivery harmless
        self._work = None
        round_ = work.result()
        self._subscription.acknowledge(round_.done)
        self._throughput.add(len(round_.done), monotonic())
        if round_.emitted:
            self._emitted()
        now = monotonic()
        for message, pause in round_.later:
            self._put_off(message, now + pause)
        if round_.outage:
            self._pause(round_.outage)
            seen = {_place(m) for m in [*round_.done, *(m for m, _ in round_.later)]}
            for message in self._working_on:
                if _place(message) not in seen:
                    self._put_off(message, self._paused_until)
        else:
            self._goes_on()

    def _put_off(self, message: Message, due: float) -> None:
        heapq.heappush(self._later, (due, next(self._order), message))

    def _pause(self, why: str) -> None:
        self._outages += 1
        pause = OUTAGE.pause(self._outages, random.random())  # noqa: S311 - no secret
        self._paused_until = monotonic() + pause
        if why != self._detail:  # once an outage, not once an attempt
            log.warning("%s: paused: %s", self._handler.name, why, extra=self._extra("paused"))
        self._detail = why

    def _goes_on(self) -> None:
        if self._outages:
            log.info("%s: goes on", self._handler.name, extra=self._extra("resumed"))
            self._outages, self._detail = 0, ""

    # --- for the operator

    def _show(self, worker: ThreadPoolExecutor) -> None:
        """Has a sign of life written now and then; the loop does not wait for it."""
        now = monotonic()
        if now < self._beat_at or (self._beat is not None and not self._beat.done()):
            return
        self._beat_at = now + _BEAT_SECONDS
        self._beat = worker.submit(
            self._write_beat,
            state="paused" if self._detail else "running",
            detail=self._detail,
            per_second=self._throughput.per_second(now),
        )

    def _write_beat(self, *, state: str, detail: str, per_second: float) -> None:
        try:
            self._database.run(
                lambda connection: self._instance.beat(
                    connection, state=state, detail=detail, per_second=per_second
                )
            )
        except DatabaseUnavailable:
            pass  # the loop meets it, and says so
        except Exception:
            log.exception("%s: no sign of life was written", self._handler.name)

    def _leave(self) -> None:
        try:
            self._database.run(self._instance.leave)
        except Exception as error:
            log.warning("%s: its counts are added up later: %s", self._handler.name, error)

    def _extra(self, event: str) -> dict[str, str]:
        return {"event": f"consumer.{event}", "consumer": self._handler.name}


def _place(message: Message) -> tuple[str, int, int]:
    return message.topic, message.partition, message.offset
