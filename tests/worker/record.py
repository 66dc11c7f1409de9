"""What was seen of one exchange, and in what two of them differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from tests.worker.answer import Answer

_ABSENT = "(absent)"
_SHOWN = 300  # characters of a value in a message


@dataclass(frozen=True)
class Record:
    """The answers of one connection and what became of it."""

    answers: tuple[Answer, ...]
    trailing: str  # bytes after the last answer, as Latin-1
    ending: str
    closings: str = ""  # how often the application's close() was called, if that was asked

    WAITED: ClassVar[str] = "open: the server waited for more until the client's end"
    LATE: ClassVar[str] = ", but not in time"

    @property
    def waited(self) -> bool:
        return self.ending.startswith(self.WAITED)

    @property
    def is_late(self) -> bool:
        """Whether the server did not end the connection when it had to."""
        return self.LATE in self.ending

    def as_message(self) -> dict[str, Any]:
        """Plain data, for another process."""
        return asdict(self)

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> Self:
        answers = tuple(
            Answer(**{**each, "fields": tuple(each["fields"])}) for each in message["answers"]
        )
        return cls(**{**message, "answers": answers})


def differences(ours: Record, stock: Record) -> list[str]:
    """A line for each thing in which they differ; none if they agree."""
    found = []
    pairs = itertools.zip_longest(ours.answers, stock.answers)
    for number, (our, their) in enumerate(pairs, start=1):
        if our is None or their is None:
            found.append(_line(f"answer {number}", _summary(our), _summary(their)))
        else:
            found += [f"answer {number}, {line}" for line in _of_answers(our, their)]
    for name in ("trailing", "ending", "closings"):
        our, their = getattr(ours, name), getattr(stock, name)
        if our != their:
            found.append(_line(name, our, their))
    return found


def _of_answers(ours: Answer, stock: Answer) -> Iterator[str]:
    if ours.status_line != stock.status_line:
        yield _line("status line", ours.status_line, stock.status_line)
    if ours.fields != stock.fields:
        yield from _of_fields(ours.fields, stock.fields)
    if ours.framing != stock.framing:
        yield _line("framing", ours.framing, stock.framing)
    if ours.body != stock.body:
        yield from _of_values(ours.json, stock.json) or [_line("body", ours.body, stock.body)]


def _of_fields(ours: tuple[str, ...], stock: tuple[str, ...]) -> Iterator[str]:
    lost, added = list(stock), []
    for line in ours:
        if line in lost:
            lost.remove(line)
        else:
            added.append(line)
    if lost or added:
        yield _line("fields", added or _ABSENT, lost or _ABSENT)
    else:
        yield _line("order of the fields", list(ours), list(stock))


def _of_values(ours: dict[str, Any], stock: dict[str, Any]) -> list[str]:
    if not ours or not stock:
        return []
    return [
        _line(f"body, {key}", ours.get(key, _ABSENT), stock.get(key, _ABSENT))
        for key in sorted(ours.keys() | stock.keys())
        if ours.get(key, _ABSENT) != stock.get(key, _ABSENT)
    ]


def _summary(answer: Answer | None) -> str:
    return _ABSENT if answer is None else f"{answer.status_line} {answer.body}"


def _line(name: str, ours: object, stock: object) -> str:
    return f"{name}:\n    ours  {_short(ours)}\n    stock {_short(stock)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
