"""One member of a group on Postgres: holds deliveries by leases, and hears when there are more."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

import psycopg

from app.db import Connection, reason
from app.db.connection import limit_statements
from app.events import postgres_deliveries as deliveries
from app.events.bus import BusUnavailable, Message

LEASE_SECONDS = 10.0
_RENEW_SECONDS = 1.0  # between two renewals; and nobody waits for longer without looking
_CLOSE_SECONDS = 2.0

# What a crash makes the server forget is worked on again, and the guard knows it. Plans are made
# for the tables as they are: empty at one moment, a million rows at the next.
_SESSION = "SET synchronous_commit = off; SET plan_cache_mode = force_custom_plan"


@dataclass(frozen=True)
class _Lease:
    until: datetime  # as the row has it, by the server's clock
    over_at: float  # monotonic seconds; a little earlier


class PostgresSubscription:
    """A Subscription; it connects, and creates its group, when it is first used."""

    def __init__(
        self, *, url: str, group: str, topics: Sequence[str], lease: float = LEASE_SECONDS
    ):
        self._url = url
        self._group = group
        self._topics = topics
        self._seconds = lease
        self._connection: Connection | None = None
        self._notified = False  # since the last look
        self._leases: dict[int, _Lease] = {}
        self._renewed_at = monotonic()
        self._done: set[int] = set()  # acknowledged, and perhaps not deleted

    def receive(self, most: int, seconds: float) -> list[Message]:
        deadline = monotonic() + seconds
        with self._asking() as connection:
            self._settle(connection)
            self._hear(connection)
            self._notified = False  # of what the claim finds anyway
            messages = self._claim(connection, most)
            while not messages and (left := deadline - monotonic()) > 0:
                self._wait(connection, min(left, _RENEW_SECONDS))
                self._settle(connection)
                messages = self._claim(connection, most)
            return messages

    def keep(self) -> None:
        with self._asking() as connection:
            self._settle(connection)

    def holds(self, message: Message) -> bool:
        lease = self._leases.get(message.offset)
        return lease is not None and monotonic() < lease.over_at

    def acknowledge(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._leases.pop(message.offset, None)
            self._done.add(message.offset)
        # Otherwise they are deleted by the next call that finds Postgres there.
        with contextlib.suppress(BusUnavailable), self._asking() as connection:
            self._delete(connection)

    def close(self) -> None:
        try:
            if self._leases or self._done:
                with self._asking() as connection, connection.until(monotonic() + _CLOSE_SECONDS):
                    self._delete(connection)
                    held = {log_id: lease.until for log_id, lease in self._leases.items()}
                    deliveries.release(connection, self._group, held)
        except BusUnavailable:
            pass  # the leases end by themselves
        finally:
            self._leases.clear()
            self._disconnect()

    # --- leases

    def _claim(self, connection: Connection, most: int) -> list[Message]:
        over_at = monotonic() + self._seconds
        messages = []
        found = deliveries.claim(connection, self._group, most, self._seconds)
        for log_id, (until, message) in found.items():
            if message is None:
                self._done.add(log_id)
            else:
                self._leases[log_id] = _Lease(until, over_at)
                messages.append(message)
        return messages

    def _settle(self, connection: Connection) -> None:
        """Deletes what is done, and renews what is held when it is time to."""
        self._delete(connection)
        now = monotonic()
        if now < self._renewed_at + _RENEW_SECONDS:
            return
        # What was over once stays over, also when nobody took it: `holds` may have said so.
        held = {key: lease.until for key, lease in self._leases.items() if now < lease.over_at}
        if held:
            held = deliveries.renew(connection, self._group, held, self._seconds)
        over_at = now + self._seconds
        self._leases = {log_id: _Lease(until, over_at) for log_id, until in held.items()}
        self._renewed_at = now

    def _delete(self, connection: Connection) -> None:
        if self._done:
            deliveries.delete(connection, self._group, self._done)
            self._done.clear()

    # --- notifications

    def _wait(self, connection: Connection, seconds: float) -> None:
        """Returns when the group was notified since the last look, or after `seconds`."""
        deadline = monotonic() + seconds
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        self._hear(connection)
        while not self._notified and (left := deadline - monotonic()) > 0:
            poll.poll(left * 1000)
            self._hear(connection)
        self._notified = False

    def _hear(self, connection: Connection) -> None:
        """Takes in what has come, without waiting; psycopg's own way wakes ten times a second."""
        connection.pgconn.consume_input()
        while found := connection.pgconn.notifies():
            self._note(found.extra.decode(errors="replace"))

    def _note(self, group: str) -> None:
        self._notified = self._notified or group == self._group

    # --- the connection

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Connection]:
        """The connection, which does not outlive an error; raises BusUnavailable."""
        try:
            yield self._connected()
        except psycopg.Error as error:
            self._disconnect()
            raise BusUnavailable(f"Postgres is away: {reason(error)}") from error

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = Connection.open(self._url)
            try:
                limit_statements(connection)
                connection.execute(_SESSION)
                # For those that come with the answer to a statement.
                connection.add_notify_handler(lambda notify: self._note(notify.payload))
                connection.execute(f"LISTEN {deliveries.CHANNEL}")
                deliveries.join(connection, self._group, self._topics)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
