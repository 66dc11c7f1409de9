"""Which topic an event of a type is published to, and who consumes it."""

from __future__ import annotations

TOPICS = {
    "PURCHASE_CONFIRMED": "purchase-confirmed",
    "PURCHASE_CREATED": "purchase-created",
    "TRAINER_ALLOCATED": "trainer-allocated",
}
DEAD_LETTERS = "dead-letter-queue"
ALL = (*TOPICS.values(), DEAD_LETTERS)
