"""A group's coordinator that has just started, or moves to another broker."""

from __future__ import annotations

import subprocess
import sys

import pytest
from confluent_kafka import KafkaError

from tests.cluster import ROOT
from tests.kafka.groups import GROUP, TOPIC
from tests.kafka.mock_cluster import MockCluster

# In a process of its own, which librdkafka has been seen to end with a segmentation fault.
_ASK = f"""
import sys
from app.events.kafka_bus import KafkaBus
bus = KafkaBus(brokers=sys.argv[1:])
(lag,) = bus.lags({{{GROUP!r}: {TOPIC!r}}})
bus.close()
print(lag.waiting)
"""


@pytest.mark.parametrize(
    "error",
    [
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    ],
)
def test_a_lag_is_asked_again_of_a_coordinator_that_is_not_ready(error: int) -> None:
    cluster = MockCluster(TOPIC, partitions=3)
    cluster.refuse_offsets(error, error)
    done = subprocess.run(
        [sys.executable, "-c", _ASK, cluster.address],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
