"""Is it running, can it do its work, which version is it."""

from __future__ import annotations

from app.openapi.parts import LATER, Json, error, error_example, json_answer, record, schema

TAG: Json = {"name": "status", "description": "What is running, and whether it can do its work."}

_PID: Json = {"type": "integer", "minimum": 1}


def _running(operation: str, summary: str) -> Json:
    body = record(
        {
            "status": {"const": "ok"},
            "success": {"const": True},
            "message": {"type": "string"},
            "timestamp": schema("Moment"),
            "uptime": {
                "type": "number",
                "minimum": 0,
                "description": "Seconds since the worker's process began.",
            },
            "worker": schema("Worker"),
            "pid": _PID,
        }
    )
    example = {
        "status": "ok",
        "success": True,
        "message": "Smart Factory is running",
        "timestamp": "2026-11-22T12:00:00.123Z",
        "uptime": 86.4,
        "worker": "worker-2",
        "pid": 4711,
    }
    return {
        "get": {
            "operationId": operation,
            "tags": ["status"],
            "summary": summary,
            "description": "Asks nothing but the worker itself.",
            "security": [],
            "responses": {"200": json_answer("It is running.", body, running=example)},
        }
    }


_NOT_READY = json_answer(
    "It is alive, and cannot do its work.",
    record(
        {
            "status": {"const": "unavailable"},
            "checks": record({"postgres": {"type": "string", "description": "What is wrong."}}),
            "error": error("not_ready"),
        }
    ),
    headers=LATER,
    unavailable={
        "status": "unavailable",
        "checks": {"postgres": "connection refused"},
        **error_example("not_ready", "postgres: connection refused"),
    },
)

PATHS: Json = {
    "/health": _running("getHealth", "Is it running?"),
    "/api/health": _running("getApiHealth", "Is it running? (the same as /health)"),
    "/health/live": {
        "get": {
            "operationId": "getLive",
            "tags": ["status"],
            "summary": "Is the process alive?",
            "description": "For whoever restarts what does not answer: it touches nothing.",
            "security": [],
            "responses": {
                "200": json_answer(
                    "It is alive.", record({"status": {"const": "ok"}}), alive={"status": "ok"}
                )
            },
        }
    },
    "/health/ready": {
        "get": {
            "operationId": "getReady",
            "tags": ["status"],
            "summary": "Can it do its work?",
            "description": "For whoever sends traffic: it asks Postgres, for 2 s at most.",
            "security": [],
            "responses": {
                "200": json_answer(
                    "It can.",
                    record(
                        {
                            "status": {"const": "ready"},
                            "checks": record({"postgres": {"const": "ok"}}),
                        }
                    ),
                    ready={"status": "ready", "checks": {"postgres": "ok"}},
                ),
                "503": _NOT_READY,
            },
        }
    },
    "/api/status": {
        "get": {
            "operationId": "getStatus",
            "tags": ["status"],
            "summary": "Which application, in which version, answers from where?",
            "security": [],
            "responses": {
                "200": json_answer(
                    "It is running.",
                    record(
                        {
                            "message": {"type": "string"},
                            "version": {"type": "string"},
                            "environment": {"enum": ["development", "production", "test"]},
                            "worker": schema("Worker"),
                            "pid": _PID,
                            "mode": {
                                "type": "string",
                                "description": "`cluster`, `fork`, or `none` under another server.",
                            },
                            "workers": {
                                "type": "integer",
                                "description": "How many there are to be.",
                            },
                            "release": {"type": "string"},
                        }
                    ),
                    running={
                        "message": "Smart Factory is running",
                        "version": "0.1.0",
                        "environment": "production",
                        "worker": "worker-2",
                        "pid": 4711,
                        "mode": "cluster",
                        "workers": 3,
                        "release": "2f1c9e",
                    },
                )
            },
        }
    },
}
