"""What becomes of an event that failed: another attempt, or a dead letter."""

from __future__ import annotations

import logging
import random
import traceback
from dataclasses import dataclass, field
from typing import Any

import psycopg

from app.db import Connection, Database, reason
from app.events import attempts
from app.events.bus import Bus, BusRefused, Message
from app.events.dead_letter import DeadLetter
from app.events.envelope import Envelope, EnvelopeError
from app.events.handler import Handler, Rejected
from app.events.instances import Counts, Instance
from app.events.retry import OUTAGE

log = logging.getLogger(__name__)

RUN_SECONDS = 10.0  # for a transaction; the server ends each of its statements after 4 s
_ERROR_LONGEST = 500  # characters


@dataclass
class Round:
    """What became of the messages that were given; those named nowhere were not got to."""

    done: list[Message] = field(default_factory=list)
    later: list[tuple[Message, float]] = field(default_factory=list)  # with the pause in seconds
    outage: str = ""  # what is away; all that was not got to waits for it
    emitted: bool = False  # something waits in the outbox


class GivingUp:
    """Spends attempts, and buries what has none left.

    Its methods raise DatabaseUnavailable, BusUnavailable and BusRefused: then nothing is settled.
    """

    def __init__(self, *, handler: Handler[Any], bus: Bus, database: Database, instance: Instance):
        self._handler = handler
        self._bus = bus
        self._database = database
        self._instance = instance
        self._unreachable = 0  # calls that reached nobody, one after the other

    def fail(self, messages: list[Message], event: Envelope, error: Exception, done: Round) -> None:
        """An attempt is spent; the next one comes after a pause, unless it was the last."""
        name, policy = self._handler.name, self._handler.policy

        def spend(connection: Connection) -> int:
            with connection.transaction():
                spent = attempts.spend(connection, name, event.event_id, in_one_line(error))
                if not policy.exhausted(spent):
                    self._instance.count(connection, Counts(retried=1))
            return spent

        # Not repeated when its answer is lost: it would perhaps be spent twice.
        spent = self._database.run(spend, seconds=RUN_SECONDS)
        if policy.exhausted(spent):
            self.bury(messages, event, error, done, spent=spent)
            return
        pause = policy.pause(spent, random.random())  # noqa: S311 - no secret
        done.later += [(message, pause) for message in messages]
        text = f"attempt {spent} of {policy.attempts} failed, again in {pause:.1f} s"
        say(logging.WARNING, self._handler, "retry", event, f"{text}: {in_one_line(error)}")

    def postpone(
        self, messages: list[Message], event: Envelope, error: Exception, done: Round
    ) -> None:
        """Nobody was there to answer: it waits, and no attempt is spent."""
        self._unreachable += 1
        pause = OUTAGE.pause(self._unreachable, random.random())  # noqa: S311 - no secret
        done.later += [(message, pause) for message in messages]
        text = f"waits {pause:.1f} s: {in_one_line(error)}"
        say(logging.WARNING, self._handler, "postponed", event, text)

    def reached(self) -> None:
        """Somebody answered: the next pause is a short one."""
        self._unreachable = 0

    def bury(
        self,
        messages: list[Message],
        event: Envelope | None,
        error: Exception,
        done: Round,
        *,
        spent: int = 0,
    ) -> None:
        """On the queue first, then in the table: what is acknowledged is there, perhaps twice."""
        letter = DeadLetter(
            consumer=self._handler.name,
            group=self._handler.group,
            message=messages[0],
            event=event,
            attempts=spent,
            error=in_one_line(error),
            stack="".join(traceback.format_exception(error)),
        )
        try:
            self._bus.publish([letter.outgoing()])
        except BusRefused:
            # It was published once, and is too large with what we add to it.
            self._bus.publish([letter.outgoing_without_value()])

        def keep(connection: Connection) -> None:
            with connection.transaction():
                letter.keep(connection)
                if event is not None:
                    attempts.forget(connection, letter.consumer, [event.event_id])
                self._instance.count(connection, Counts(dead_lettered=1))

        self._database.run(keep, seconds=RUN_SECONDS)
        done.done += messages
        say(logging.ERROR, self._handler, "dead_letter", event, f"given up: {letter.error}")


def say(level: int, handler: Handler[Any], name: str, event: Envelope | None, text: str) -> None:
    """A line of the log about an event, with its correlation id."""
    if not log.isEnabledFor(level):
        return
    extra = {"event": f"event.{name}", "consumer": handler.name}
    if event is None:
        log.log(level, "%s: a message that is no event: %s", handler.name, text, extra=extra)
        return
    extra |= {"event_id": str(event.event_id), "correlation_id": str(event.correlation_id)}
    log.log(level, "%s: %s %s %s", handler.name, event.type, event.event_id, text, extra=extra)


def in_one_line(error: BaseException) -> str:
    """The error for people; its class is named unless the message says it all."""
    text = reason(error) if isinstance(error, psycopg.Error) else str(error)
    line = " ".join(text.split())[:_ERROR_LONGEST]
    named = isinstance(error, EnvelopeError | Rejected)
    return line if named and line else f"{type(error).__name__}: {line}".removesuffix(": ")
