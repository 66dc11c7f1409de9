"""Why a command cannot do what it was asked: the fact, the next step and the exit code."""

from __future__ import annotations

from typing import IO, Any, ClassVar

import click

from deploy.ops.exit_code import ExitCode


class OperationError(click.ClickException):
    """The operation failed; the message states the fact in one line."""

    exit_code: ClassVar[int] = ExitCode.FAILED

    def __init__(self, message: str, next_step: str = ""):
        super().__init__(message)
        self.next_step = next_step

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints the fact, and the next step below it, on standard error."""
        click.echo(f"Error: {self.message}", file=file, err=True)
        if self.next_step:
            click.echo(f"Next step: {self.next_step}", file=file, err=True)


class WrongUseError(OperationError):
    """What was asked for makes no sense here."""

    exit_code: ClassVar[int] = ExitCode.USAGE


class DegradedError(OperationError):
    """It runs, but not as it was asked to."""

    exit_code: ClassVar[int] = ExitCode.DEGRADED


class LockedError(OperationError):
    """Another operation holds the lock."""

    exit_code: ClassVar[int] = ExitCode.LOCKED


class StillGoingError(OperationError):
    """The operator does not wait any more; what was asked for goes on."""

    exit_code: ClassVar[int] = ExitCode.INTERRUPTED
