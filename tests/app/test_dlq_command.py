"""`python -m app.consumers dlq`, as an operator runs it."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from uuid import UUID

import pytest

from app.events.bus import ONLY_GROUP
from tests.app.conftest import Sql
from tests.app.consumers_command import AWAY, answered, bury, command, event, migrate, subscribe

PURCHASES = ("purchase-creation-workers", "purchase-confirmed")
ALLOCATIONS = ("trainer-allocation-workers", "purchase-created")
CACHES = ("cache-invalidation-workers", "purchase-created")


@pytest.fixture
def url(database_url: str) -> str:
    return migrate(database_url)


def listed(url: str, *words: str) -> list[str]:
    done = command("dlq", "list", "--json", *words, url=url)
    assert (done.returncode, done.stderr) == (0, "")
    return [each["id"] for each in json.loads(done.stdout)["dead_letters"]]


def bury_of_allocation(url: str, *, offset: int) -> UUID:
    group, topic = ALLOCATIONS
    return bury(url, offset=offset, consumer="allocation", group=group, topic=topic)


def age(sql: Sql, letter: UUID, days: int) -> None:
    statement = "UPDATE dead_letter SET died_at = now() - make_interval(days => %s) WHERE id = %s"
    sql(statement, days, letter)


# --- list


def test_list_shows_those_that_wait_the_newest_first(url: str, sql: Sql) -> None:
    old, redriven, new = (bury(url, offset=n) for n in range(3))
    age(sql, old, 2)
    age(sql, redriven, 1)
    sql("UPDATE dead_letter SET redriven_at = now() WHERE id = %s", redriven)
    assert listed(url) == [str(new), str(old)]
    assert listed(url, "--all") == [str(new), str(redriven), str(old)]
    assert listed(url, "--limit", "1") == [str(new)]


def test_list_shows_those_of_one_consumer(url: str) -> None:
    bury(url, offset=1)
    other = bury_of_allocation(url, offset=1)
    assert listed(url, "--consumer", "allocation") == [str(other)]


def test_list_tells_machines_all_but_the_message(url: str) -> None:
    cause = event()
    letter = bury(url, offset=7, event=cause)
    facts = json.loads(command("dlq", "list", "--json", url=url).stdout)
    assert facts["total"] == 1
    [found] = facts["dead_letters"]
    assert found.pop("died_at")
    assert found == {
        "id": str(letter),
        "consumer": "purchase",
        "group": "purchase-creation-workers",
        "topic": "purchase-confirmed",
        "partition": 0,
        "offset": 7,
        "type": "PURCHASE_CONFIRMED",
        "event_id": str(cause.event_id),
        "correlation_id": str(cause.correlation_id),
        "attempts": 3,
        "error": "KeyError: 'seat'",
        "redriven_at": None,
    }


def test_list_is_a_table_that_says_when_there_are_more(url: str, sql: Sql) -> None:
    assert command("dlq", "list", url=url).stdout == "no dead letters wait\n"
    first, second = bury(url, offset=1), bury(url, offset=2, error="x" * 200 + "\x1b[31m")
    age(sql, first, 1)
    names, row, more = command("dlq", "list", "--limit", "1", url=url).stdout.splitlines()
    assert names.split()[:4] == ["id", "consumer", "type", "from"]
    assert row.split()[:5] == [str(second)[:13], "purchase", "-", "purchase-confirmed/0/2", "3"]
    assert row.endswith("x" * 100 + "…")
    assert more == "the newest 1 of 2: --limit shows more"


# --- show


def test_show_finds_a_letter_by_the_beginning_of_its_id(url: str, sql: Sql) -> None:
    cause = event()
    letter = bury(url, offset=7, event=cause, headers={"trace": "t-1"})
    for named in (str(letter), str(letter)[:13], str(letter)[:9].upper()):
        done = command("dlq", "show", named, "--json", url=url)
        assert (done.returncode, done.stderr) == (0, "")
        facts = json.loads(done.stdout)
        assert facts["id"] == str(letter)
    assert facts["key"] == "key-7"
    assert facts["headers"] == {"trace": "t-1"}
    assert facts["stack"] == "Traceback: …\n  at the seat\n"
    text = cause.as_json()
    assert facts["message"] == {"base64": base64.b64encode(text.encode()).decode(), "text": text}
    text = command("dlq", "show", str(letter), url=url).stdout
    for part in (
        *("header trace", "t-1", "    at the seat", "offset          7\n"),
        cause.as_json(),
    ):
        assert part in text


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("aaaaaaaa", "more than one dead letter's id begins with aaaaaaaa"),
        (
            "aaaaaaaa-0000-0000-0000-000000000003",
            "no dead letter has the id aaaaaaaa-0000-0000-0000-000000000003",
        ),
        ("seat", "'seat': expected a dead letter's id, or how it begins"),
        ("", "'': expected a dead letter's id, or how it begins"),
    ],
)
def test_what_names_no_letter_or_several_is_one_line(
    url: str, sql: Sql, named: str, why: str
) -> None:
    for n in (1, 2):
        letter = bury(url, offset=n)
        new = f"aaaaaaaa-0000-0000-0000-00000000000{n}"
        sql("UPDATE dead_letter SET id = %s WHERE id = %s", new, letter)
    for words in (("show",), ("redrive",), ("purge", "--yes")):
        done = command("dlq", *words, "--", named, url=url)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {why}\n")


def test_bytes_that_are_no_text_are_dumped(url: str) -> None:
    letter = bury(url, offset=1, value=b"\xff\x00half a {" + b"z" * 9)
    done = command("dlq", "show", str(letter), url=url)
    assert (
        "00000000  ff 00 68 61 6c 66 20 61 20 7b 7a 7a 7a 7a 7a 7a  |..half a {zzzzzz|\n"
        "00000010  7a 7a 7a                                         |zzz|\n"
    ) in done.stdout
    facts = json.loads(command("dlq", "show", str(letter), "--json", url=url).stdout)
    assert base64.b64decode(facts["message"]["base64"]) == b"\xff\x00half a {" + b"z" * 9
    assert facts["message"]["text"] is None


def test_nothing_of_a_message_reaches_the_terminal_as_a_command(url: str) -> None:
    letter = bury(
        url,
        offset=1,
        value=b"\x1b[2Jgone",
        headers={"color\x1b[31m": "red\x1b[31m\nblue"},
        error="\x1b]0;title\x07",
    )
    text = command("dlq", "show", str(letter), url=url).stdout
    assert "\x1b" not in text
    assert "\x07" not in text
    assert r"red\x1b[31m\nblue" in text
    assert "1b 5b 32 4a 67 6f 6e 65" in text


# --- redrive


def test_redrive_publishes_the_message_for_the_group_that_gave_it_up(url: str, sql: Sql) -> None:
    cause = event("PURCHASE_CREATED")
    group, topic = ALLOCATIONS
    letter = bury(
        url,
        offset=7,
        consumer="allocation",
        group=group,
        topic=topic,
        event=cause,
        headers={"trace": "t-1"},
    )
    sql("INSERT INTO event_failure VALUES ('allocation', %s, 4, 'Boom')", cause.event_id)
    sql("INSERT INTO event_failure VALUES ('cache', %s, 2, 'Boom')", cause.event_id)
    with closing(subscribe(url, *ALLOCATIONS)) as ours, closing(subscribe(url, *CACHES)) as other:
        done = command("dlq", "redrive", str(letter)[:13], url=url)
        assert (done.returncode, done.stdout, done.stderr) == (0, "1 of 1 redriven\n", "")
        [message] = ours.receive(10, 5.0)
        assert other.receive(10, 0.0) == []
    assert (message.topic, message.key) == ("purchase-created", "key-7")
    assert message.value == cause.as_json().encode()
    assert message.headers == {"trace": "t-1", ONLY_GROUP: group}
    assert sql("SELECT consumer FROM event_failure") == [("cache",)]
    assert sql("SELECT redriven_at IS NOT NULL FROM dead_letter") == [(True,)]


def test_a_letter_is_redriven_once_unless_again_is_asked_for(url: str, sql: Sql) -> None:
    first, second = str(bury(url, offset=1)), str(bury(url, offset=2))
    assert command("dlq", "redrive", first, url=url).returncode == 0
    sql("DELETE FROM event_log")
    with closing(subscribe(url, *PURCHASES)) as member:
        done = command("dlq", "redrive", second, first, url=url)
        assert done.returncode == 1
        assert done.stderr.startswith(f"Error: {first} was redriven at ")
        assert done.stderr.endswith("; once more: --again\n")
        assert member.receive(10, 0.0) == []
        assert command("dlq", "redrive", second, first, "--again", url=url).returncode == 0
        assert len(member.receive(10, 5.0)) == 2


def test_redrive_all_takes_those_that_wait(url: str, sql: Sql) -> None:
    for n in range(3):
        bury(url, offset=n)
    bury_of_allocation(url, offset=1)
    words = ("dlq", "redrive", "--all", "--consumer", "purchase", "--yes")
    assert command(*words, url=url).stdout == "3 of 3 redriven\n"
    assert command(*words, url=url).stdout == "0 of 0 redriven\n"
    assert sql("SELECT topic, count(*) FROM event_log GROUP BY topic") == [
        ("purchase-confirmed", 3)
    ]
    assert command("dlq", "redrive", "--all", "--yes", url=url).stdout == "1 of 1 redriven\n"


def test_what_the_bus_refuses_keeps_no_other_back(url: str, sql: Sql) -> None:
    first, second, third = (bury(url, offset=n) for n in (1, 2, 3))
    sql(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE data_exception USING MESSAGE = 'too large'; END $$
        """
    )
    sql(
        """
        CREATE TRIGGER refuse BEFORE INSERT ON event_log FOR EACH ROW
        WHEN (NEW.message_key = 'key-2') EXECUTE FUNCTION refuse()
        """
    )
    done = command("dlq", "redrive", "--all", "--yes", url=url)
    assert (done.returncode, done.stdout) == (1, "2 of 3 redriven\n")
    assert done.stderr == (
        f"{second}: Postgres refused: too large\n"
        "Error: 1 could not be redriven: the reasons stand above\n"
    )
    assert listed(url) == [str(second)]
    assert {first, third} == {
        row[0] for row in sql("SELECT id FROM dead_letter WHERE redriven_at IS NOT NULL")
    }


def test_while_the_bus_is_away_letters_wait_on(url: str, sql: Sql) -> None:
    letter = bury(url, offset=1)
    sql("ALTER TABLE event_log RENAME TO elsewhere")
    done = command("dlq", "redrive", str(letter), url=url)
    assert (done.returncode, done.stdout) == (1, "0 of 1 redriven\n")
    assert done.stderr.startswith('Error: Postgres refused: relation "event_log" does not exist')
    assert done.stderr.count("\n") == 1
    assert listed(url) == [str(letter)]


def test_redrive_all_asks_on_a_terminal(url: str) -> None:
    letter = bury(url, offset=1)
    done = answered("dlq", "redrive", "--all", url=url, answer="n")
    assert done.returncode == 1
    assert "Publish 1 message(s) again?" in done.stdout
    assert listed(url) == [str(letter)]
    done = answered("dlq", "redrive", "--all", url=url, answer="y")
    assert done.returncode == 0
    assert listed(url) == []


# --- purge


def test_purge_deletes_what_is_named_old_or_redriven(url: str, sql: Sql) -> None:
    named, old, redriven, rest = (bury(url, offset=n) for n in range(4))
    age(sql, old, 31)
    sql("UPDATE dead_letter SET redriven_at = now() WHERE id = %s", redriven)

    def purge(*words: str) -> str:
        done = command("dlq", "purge", *words, url=url)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    would = "would delete 4 dead letter(s), 3 of them not redriven\n"
    assert purge("--all", "--dry-run") == would
    one = "1 dead letter(s) deleted\n"
    assert purge(str(named), "--yes") == one
    assert purge("--older-than", "30d", "--yes") == one
    assert purge("--all", "--redriven", "--yes") == one
    assert sql("SELECT id FROM dead_letter") == [(rest,)]
    assert purge("--all", "--consumer", "cache", "--yes") == "0 dead letter(s) deleted\n"
    assert purge("--all", "--consumer", "purchase", "--yes") == one


def test_purge_deletes_more_than_one_batch(url: str, sql: Sql) -> None:
    bury(url, offset=1)
    sql(
        """
        INSERT INTO dead_letter
        SELECT gen_random_uuid(), consumer, group_name, topic, partition, n, message_key, message,
            headers, event_id, correlation_id, type, attempts, error, stack, died_at, redriven_at
        FROM dead_letter, generate_series(2, 1200) AS n
        """
    )
    done = command("dlq", "purge", "--all", "--yes", url=url)
    assert done.stdout == "1200 dead letter(s) deleted\n"
    assert sql("SELECT count(*) FROM dead_letter") == [(0,)]


def test_purge_asks_on_a_terminal(url: str) -> None:
    letter = bury(url, offset=1)
    done = answered("dlq", "purge", "--all", url=url, answer="n")
    assert done.returncode == 1
    assert "Delete 1 dead letter(s), 1 of them not redriven?" in done.stdout
    assert listed(url) == [str(letter)]
    done = answered("dlq", "purge", "--all", url=url, answer="y")
    assert (done.returncode, listed(url)) == (0, [])


# --- both


@pytest.mark.parametrize("word", ["redrive", "purge"])
def test_without_a_terminal_all_needs_yes(url: str, word: str) -> None:
    letter = bury(url, offset=1)
    done = command("dlq", word, "--all", url=url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("asks before it begins: without a terminal, --yes\n")
    assert listed(url) == [str(letter)]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("redrive",), "expected either ID… or one of the options"),
        (("redrive", "aa", "--all"), "expected either ID… or one of the options"),
        (("redrive", "aa", "--consumer", "cache"), "--consumer does not go with ID…"),
        (("redrive", "--all", "--again"), "--again does not go with --all"),
        (("purge",), "expected either ID… or one of the options"),
        (("purge", "--all", "--older-than", "1d"), "expected either ID… or one of the options"),
        (("purge", "--older-than", "30"), "--older-than '30': expected a number and s, m, h, d"),
        (("purge", "--older-than", "-1d"), "--older-than '-1d'"),
        (("list", "--limit", "0"), "--limit"),
        (("list", "--consumer", "seat"), "'purchase', 'allocation', 'session', 'cache'"),
        (("show",), "ID"),
    ],
)
def test_wrong_usage_is_exit_2(words: tuple[str, ...], why: str) -> None:
    done = command("dlq", *words, url=AWAY)
    assert done.returncode == 2
    assert why in done.stderr


@pytest.mark.parametrize(
    "words", [("list",), ("show", "aa"), ("redrive", "aa"), ("purge", "aa", "--yes")]
)
def test_a_database_that_is_away_is_one_line_and_exit_1(words: tuple[str, ...]) -> None:
    done = command("dlq", *words, url=AWAY)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: Postgres is away: cannot connect: Connection refused\n"


def test_without_a_url_it_says_what_to_do() -> None:
    done = command("dlq", "list", url=None)
    assert done.returncode == 2
    assert "embedded_postgres -- python -m app.consumers" in done.stderr
