"""A release brings its schema before it goes live, if it only adds to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
import pytest

from app.db import migrations
from tests.cluster import ROOT
from tests.integration.release_room import Room, name

ONE, TWO = name(1), name(2)
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def room(tmp_path: Path, database_url: str) -> Room:
    """Our own application, at rest."""
    found = Room(tmp_path, env={"WSGI_APP": "", "DATABASE_URL": database_url})
    for number in (1, 2):
        shutil.copytree(ROOT / "app", found.make(number) / "app")
    found.installed.link("current", found.releases / ONE)
    return found


def version(url: str) -> int:
    """Of the schema; 0 for an empty database."""
    with psycopg.connect(url) as connection:
        entries = migrations.status(connection, migrations.read())
    return max((entry.version for entry in entries if entry.applied_at), default=0)


def test_expand_steps_are_applied_and_contract_steps_are_left(
    room: Room, database_url: str
) -> None:
    latest = len(migrations.read())
    schema = room.releases / TWO / "app/schema"
    (schema / f"{latest + 1:04}_more.sql").write_text("ALTER TABLE payment ADD note text")
    (schema / f"{latest + 2:04}_less.contract.sql").write_text("DROP TABLE payment")
    done = room.release(TWO)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ok     migrations applied {latest + 1:04}_more\n" in done.stdout
    assert "ok     migrations 1 contract step is left: python -m app.db contract" in done.stdout
    assert version(database_url) == latest + 1
    assert room.live == (TWO, "")


def test_what_would_break_the_former_release_is_refused(room: Room, database_url: str) -> None:
    latest = len(migrations.read())
    schema = room.releases / TWO / "app/schema"
    (schema / f"{latest + 1:04}_less.sql").write_text("DROP TABLE payment")
    done = room.release(TWO)
    assert done.returncode == 6, done.stdout + done.stderr
    reason = f"its migrations failed: Error: {latest + 1:04}_less.sql: the release in service may"
    assert reason in done.stderr
    assert room.failure(TWO).startswith(reason)
    assert room.live == (ONE, "")
    assert version(database_url) == 0


def test_the_schema_can_be_left_alone(room: Room, database_url: str) -> None:
    done = room.release(TWO, "--no-migrate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert version(database_url) == 0
