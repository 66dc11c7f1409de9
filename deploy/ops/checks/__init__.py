"""Every check of `doctor`, in the order in which they are shown."""

from __future__ import annotations

from deploy.ops.checks import (
    configuration,
    consumers,
    database,
    interpreter,
    machine,
    past,
    pm2,
    rehearsed,
    releases,
    resources,
    service,
    steady,
    units,
)
from deploy.ops.checks.check import Check

CHECKS: tuple[Check, ...] = (
    *service.CHECKS,
    *interpreter.CHECKS,
    *machine.CHECKS,
    *resources.CHECKS,
    *units.CHECKS,
    *consumers.CHECKS,
    *configuration.CHECKS,
    *database.CHECKS,
    *releases.CHECKS,
    *past.CHECKS,
    *pm2.CHECKS,
    *rehearsed.CHECKS,
    *steady.CHECKS,
)
