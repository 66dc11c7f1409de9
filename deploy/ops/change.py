"""What an operation does, so that `operation.run` can do it, check it and take it back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What must be true afterwards; None: whatever the master wants."""

    workers: int | None = None
    mode: str | None = None
    release: str | None = None
    plain: bool = False  # one plain process without a board


class Change(Protocol):
    """A change to the running service that can be taken back.

    A change may also have `facts`, a mapping: they go into its line of the ledger. It may have
    `prepare(say)`, which takes place under the lock before anything is changed: where it raises, or
    is interrupted, there is nothing to take back. And it may have `follow_up(say)`, for what runs
    beside the service: it takes place after the validation, and returns checks of its own.
    """

    @property
    def name(self) -> str:
        """`switch fork`: for the lock, the ledger and messages; its first word is the event."""

    def plan(self) -> list[str]:
        """The steps in words; changes nothing, and raises OperationError when it cannot be done."""

    def carry_out(self, say: Say) -> None:
        """Does it; raises OperationError when it failed."""

    def expected(self) -> Expected:
        """What must be true now that it is carried out."""

    def revert(self, say: Say) -> None:
        """Back to how it was, also from half way; raises OperationError."""
