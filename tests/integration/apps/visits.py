"""A Flask application that is not ours, with our sessions in two lines, and gates to hold it at."""

import os
import time
from pathlib import Path
from typing import Any

from flask import Flask, request, session

from app import sessions

app = Flask(__name__)
interface = sessions.install(app, os.environ["DATABASE_URL"])

_GATE_SECONDS = 15.0


@app.after_request
def wait_at_gate(response: Any) -> Any:
    """Says that it has come to `?gate=FILE`, and waits there until a test removes the file.

    The session has been used by then, and not been saved.
    """
    response.headers["X-Worker-ID"] = os.environ["WORKER_ID"]
    gate = request.args.get("gate")
    if gate:
        Path(gate).write_text(str(os.getpid()))
        deadline = time.monotonic() + _GATE_SECONDS
        while Path(gate).exists() and time.monotonic() < deadline:
            time.sleep(0.005)
    return response


@app.get("/read")
def read() -> dict[str, Any]:
    return dict(session)


@app.post("/set")
def set_keys() -> dict[str, Any]:
    session.update(request.get_json())
    return {}


@app.post("/count/<key>")
def count(key: str) -> dict[str, Any]:
    session[key] = session.get(key, 0) + 1
    return {}


@app.post("/append/<key>/<item>")
def append(key: str, item: str) -> dict[str, Any]:
    session.setdefault(key, []).append(item)
    return {}


@app.post("/delete/<key>")
def delete(key: str) -> dict[str, Any]:
    del session[key]
    return {}


@app.post("/login/<user>")
def login(user: str) -> dict[str, Any]:
    session["user_id"] = user
    interface.regenerate(session)
    return {}


@app.post("/logout")
def logout() -> dict[str, Any]:
    session.clear()
    return {}
