"""What the database says of itself, asked once for all checks."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from deploy.ops.checks.context import (
    CannotLookError,
    Context,
    NoAnswerError,
    run,
    service_identity,
)

_SECONDS = 14.0  # longer than `ask_database` takes, so that its own message is seen


def facts(context: Context) -> dict[str, Any]:
    """See `ask_database`; `error` says why there are none."""
    context.need_environment()
    if not context.value("DATABASE_URL"):
        raise CannotLookError("DATABASE_URL is not set")
    path = os.pathsep.join(filter(None, [str(context.tree), context.environ.get("PYTHONPATH")]))
    ran = run(
        [sys.executable, "-P", "-m", "deploy.ops.checks.ask_database"],
        seconds=_SECONDS,
        environ={**context.environ, "PYTHONPATH": path},
        identity=service_identity(context),
    )
    if ran.code < 0:
        raise NoAnswerError("Postgres accepts the connection and does not answer")
    if ran.code:
        raise CannotLookError(f"cannot ask the database: {ran.said}")
    found: dict[str, Any] = json.loads(ran.out)
    return found
