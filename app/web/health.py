"""Is it running, is it alive, can it do its work: three questions, three endpoints."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint

from app.config import Config
from app.db import RETRY_AFTER, Database, DatabaseUnavailable
from app.errors import body
from app.identity import Identity, uptime

_READY_SECONDS = 2.0  # whoever asks is waiting to send traffic elsewhere


def blueprint(*, config: Config, database: Database) -> Blueprint:
    health = Blueprint("health", __name__)

    @health.get("/health")
    @health.get("/api/health")
    def running() -> dict[str, Any]:
        identity = Identity.current()
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {
            "status": "ok",
            "success": True,
            "message": f"{config.app_name} is running",
            "timestamp": now,
            "uptime": round(uptime(), 3),
            "worker": identity.worker,
            "pid": identity.pid,
        }

    @health.get("/health/live")
    def live() -> dict[str, str]:
        return {"status": "ok"}

    @health.get("/health/ready")
    def ready() -> tuple[dict[str, Any], int, dict[str, str]]:
        # Outside production the first connection also applies the migrations: see create_app.
        try:
            database.run(lambda c: c.execute("SELECT 1"), retry=True, seconds=_READY_SECONDS)
        except DatabaseUnavailable as error:
            answer = {
                "status": "unavailable",
                "checks": {"postgres": str(error)},
                **body("not_ready", f"postgres: {error}"),
            }
            return answer, 503, {"Retry-After": str(RETRY_AFTER)}
        return {"status": "ready", "checks": {"postgres": "ok"}}, 200, {}

    return health
