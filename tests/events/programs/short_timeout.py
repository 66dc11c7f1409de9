"""The consumers, with a second's patience for the admin service and short pauses.

short_timeout.py NAME…
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from app.consumers import pipeline
from app.consumers.__main__ import main
from app.consumers.admin_service import AdminService
from app.consumers.allocation import Allocation


def impatient(*, url: str, **_: Any) -> AdminService:
    return AdminService(url=url, timeout=1.0)


pipeline.AdminService = impatient  # type: ignore[assignment, attr-defined]
Allocation.policy = replace(Allocation.policy, first=0.1)
main(["run", *sys.argv[1:]])
