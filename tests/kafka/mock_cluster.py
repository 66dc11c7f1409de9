"""librdkafka's own mock of a cluster, for answers that a real broker gives in rare moments only.

librdkafka/src/rdkafka_mock.h. The Python package has no call for it, hence ctypes.
"""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path

import confluent_kafka
from confluent_kafka import Producer

_OFFSET_FETCH = 9  # kafka.apache.org/protocol, "Api Keys"


class MockCluster:
    """One broker that speaks Kafka's protocol at `address`, for as long as this object lives."""

    def __init__(self, topic: str, *, partitions: int):
        (program,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob(
            "librdkafka*.so*"
        )
        self._library = ctypes.CDLL(str(program))
        self._library.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
        self._library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        # The client whose threads serve it.
        self._client = Producer({"test.mock.num.brokers": 1, "logger": logging.getLogger(__name__)})
        # The handle is the first field of confluent_kafka's object (its confluent_kafka.h).
        handle = ctypes.c_void_p.from_address(id(self._client) + object.__basicsize__)
        self._cluster = ctypes.c_void_p(self._library.rd_kafka_handle_mock_cluster(handle))
        assert self._cluster.value
        self.address = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        assert not self._library.rd_kafka_mock_topic_create(
            self._cluster, topic.encode(), partitions, 1
        )

    def refuse_offsets(self, *errors: int) -> None:
        """The next questions for a group's offsets are answered with these, one each."""
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster,
            ctypes.c_int16(_OFFSET_FETCH),
            ctypes.c_size_t(len(errors)),
            (ctypes.c_int * len(errors))(*errors),
        )
