"""How often a password may be tried: per account and per address, counted for all workers.

An attempt is reserved before the password is looked at and given back when it was right, so that
no number of them at once gets past the limit. Only the database's clock; keys are digests.
"""

from __future__ import annotations

import hashlib
import ipaddress
import uuid
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.db import Database

# Somebody who forgot a password gives up sooner; a stranger gets 40 guesses an hour.
_PER_ACCOUNT = 10
# A whole office may share an address, and several of its people mistype at once.
_PER_ADDRESS = 50
_WINDOW = timedelta(minutes=15)

# What is full already is read without a lock, so that a flood is refused without a write. Of those
# that arrive together the row's lock makes a queue: who finds more than the limit in it is refused.
# Both rows are taken in the order of their keys, and all other statements wait for at most one row:
# nobody waits in a circle. An attempt that is there already is our own, its answer was lost.
_RESERVE = """
WITH wanted AS (
    SELECT * FROM unnest(%(keys)s::bytea[], %(limits)s::integer[]) AS wanted (key, most)
), spent AS (
    SELECT ends_at FROM wanted JOIN login_attempt USING (key)
    WHERE ends_at > now() AND cardinality(attempts) >= most
          AND NOT attempts @> ARRAY[%(attempt)s::uuid]
), taken AS (
    INSERT INTO login_attempt AS present (key, attempts, ends_at)
    SELECT key, ARRAY[%(attempt)s::uuid], now() + %(window)s
    FROM wanted WHERE NOT EXISTS (SELECT FROM spent) ORDER BY key
    ON CONFLICT (key) DO UPDATE SET
        attempts = CASE
            WHEN present.ends_at <= now() THEN excluded.attempts
            WHEN present.attempts @> excluded.attempts THEN present.attempts
            ELSE present.attempts || excluded.attempts
        END,
        ends_at = CASE
            WHEN present.ends_at <= now() THEN excluded.ends_at ELSE present.ends_at
        END
    RETURNING key, attempts, ends_at
), refused AS (
    SELECT ends_at FROM spent
    UNION ALL
    SELECT ends_at FROM taken JOIN wanted USING (key)
    WHERE array_position(attempts, %(attempt)s::uuid) > most
)
SELECT ceil(extract(epoch FROM max(ends_at) - now()))::integer, (SELECT count(*) FROM taken)
FROM refused
"""

# One row a statement, see above.
_GIVE_BACK = """
UPDATE login_attempt SET attempts = array_remove(attempts, %(attempt)s::uuid)
WHERE key = %(key)s AND attempts @> ARRAY[%(attempt)s::uuid]
"""

_FORGET = "DELETE FROM login_attempt WHERE key = %(key)s"

# Past a row that somebody holds: who logs in just now begins its next window.
_PRUNE = """
DELETE FROM login_attempt WHERE key IN (
    SELECT key FROM login_attempt WHERE ends_at <= now()
    ORDER BY ends_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED
)
"""


class TooManyAttemptsError(Exception):
    """The password was not looked at; `retry_after` is the seconds until it will be."""

    def __init__(self, retry_after: int):
        super().__init__(f"too many attempts; the next in {retry_after} s")
        self.retry_after = retry_after


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A reservation: a failure unless it is given back."""

    id: UUID
    account: bytes
    address: bytes | None


class LoginLimits:
    """The limits; every method raises DatabaseUnavailable.

    Whoever is refused neither counts nor lengthens the wait. A worker that dies between the
    reservation and the verdict leaves a failure.
    """

    def __init__(
        self,
        *,
        database: Database,
        per_account: int = _PER_ACCOUNT,
        per_address: int = _PER_ADDRESS,
        window: timedelta = _WINDOW,
    ):
        self._database = database
        self._per_account = per_account
        self._per_address = per_address
        self._window = window

    def reserve(self, *, email: str, address: str | None) -> Attempt:
        """The attempt, to be made now; raises TooManyAttemptsError.

        `email` is normalised, and may be nobody's: a limit must not tell who has an account.
        """
        attempt = Attempt(
            id=uuid.uuid4(), account=_account_key(email), address=_address_key(address)
        )
        keys, limits = [attempt.account], [self._per_account]
        if attempt.address is not None:
            keys.append(attempt.address)
            limits.append(self._per_address)
        values = {"attempt": attempt.id, "keys": keys, "limits": limits, "window": self._window}
        row = self._database.run(lambda c: c.execute(_RESERVE, values).fetchone(), retry=True)
        assert row is not None  # noqa: S101 - an aggregate has a row
        retry_after, taken = row
        if retry_after is None:
            return attempt
        if taken:  # by what came at the same moment: one key may have had room for it
            for key in keys:
                self._give_back(attempt.id, key)
        raise TooManyAttemptsError(max(1, retry_after))

    def succeeded(self, attempt: Attempt) -> None:
        """The password was right: the account starts anew, the address is as before.

        Only the attempt itself is given back to the address: who has one account of their own
        must not get more guesses at others by it.
        """
        self._database.run(lambda c: c.execute(_FORGET, {"key": attempt.account}), retry=True)
        if attempt.address is not None:
            self._give_back(attempt.id, attempt.address)

    def prune(self, *, batch: int = 1000) -> int:
        """Deletes what is over, `batch` rows a statement; how many."""
        pruned = 0
        while True:
            done = self._database.run(
                lambda c: c.execute(_PRUNE, {"batch": batch}).rowcount, retry=True
            )
            pruned += done
            if done < batch:
                return pruned

    def _give_back(self, attempt: UUID, key: bytes) -> None:
        values = {"attempt": attempt, "key": key}
        self._database.run(lambda c: c.execute(_GIVE_BACK, values), retry=True)


def _account_key(email: str) -> bytes:
    return hashlib.sha256(b"account:" + email.encode()).digest()


def _address_key(address: str | None) -> bytes | None:
    """None for what is no IP address: a Unix socket's peer, a proxy's "unknown"."""
    try:
        known = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    counted = str(known)
    if isinstance(known, ipaddress.IPv6Address):
        # A subscriber has at least a /64, hence 2⁶⁴ addresses. Not so the clients of IPv4 at a
        # socket that takes both: they all are in one.
        network = ipaddress.IPv6Network((known.packed, 64), strict=False)
        counted = str(known.ipv4_mapped or network)
    return hashlib.sha256(f"address:{counted}".encode()).digest()
