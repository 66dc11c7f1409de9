from __future__ import annotations

import os

import pytest
from flask.testing import FlaskClient

from app import __version__


def test_status_under_the_kit(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # Set after the application was created: a worker learns its name after the fork.
    for name, value in {
        "WORKER_ID": "worker-2",
        "WORKER_SLOT": "2",
        "RELEASE": "2f1c9e",
        "CLUSTER_MODE": "cluster",
        "CLUSTER_WORKERS": "3",
    }.items():
        monkeypatch.setenv(name, value)
    answer = client.get("/api/status")
    assert answer.headers["X-Worker-ID"] == "worker-2"
    assert answer.get_json() == {
        "message": "Smart Factory is running",
        "version": __version__,
        "environment": "test",
        "worker": "worker-2",
        "pid": os.getpid(),
        "mode": "cluster",
        "workers": 3,
        "release": "2f1c9e",
    }


def test_status_under_another_server(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORKER_ID", "RELEASE", "CLUSTER_MODE", "CLUSTER_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    facts = client.get("/api/status").get_json()
    assert facts["worker"] == f"pid-{os.getpid()}"
    assert (facts["mode"], facts["workers"], facts["release"]) == ("none", 1, "unknown")
