"""How a batch of messages is carried out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

import psycopg

from app.db import Connection, Database, DatabaseUnavailable, reason
from app.events import attempts, dead_letter, guard, outbox
from app.events.blame import is_of_the_event
from app.events.bus import ONLY_GROUP, Bus, BusRefused, BusUnavailable, Message
from app.events.envelope import Envelope, EnvelopeError
from app.events.giving_up import RUN_SECONDS, GivingUp, Round, in_one_line, say
from app.events.handler import Fact, Handler, Rejected, Unreachable
from app.events.instances import Counts, Instance

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class _Item(Generic[Fact]):
    """One event on its way; more than one message when it was published twice."""

    messages: list[Message]
    event: Envelope
    fact: Fact
    settled: bool = False  # its rows are there: it only passes the guard


class _LeavingError(Exception):
    """The process is about to end: the call was not begun."""


class Processor(Generic[Fact]):
    """Carries out a handler's events; `process` is to be called by one thread at a time.

    The guard, the rows, what is emitted and the counts commit in one transaction: however often an
    event comes, it is carried out once.
    """

    def __init__(
        self,
        *,
        handler: Handler[Fact],
        bus: Bus,
        database: Database,
        instance: Instance,
        stop: threading.Event,
    ):
        self._handler = handler
        self._database = database
        self._instance = instance
        self._stop = stop
        self._giving_up = GivingUp(handler=handler, bus=bus, database=database, instance=instance)
        self._callers = ThreadPoolExecutor(handler.calls or 1, f"{handler.name}-call")

    def process(self, messages: Sequence[Message]) -> Round:
        """Carries out what it can; never raises."""
        done = Round()
        try:
            self._process(messages, done)
        except (BusUnavailable, BusRefused) as error:
            done.outage = str(error)
        except DatabaseUnavailable as error:
            done.outage = f"Postgres is away: {error}"
        except psycopg.Error as error:
            done.outage = f"Postgres refused: {reason(error)}"
        except Exception as error:
            # A fault of ours, not of the events: nothing is lost by waiting.
            log.exception("%s: a batch was not carried out", self._handler.name)
            done.outage = in_one_line(error)
        return done

    def close(self) -> None:
        """Gives up what the calls hold; those under way end by themselves."""
        self._callers.shutdown(wait=False, cancel_futures=True)
        self._handler.close()

    def _process(self, messages: Sequence[Message], done: Round) -> None:
        items = self._read(self._ours(messages, done), done)
        if self._handler.calls and items:
            items = self._call(self._uncalled(items, done), done)
        self._write(items, done)

    def _ours(self, messages: Sequence[Message], done: Round) -> list[Message]:
        """Without those that are for another group, and those given up already."""
        group = self._handler.group
        ids: dict[UUID, Message] = {}
        for message in messages:
            if message.headers.get(ONLY_GROUP, group) == group:
                ids[dead_letter.id_of(group, message)] = message
            else:
                done.done.append(message)
        dead = self._run(lambda connection: dead_letter.waiting(connection, ids))
        done.done += [ids[each] for each in dead]
        return [message for each, message in ids.items() if each not in dead]

    def _read(self, messages: Iterable[Message], done: Round) -> list[_Item[Fact]]:
        items: dict[UUID, _Item[Fact]] = {}
        for message in messages:
            event = None
            try:
                event = Envelope.from_json(message.value)
                if event.event_id in items:
                    items[event.event_id].messages.append(message)
                else:
                    items[event.event_id] = _Item([message], event, self._fact(event))
            except (EnvelopeError, Rejected) as error:
                self._giving_up.bury([message], event, error, done)
            except Exception as error:
                assert event is not None  # noqa: S101 - an envelope raises nothing else
                self._giving_up.fail([message], event, error, done)
        return list(items.values())

    def _fact(self, event: Envelope) -> Fact:
        if event.type != self._handler.type:
            raise Rejected(f"type: expected {self._handler.type}, got {event.type}")
        return self._handler.read(event)

    def _uncalled(self, items: Sequence[_Item[Fact]], done: Round) -> list[_Item[Fact]]:
        """Without those carried out before; those whose rows are there are marked as settled."""
        handler = self._handler

        def look(connection: Connection) -> tuple[set[UUID], set[UUID]]:
            known = guard.known(connection, handler.name, [item.event for item in items])
            rest = [(i.event, i.fact) for i in items if i.event.event_id not in known]
            if known:
                self._instance.count(connection, Counts(redelivered=len(known)))
            return known, handler.settled(connection, rest) if rest else set()

        known, settled = self._run(look)
        for item in items:
            item.settled = item.event.event_id in settled
        self._finish([item for item in items if item.event.event_id in known], done, "known")
        return [item for item in items if item.event.event_id not in known]

    def _call(self, items: Sequence[_Item[Fact]], done: Round) -> list[_Item[Fact]]:
        """Those whose call succeeded, with what it said."""
        calls = [
            (item, None if item.settled else self._callers.submit(self._call_one, item))
            for item in items
        ]
        succeeded = []
        for item, call in calls:
            try:
                if call is not None:
                    item.fact = call.result()
                    self._giving_up.reached()
                succeeded.append(item)
            except _LeavingError:
                continue  # acknowledged by nobody, it comes to somebody else
            except Unreachable as error:
                self._giving_up.postpone(item.messages, item.event, error, done)
            except Rejected as error:
                self._giving_up.bury(item.messages, item.event, error, done, spent=1)
            except Exception as error:
                self._giving_up.fail(item.messages, item.event, error, done)
        return succeeded

    def _call_one(self, item: _Item[Fact]) -> Fact:
        if self._stop.is_set():
            raise _LeavingError
        return self._handler.call(item.event, item.fact)

    def _write(self, items: Sequence[_Item[Fact]], done: Round) -> None:
        """In one transaction; when that fails in halves, down to the event that fails alone."""
        if not items:
            return
        try:
            fresh, emitted = self._run(lambda connection: self._commit(connection, items))
        except DatabaseUnavailable as error:
            # Too much for one statement's time, perhaps: as a whole it would be so each time.
            if len(items) == 1 or not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
                raise
            self._write_halves(items, done)
        except Exception as error:
            if not is_of_the_event(error):
                raise
            if len(items) > 1:
                self._write_halves(items, done)
            else:
                self._giving_up.fail(items[0].messages, items[0].event, error, done)
        else:
            done.emitted = done.emitted or emitted
            self._finish([i for i in items if i.event.event_id in fresh], done, "done")
            self._finish([i for i in items if i.event.event_id not in fresh], done, "known")

    def _write_halves(self, items: Sequence[_Item[Fact]], done: Round) -> None:
        middle = len(items) // 2
        self._write(items[:middle], done)
        self._write(items[middle:], done)

    def _commit(
        self, connection: Connection, items: Sequence[_Item[Fact]]
    ) -> tuple[set[UUID], bool]:
        """The ids of those that were carried out now, and whether they emitted anything."""
        name = self._handler.name
        with connection.transaction():
            fresh = guard.enter(connection, name, [item.event for item in items])
            work = [(i.event, i.fact) for i in items if i.event.event_id in fresh and not i.settled]
            emitted = self._handler.write(connection, work) if work else ()
            outbox.append_many(connection, emitted)
            attempts.forget(connection, name, list(fresh))
            again = sum(len(item.messages) for item in items) - len(fresh)
            self._instance.count(connection, Counts(processed=len(fresh), redelivered=again))
        return fresh, bool(emitted)

    def _finish(self, items: Iterable[_Item[Fact]], done: Round, outcome: str) -> None:
        for item in items:
            done.done += item.messages
            say(logging.INFO, self._handler, outcome, item.event, outcome)

    def _run(self, work: Callable[[Connection], T]) -> T:
        """Done twice when an answer is lost: the guard, or a look's nature, makes once of it."""
        return self._database.run(work, retry=True, seconds=RUN_SECONDS)
