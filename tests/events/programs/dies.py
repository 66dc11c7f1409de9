"""Consumers that kill themselves (SIGKILL) at a point that no signal from outside can hit.

    dies.py POINT NAME…

before-commit: the rows are written, and not committed; after-commit: they are, and the bus does not
know it; after-dead-letter: a dead letter is on its queue, and nobody else knows it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from app.config import Config
from app.consumers.__main__ import main
from app.events import attempts, connect
from app.events.bus import Bus, Message
from app.events.dead_letter import DeadLetter

open_bus = connect.bus


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def bus_that_hears_of_nothing(config: Config) -> Bus:
    bus = open_bus(config)
    subscribe = bus.subscribe

    def subscribed(*args: Any, **options: Any) -> Any:
        subscription = subscribe(*args, **options)
        subscription.acknowledge = die_if_any  # type: ignore[method-assign]
        return subscription

    bus.subscribe = subscribed  # type: ignore[method-assign]
    return bus


def die_if_any(messages: Sequence[Message]) -> None:
    if messages:
        die()


point, *names = sys.argv[1:]
match point:
    case "before-commit":
        attempts.forget = die
    case "after-commit":
        connect.bus = bus_that_hears_of_nothing
    case "after-dead-letter":
        DeadLetter.keep = die  # type: ignore[method-assign]
    case _:
        sys.exit(f"{point}: no such point")
main(["run", *names])
