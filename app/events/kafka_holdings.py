"""What one member of a group holds: its partitions, and the messages of theirs. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.events.bus import Message
from app.events.offsets import Offsets

Place = tuple[str, int]  # topic and partition

_UNKNOWN = -1  # the position of no partition


@dataclass
class _Partition:
    offsets: Offsets = field(default_factory=Offsets)
    told: int = _UNKNOWN  # the position that Kafka was told, perhaps not answered yet


class Holdings:
    """Messages wait here until they are taken; a partition that goes takes its own along."""

    def __init__(self) -> None:
        self._partitions: dict[Place, _Partition] = {}
        self._waiting: deque[Message] = deque()

    @property
    def waiting(self) -> int:
        """Messages that were put and not taken."""
        return len(self._waiting)

    def gain(self, places: Iterable[Place]) -> None:
        self._partitions |= {place: _Partition() for place in places}

    def lose(self, places: Iterable[Place]) -> None:
        gone = set(places)
        for place in gone:
            self._partitions.pop(place, None)
        kept = (each for each in self._waiting if (each.topic, each.partition) not in gone)
        self._waiting = deque(kept)

    def lose_all(self) -> None:
        self._partitions.clear()
        self._waiting.clear()

    def put(self, message: Message) -> None:
        """Of a partition that went meanwhile it is dropped: somebody else gets it."""
        held = self._partitions.get((message.topic, message.partition))
        if held is None:
            return
        if held.offsets.position is None:
            held.told = message.offset  # it was read from there
        held.offsets.received(message.offset)
        self._waiting.append(message)

    def take(self, most: int) -> list[Message]:
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def holds(self, message: Message) -> bool:
        """Whether its partition is there, and it is not finished."""
        held = self._partitions.get((message.topic, message.partition))
        return held is not None and held.offsets.holds(message.offset)

    def finish(self, messages: Iterable[Message]) -> None:
        for message in messages:
            held = self._partitions.get((message.topic, message.partition))
            if held is not None:
                held.offsets.finish(message.offset)

    def to_tell(self) -> list[tuple[str, int, int]]:
        """Topic, partition and position of those that moved; from now on they count as told."""
        moved = []
        for (topic, partition), held in self._partitions.items():
            position = held.offsets.position
            if position is not None and position != held.told:
                held.told = position
                moved.append((topic, partition, position))
        return moved

    def untold(self, topic: str, partition: int, position: int) -> None:
        """Kafka did not take it: `to_tell` names it again, unless it moved on."""
        held = self._partitions.get((topic, partition))
        if held is not None and held.told == position:
            held.told = _UNKNOWN
