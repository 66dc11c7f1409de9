from __future__ import annotations

import pytest
from gunicorn import arbiter, sock
from gunicorn.config import Config
from gunicorn.workers.base import Worker

from deploy.cluster import promises
from deploy.cluster.arbiter import RollingArbiter
from deploy.cluster.settings import SettingsError


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("preload_app", "use CLUSTER_PRELOAD=mold"),
        ("reuse_port", "leave it off"),
        ("reload", "use kill -HUP or `smart-factory reload`"),
    ],
)
def test_a_setting_that_breaks_a_promise_is_refused_with_what_to_use_instead(
    name: str, instead: str
) -> None:
    cfg = Config()
    cfg.set(name, True)
    with pytest.raises(SettingsError) as refusal:
        promises.refuse(cfg)
    said = str(refusal.value)
    assert said.startswith(f"{name}=True: expected False (")
    assert instead in said
    assert len(said.splitlines()) == 1
    assert refusal.value.exit_code == 2


def test_gunicorns_defaults_break_nothing() -> None:
    promises.refuse(Config())


def test_nothing_is_missing_from_the_gunicorn_that_is_pinned() -> None:
    assert promises.missing() == []


@pytest.mark.parametrize(
    ("owner", "name", "named"),
    [
        (arbiter.Arbiter, "reap_workers", "Arbiter.reap_workers"),
        (Worker, "notify", "Worker.notify"),
        (sock, "_sock_type", "gunicorn.sock._sock_type"),
    ],
)
def test_what_another_gunicorn_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, named: str
) -> None:
    monkeypatch.delattr(owner, name)
    assert promises.missing() == [named]


def test_everything_that_is_lacking_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(arbiter.Arbiter, "start")
    monkeypatch.delattr(arbiter.Arbiter, "stop")
    monkeypatch.delattr(sock, "close_sockets")
    assert promises.missing() == ["Arbiter.start", "Arbiter.stop", "gunicorn.sock.close_sockets"]


def overridden() -> list[str]:
    """The methods of Gunicorn's arbiter that ours replaces."""
    theirs = vars(arbiter.Arbiter)
    return [
        name for name, value in vars(RollingArbiter).items() if callable(value) and name in theirs
    ]


def test_there_are_overrides_to_look_for() -> None:
    assert len(overridden()) > 5


@pytest.mark.parametrize(
    "name",
    overridden(),
)
def test_what_our_arbiter_overrides_is_missed_when_it_is_renamed(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delattr(arbiter.Arbiter, name)
    assert promises.missing() == [f"Arbiter.{name}"]
