"""Whether an error is the event's own, or all events would meet it. Pure."""

from __future__ import annotations

import psycopg

# Classes of SQLSTATE (PostgreSQL, Appendix A) that a row brings about: data exceptions, constraint
# violations, a view's WITH CHECK OPTION, and what a trigger raises. All others are of the server or
# of the schema: away, busy, read-only after a failover, no right, no such table.
_OF_A_ROW = ("22", "23", "44", "P0")


def is_of_the_event(error: Exception) -> bool:
    """True: it spends one of the event's attempts; False: waiting is all that helps."""
    if isinstance(error, psycopg.Error):
        return (error.sqlstate or "").startswith(_OF_A_ROW)
    return True
