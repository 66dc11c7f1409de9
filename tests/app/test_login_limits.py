from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.db import Connection, Database
from app.login_limits import Attempt, LoginLimits, TooManyAttemptsError
from tests.app.conftest import EMAIL, PASSWORD, AppFactory, Sql, database_of, log_in, register

HOME = "192.0.2.1"
MINUTE = timedelta(minutes=1)
WAITED = "UPDATE login_attempt SET ends_at = now() - interval '1 second'"
_T = TypeVar("_T")


@pytest.fixture
def limits(app: Flask) -> LoginLimits:
    return LoginLimits(database=database_of(app), per_account=3, per_address=5, window=MINUTE)


def refusal(limits: LoginLimits, *, email: str = EMAIL, address: str | None = HOME) -> int:
    """The seconds to wait that a refusal names."""
    with pytest.raises(TooManyAttemptsError) as refused:
        limits.reserve(email=email, address=address)
    return refused.value.retry_after


def test_an_account_has_so_many_attempts_from_wherever(limits: LoginLimits) -> None:
    for number in range(3):
        limits.reserve(email=EMAIL, address=f"192.0.2.{number}")
    assert 55 <= refusal(limits, address="198.51.100.1") <= 60
    assert 55 <= refusal(limits, address=None) <= 60
    limits.reserve(email="bob@example.com", address=HOME)


def test_an_address_has_so_many_attempts_at_whatever(limits: LoginLimits) -> None:
    for number in range(5):
        limits.reserve(email=f"u{number}@example.com", address=HOME)
    assert 55 <= refusal(limits, email="another@example.com") <= 60
    limits.reserve(email="another@example.com", address="192.0.2.2")
    limits.reserve(email="another@example.com", address=None)


def test_a_refusal_writes_nothing(limits: LoginLimits, sql: Sql) -> None:
    for _ in range(3):
        limits.reserve(email=EMAIL, address=HOME)
    look = "SELECT key, attempts, ends_at, ctid::text, xmax::text FROM login_attempt ORDER BY key"
    before = sql(look)
    for _ in range(10):
        refusal(limits)
    assert sql(look) == before, "neither counted nor lengthened, not even locked"


def test_a_window_ends_and_another_begins(limits: LoginLimits, sql: Sql) -> None:
    for _ in range(3):
        limits.reserve(email=EMAIL, address=HOME)
    sql(WAITED)
    for _ in range(3):
        limits.reserve(email=EMAIL, address=HOME)
    assert 55 <= refusal(limits) <= 60


def test_of_two_limits_the_later_end_counts(limits: LoginLimits, sql: Sql) -> None:
    for _ in range(3):
        limits.reserve(email=EMAIL, address=HOME)
    for number in range(2):
        limits.reserve(email=f"u{number}@example.com", address=HOME)
    end = "UPDATE login_attempt SET ends_at = now() + %s WHERE cardinality(attempts) = %s"
    sql(end, timedelta(seconds=30), 3)
    sql(end, timedelta(seconds=50), 5)
    assert 45 <= refusal(limits) <= 50
    sql(end, timedelta(seconds=20), 5)
    assert 25 <= refusal(limits) <= 30


def test_a_success_clears_the_account_and_gives_back_to_the_address(
    limits: LoginLimits, sql: Sql
) -> None:
    limits.reserve(email=EMAIL, address=HOME)
    limits.succeeded(limits.reserve(email=EMAIL, address=HOME))
    assert sql("SELECT cardinality(attempts) FROM login_attempt") == [(1,)], "the address's failure"
    for _ in range(3):
        limits.reserve(email=EMAIL, address=HOME)
    refusal(limits)


def test_successes_are_not_limited(limits: LoginLimits) -> None:
    for _ in range(20):
        limits.succeeded(limits.reserve(email=EMAIL, address=HOME))
        limits.succeeded(limits.reserve(email=EMAIL, address=None))


def test_successes_at_ones_own_account_buy_no_guesses_at_others(limits: LoginLimits) -> None:
    for number in range(5):
        limits.reserve(email=f"u{number}@example.com", address=HOME)
        if number < 4:
            limits.succeeded(limits.reserve(email=EMAIL, address=HOME))
    refusal(limits, email="another@example.com")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:DB8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_an_address_is_one_of_ipv4_or_a_network_of_ipv6(
    limits: LoginLimits, sql: Sql, one: str, other: str, same: bool
) -> None:
    limits.reserve(email=EMAIL, address=one)
    limits.reserve(email=EMAIL, address=other)
    assert sql("SELECT count(*) FROM login_attempt") == [(2 if same else 3,)]


@pytest.mark.parametrize("address", [None, "", "unknown", "192.0.2.1:80", "a" * 10_000])
def test_without_an_address_the_account_alone_counts(
    limits: LoginLimits, sql: Sql, address: str | None
) -> None:
    limits.reserve(email=EMAIL, address=address)
    assert sql("SELECT count(*) FROM login_attempt") == [(1,)]


class Twice(Database):
    """As when each answer is lost: all work is done a second time."""

    def run(self, work: Callable[[Connection], _T], **options: Any) -> _T:
        super().run(work, **options)
        return super().run(work, **options)


def test_what_is_carried_out_twice_counts_once(database_url: str, app: Flask, sql: Sql) -> None:
    database_of(app).run(lambda c: c.execute("SELECT 1"))  # migrates
    database = Twice(url=database_url)
    limits = LoginLimits(database=database, per_account=3, per_address=5)
    try:
        for _ in range(3):
            attempt = limits.reserve(email=EMAIL, address=HOME)
        refusal(limits)
        limits.succeeded(attempt)
        assert sql("SELECT cardinality(attempts) FROM login_attempt") == [(2,)]
    finally:
        database.close()


def outcomes(work: Callable[[int], Attempt], times: int) -> list[Attempt]:
    """The attempts that were let through, of so many at once; any other error is raised."""

    def one(number: int) -> Attempt | None:
        try:
            return work(number)
        except TooManyAttemptsError:
            return None

    with ThreadPoolExecutor(8) as threads:
        return [attempt for attempt in threads.map(one, range(times)) if attempt is not None]


def test_of_many_at_once_exactly_the_limit_passes(limits: LoginLimits, sql: Sql) -> None:
    one_account = outcomes(lambda n: limits.reserve(email=EMAIL, address=f"10.0.0.{n}"), 40)
    assert len(one_account) == 3
    counts = "SELECT sum(cardinality(attempts)) FROM login_attempt"
    assert sql(counts) == [(6,)], "who is refused is charged nowhere"
    sql("DELETE FROM login_attempt")
    one_address = outcomes(lambda n: limits.reserve(email=f"u{n}@example.com", address=HOME), 40)
    assert len(one_address) == 5
    assert sql(counts) == [(10,)]


def test_whatever_is_done_at_once_nobody_waits_in_a_circle(app: Flask, sql: Sql) -> None:
    limits = LoginLimits(database=database_of(app), per_account=10**6, per_address=10**6)

    def work(number: int) -> Attempt:
        # every account with every address: their digests sort either way
        attempt = limits.reserve(
            email=f"u{number % 3}@example.com", address=f"10.0.0.{number // 3 % 4}"
        )
        if number % 2:
            limits.succeeded(attempt)
        if number % 25 == 0:
            limits.prune()
        return attempt

    assert len(outcomes(work, 400)) == 400
    addresses = [digest(f"address:10.0.0.{number}") for number in range(4)]
    left = "SELECT sum(cardinality(attempts)) FROM login_attempt WHERE key = ANY(%s)"
    assert sql(left, addresses) == [(200,)]


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def test_prune_deletes_what_is_over_and_waits_for_nobody(
    limits: LoginLimits, sql: Sql, database_url: str
) -> None:
    for number in range(7):
        limits.reserve(email=f"u{number}@example.com", address=None)
    sql(WAITED)
    limits.reserve(email=EMAIL, address=None)
    with psycopg.connect(database_url) as other:
        other.execute("SELECT FROM login_attempt WHERE ends_at < now() LIMIT 1 FOR UPDATE")
        assert limits.prune(batch=3) == 6
    assert limits.prune(batch=3) == 1
    assert limits.prune() == 0
    assert sql("SELECT count(*) FROM login_attempt") == [(1,)]


def test_nobodys_name_or_address_is_stored(limits: LoginLimits, sql: Sql) -> None:
    limits.reserve(email=EMAIL, address=HOME)
    stored = {row[0] for row in sql("SELECT key FROM login_attempt")}
    assert stored == {digest(f"account:{EMAIL}"), digest(f"address:{HOME}")}


def wrong(client: FlaskClient, email: str = EMAIL, **options: Any) -> int:
    fields = {"email": email, "password": "wrong"}
    return client.post("/api/auth/login", json=fields, **options).status_code


def test_the_eleventh_login_is_refused_whoever_it_is(client: FlaskClient, sql: Sql) -> None:
    register(client)
    for email in (EMAIL, "nobody@example.com"):
        assert [wrong(client, email) for _ in range(10)] == [401] * 10
        # with another spelling of the same address, and with the right password
        fields = {"email": f" {email.upper()} ", "password": PASSWORD}
        answer = client.post("/api/auth/login", json=fields)
        assert answer.status_code == 429
        assert answer.get_json()["error"]["code"] == "too_many_requests"
        seconds = int(answer.headers["Retry-After"])
        assert 850 <= seconds <= 900
        message = f"Too many failed logins; try again in {seconds} seconds."
        assert answer.get_json()["error"]["message"] == message
        assert "Set-Cookie" not in answer.headers
    sql(WAITED)
    log_in(client)


def test_an_operator_unlocks_an_account_and_an_address(limits: LoginLimits, sql: Sql) -> None:
    for address in ("2001:db8::1", HOME):
        for number in range(5):
            limits.reserve(email=f"u{number}@example.com", address=address)
        refusal(limits, email="another@example.com", address=address)
    # as docs/security.md says
    sql("DELETE FROM login_attempt WHERE key = sha256('address:2001:db8::/64')")
    sql("DELETE FROM login_attempt WHERE key = sha256('address:192.0.2.1')")
    limits.reserve(email="u0@example.com", address="2001:db8::1")
    refusal(limits, email="u0@example.com", address=HOME)
    sql("DELETE FROM login_attempt WHERE key = sha256('account:u0@example.com')")
    limits.reserve(email="u0@example.com", address=HOME)


def test_a_login_forgives_what_failed_before(client: FlaskClient) -> None:
    register(client)
    for _ in range(2):
        assert [wrong(client) for _ in range(9)] == [401] * 9
        log_in(client)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "counted"),
    [
        (0, "203.0.113.9", "127.0.0.1"),
        (1, None, "127.0.0.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.66, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.66, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (2, "203.0.113.9", "127.0.0.1"),
    ],
)
def test_behind_proxies_the_client_counts_and_cannot_choose_its_address(
    *,
    make_app: AppFactory,
    database_url: str,
    sql: Sql,
    proxies: int,
    forwarded: str | None,
    counted: str,
) -> None:
    client = make_app(database_url, trusted_proxies=proxies).test_client()
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert wrong(client, headers=headers) == 401
    keys = {row[0] for row in sql("SELECT key FROM login_attempt")}
    assert digest(f"address:{counted}") in keys
