"""`python -m app.consumers` where events travel through Kafka."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from app.events.bus import ONLY_GROUP, Message, Outgoing, Subscription
from app.events.kafka_bus import KafkaBus
from tests.app.consumers_command import bury, command, event, migrate
from tests.kafka.broker import Broker
from tests.wait import wait_until

GROUP, TOPIC = "purchase-creation-workers", "purchase-confirmed"
REPLAY = ("replay", "--group", "purchase", "--from", "beginning", "--yes")


@pytest.fixture
def url(database_url: str) -> str:
    return migrate(database_url)


@contextmanager
def member(broker: str) -> Iterator[Subscription]:
    """Of the group that takes purchases."""
    with (
        closing(KafkaBus(brokers=[broker])) as bus,
        closing(bus.subscribe(GROUP, [TOPIC], settle=lambda: None)) as subscription,
    ):
        yield subscription


def received(subscription: Subscription) -> list[Message]:
    return wait_until(lambda: subscription.receive(10, 0.5), what="a message", seconds=60)


def test_a_redriven_message_comes_to_the_group_that_gave_it_up(url: str, kafka: str) -> None:
    cause = event()
    bury(url, offset=7, event=cause, headers={"trace": "t-1"})
    done = command("dlq", "redrive", "--all", "--yes", url=url, KAFKA_BROKERS=kafka)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 of 1 redriven\n", "")
    with member(kafka) as subscription:
        [message] = received(subscription)
    assert message.value == cause.as_json().encode()
    assert (message.topic, message.key) == (TOPIC, "key-7")
    assert message.headers == {"trace": "t-1", ONLY_GROUP: GROUP}


def test_replay_wants_the_members_stopped_and_lag_counts_what_comes(url: str, kafka: str) -> None:
    def waiting() -> int:
        done = command("lag", "--json", url=url, KAFKA_BROKERS=kafka)
        assert (done.returncode, done.stderr) == (0, "")
        return int(json.loads(done.stdout)["consumers"][0]["waiting"])

    with closing(KafkaBus(brokers=[kafka])) as bus:
        bus.publish([Outgoing(topic=TOPIC, key="k", value=b"1")])
    assert waiting() == 1
    with member(kafka) as subscription:
        subscription.acknowledge(received(subscription))
        done = command(*REPLAY, url=url, KAFKA_BROKERS=kafka)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"Error: stop the group's consumers first: {GROUP} has members\n"
    assert waiting() == 0
    done = command(*REPLAY, "--json", url=url, KAFKA_BROKERS=kafka)
    assert (done.returncode, json.loads(done.stdout)["messages"]) == (0, 1)
    assert waiting() == 1


def test_topics_are_created_where_they_are_missing(url: str, own_kafka: Broker) -> None:
    address = own_kafka.address
    done = command("lag", url=url, KAFKA_BROKERS=address)
    assert done.returncode == 1
    assert done.stderr.endswith(": python -m app.consumers topics create\n")
    done = command("topics", "create", "--replicas", "3", url=url, KAFKA_BROKERS=address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: Kafka refuses: ")
    assert done.stderr.count("\n") == 1
    done = command("topics", "create", url=url, KAFKA_BROKERS=address)
    assert (done.returncode, done.stderr) == (0, "")
    assert "created dead-letter-queue\n" in done.stdout
    done = command("topics", "create", url=url, KAFKA_BROKERS=address)
    assert (done.returncode, done.stdout) == (0, "all topics are there\n")


def test_while_kafka_is_away_status_tells_the_rest(url: str) -> None:
    done = command("status", "--json", url=url, KAFKA_BROKERS="127.0.0.1:1")
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert facts["bus"] == "kafka"
    assert facts["error"]
    assert [each["lag"] for each in facts["consumers"]] == [None] * 4


@pytest.mark.parametrize(
    "words", [("lag",), REPLAY, ("topics", "create"), ("dlq", "redrive", "--all", "--yes")]
)
def test_while_kafka_is_away_a_command_says_so_in_one_line(
    url: str, words: tuple[str, ...]
) -> None:
    bury(url, offset=1)
    done = command(*words, url=url, KAFKA_BROKERS="127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Kafka ")
    assert done.stderr.count("\n") == 1
