"""Which errors spend an event's attempts."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from app.events.blame import is_of_the_event


@pytest.mark.parametrize(
    "error",
    [
        errors.NotNullViolation,
        errors.ForeignKeyViolation,
        errors.NumericValueOutOfRange,
        errors.RaiseException,
        errors.WithCheckOptionViolation,
        ValueError,
        RuntimeError,
    ],
)
def test_what_a_row_brings_about_spends_an_attempt(error: type[Exception]) -> None:
    assert is_of_the_event(error())


@pytest.mark.parametrize(
    "error",
    [
        errors.UndefinedTable,
        errors.InsufficientPrivilege,
        errors.ReadOnlySqlTransaction,
        errors.IdleInTransactionSessionTimeout,
        errors.DeadlockDetected,
        errors.QueryCanceled,
        errors.AdminShutdown,
        errors.DiskFull,
        psycopg.OperationalError,
        psycopg.InterfaceError,
    ],
)
def test_what_all_events_would_meet_spends_none(error: type[Exception]) -> None:
    assert not is_of_the_event(error())
