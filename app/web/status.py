"""Which application, in which version, answers from where."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from app.config import Config
from app.identity import Identity


def blueprint(*, config: Config, version: str) -> Blueprint:
    status = Blueprint("status", __name__)

    @status.get("/api/status")
    def current() -> dict[str, Any]:
        identity = Identity.current()
        return {
            "message": f"{config.app_name} is running",
            "version": version,
            "environment": config.env,
            "worker": identity.worker,
            "pid": identity.pid,
            "mode": identity.mode,
            "workers": identity.workers,
            "release": identity.release,
        }

    return status
