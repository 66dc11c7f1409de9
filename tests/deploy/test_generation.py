from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config

from deploy.cluster.generation import Generation
from deploy.cluster.launch import Launch
from deploy.cluster.settings import Settings

LAUNCH = Launch(python=Path("python"), arguments=(), directory=Path(), environ={})


def generation(**config: Any) -> Generation:
    settings = Settings.read({"RELEASE": "2f1c9e"}, cpus=4)
    return Generation(number=2, settings=settings, config=config, launch=LAUNCH)


class OwnLogger:
    """A class of the master's."""


def own_hook(server: object) -> None:
    """A hook of the master's."""


def a_master(**values: Any) -> Config:
    cfg = Config()
    for name, value in {"when_ready": own_hook, "logger_class": OwnLogger, **values}.items():
        cfg.set(name, value)
    return cfg


def everything(cfg: Config) -> dict[str, Any]:
    return {name: setting.get() for name, setting in cfg.settings.items()}


def test_it_is_named_after_its_release() -> None:
    assert generation().release == "2f1c9e"


def test_values_follow_and_the_rest_stays() -> None:
    before = a_master(timeout=30, bind=["127.0.0.1:3000"], backlog=7)
    follower = generation(timeout=60, bind=["127.0.0.1:3001", "unix:/run/a"], loglevel="debug")
    after = follower.configure(before)
    assert (after.timeout, after.loglevel, after.backlog) == (60, "debug", 7)
    assert after.address == [("127.0.0.1", 3001), "/run/a"]
    changed = {
        name for name, value in everything(after).items() if value != before.settings[name].get()
    }
    assert changed == {"timeout", "bind", "loglevel"}


def test_the_masters_own_configuration_is_left_alone() -> None:
    before = a_master(bind=["127.0.0.1:3000"], raw_env=["A=1"])
    untouched = everything(before)
    after = generation(**untouched).configure(before)
    after.set("timeout", 99)
    after.settings["bind"].value = ["127.0.0.1:4000"]
    assert everything(before) == untouched
    assert after.settings["raw_env"] is not before.settings["raw_env"]


def test_hooks_and_classes_stay_the_masters() -> None:
    """The mold sends none: they belong to the process that has read them."""
    after = generation(timeout=60).configure(a_master())
    assert after.when_ready is own_hook
    assert after.settings["logger_class"].get() is OwnLogger


UNTIL_RESTART = {
    "pidfile": "/run/other.pid",
    "daemon": True,
    "user": 1,
    "group": 1,
    "worker_tmp_dir": "/elsewhere",
    "chdir": "/releases/two",
    "config": "/releases/two/gunicorn.conf.py",
}


@pytest.mark.parametrize("name", UNTIL_RESTART)
def test_what_only_a_restart_can_change_stays(name: str) -> None:
    before = a_master()
    after = generation(**UNTIL_RESTART).configure(before)
    assert after.settings[name].get() == before.settings[name].get()


def test_a_setting_of_another_gunicorn_is_passed_over() -> None:
    after = generation(no_such_setting=1, timeout=60).configure(a_master())
    assert "no_such_setting" not in after.settings
    assert after.timeout == 60


def test_one_reload_after_the_other() -> None:
    first = a_master(timeout=30)
    second = generation(timeout=60).configure(first)
    third = generation(timeout=90).configure(second)
    assert [cfg.timeout for cfg in (first, second, third)] == [30, 60, 90]
    assert third.env_orig == first.env_orig
