from __future__ import annotations

from pathlib import Path

import pytest

from deploy.cluster.settings import Settings, SettingsError
from deploy.state.environment import EnvironmentFileError, read_env_file


def read(**environ: str) -> Settings:
    return Settings.read(environ, cpus=4)


def test_defaults() -> None:
    settings = read()
    assert settings.mode == "cluster"
    assert settings.workers == 3
    assert settings.bind == ("127.0.0.1:3000",)
    assert settings.app_env == "development"
    assert settings.log_level == "info"
    assert settings.log_format == "pretty"
    assert settings.wsgi_app == "app.wsgi:app"
    assert settings.preload == "auto"
    assert settings.ready_path is None
    assert settings.worker_class == "gthread"
    assert settings.threads == 4
    assert settings.app_name == "Smart Factory"
    assert (settings.ready_timeout, settings.graceful_timeout, settings.request_timeout) == (
        30,
        10,
        30,
    )
    assert (settings.max_requests, settings.worker_max_rss, settings.worker_max_lifetime) == (
        0,
        0,
        0,
    )
    assert settings.database_pool_max == 5
    assert settings.runtime_directory == Path.cwd() / "var/run"
    assert settings.state_directory == Path.cwd() / "var/state"


@pytest.mark.parametrize(
    ("environ", "field", "value"),
    [
        ({"CLUSTER_WORKERS": "7"}, "workers", 7),
        ({"CLUSTER_WORKERS": "max"}, "workers", 4),
        ({"CLUSTER_WORKERS": " 2 "}, "workers", 2),
        ({"CLUSTER_WORKERS": ""}, "workers", 3),
        ({"WORKER_COUNT": "2"}, "workers", 2),
        ({"CLUSTER_WORKERS": "5", "WORKER_COUNT": "2"}, "workers", 5),
        ({"CLUSTER_MODE": "fork", "CLUSTER_WORKERS": "5"}, "workers", 1),
        ({"CLUSTER_MODE": "Fork"}, "mode", "fork"),
        ({"HOST": "192.0.2.1", "PORT": "80"}, "bind", ("192.0.2.1:80",)),
        ({"HOST": "::1"}, "bind", ("[::1]:3000",)),
        ({"BIND": "unix:/run/a.sock", "PORT": "80"}, "bind", ("unix:/run/a.sock",)),
        ({"BIND": "[::]:80, 10.0.0.1:81"}, "bind", ("[::]:80", "10.0.0.1:81")),
        ({"APP_ENV": "production"}, "log_format", "json"),
        ({"APP_ENV": "production", "LOG_FORMAT": "pretty"}, "log_format", "pretty"),
        ({"LOG_LEVEL": "DEBUG"}, "log_level", "debug"),
        ({"READY_PATH": ""}, "ready_path", ""),
        ({"READY_PATH": "/ping"}, "ready_path", "/ping"),
        ({}, "watchdog_path", "/health/live"),
        ({"WATCHDOG_PATH": ""}, "watchdog_path", ""),
        ({"WATCHDOG_PATH": "/up"}, "watchdog_path", "/up"),
        ({"GRACEFUL_TIMEOUT": "2m"}, "graceful_timeout", 120),
        ({"WORKER_MAX_LIFETIME": "12h"}, "worker_max_lifetime", 43200),
        ({"WORKER_MAX_RSS": "512M"}, "worker_max_rss", 512 << 20),
        ({"WORKER_MAX_RSS": "2g"}, "worker_max_rss", 2 << 30),
        ({"WORKER_CLASS": "my.workers.Special"}, "worker_class", "my.workers.Special"),
        ({"WORKER_CLASS": "sync"}, "gunicorn_worker_class", "sync"),
        (
            {"WORKER_CLASS": "adaptive"},
            "gunicorn_worker_class",
            "deploy.cluster.adaptive.AdaptiveWorker",
        ),
        ({"RELEASE": "2f1c9e"}, "release", "2f1c9e"),
        ({"RUNTIME_DIRECTORY": "/run/a:/run/b"}, "runtime_directory", Path("/run/a")),
        ({}, "embedded_database", True),
        ({"APP_ENV": "test"}, "embedded_database", False),
        ({"DATABASE_URL": "postgresql://db/app"}, "embedded_database", False),
        ({}, "development_consumers", True),
        ({"DATABASE_URL": "postgresql://db/app"}, "development_consumers", True),
        ({"DEVELOPMENT_CONSUMERS": "Off"}, "development_consumers", False),
        ({"APP_ENV": "test"}, "development_consumers", False),
        ({"APP_ENV": "production", "DEVELOPMENT_CONSUMERS": "on"}, "development_consumers", False),
    ],
)
def test_values(environ: dict[str, str], field: str, value: object) -> None:
    assert getattr(read(**environ), field) == value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CLUSTER_WORKERS", "abc", "an integer of at least 1 or 'max'"),
        ("CLUSTER_WORKERS", "0", "an integer of at least 1 or 'max'"),
        ("CLUSTER_WORKERS", "-1", "an integer of at least 1 or 'max'"),
        ("CLUSTER_WORKERS", "2.5", "an integer of at least 1 or 'max'"),
        ("CLUSTER_WORKERS", "٣", "an integer of at least 1 or 'max'"),
        ("CLUSTER_WORKERS", "10000", "an integer of at most 512"),
        ("WORKER_COUNT", "many", "an integer of at least 1 or 'max'"),
        ("CLUSTER_MODE", "pm2", "cluster or fork"),
        ("PORT", "99999", "an integer from 1 to 65535"),
        ("PORT", "0", "an integer from 1 to 65535"),
        ("PORT", "http", "an integer from 1 to 65535"),
        ("HOST", "my host", "a name or an address"),
        ("BIND", "3000", "host:port, [ipv6]:port or unix:/path"),
        ("BIND", "localhost:99999", "host:port, [ipv6]:port or unix:/path"),
        ("BIND", "unix:", "host:port, [ipv6]:port or unix:/path"),
        ("APP_ENV", "staging", "development, production or test"),
        ("APP_NAME", "two\nlines", "printable text"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error or critical"),
        ("LOG_FORMAT", "xml", "pretty or json"),
        ("WSGI_APP", "my app", "module:callable"),
        ("CLUSTER_PRELOAD", "yes", "auto, mold or fresh"),
        ("READY_PATH", "health", "a path that starts with /, or nothing"),
        ("WATCHDOG_PATH", "up", "a path that starts with /, or nothing"),
        ("READY_TIMEOUT", "0", "from 1 to 86400"),
        ("GRACEFUL_TIMEOUT", "soon", "30, 30s, 5m, 12h or 1d"),
        ("REQUEST_TIMEOUT", "-5", "from 1 to 86400"),
        (
            "WORKER_CLASS",
            "fast",
            "gthread, adaptive, sync, gevent, tornado or the dotted path of a class",
        ),
        ("WORKER_AFFINITY", "0", "none or cpu"),
        ("THREADS", "0", "an integer from 1 to 1000"),
        ("MAX_REQUESTS", "-1", "an integer of at least 0"),
        ("WORKER_MAX_RSS", "lots", "a number of bytes, 512M or 2G"),
        ("WORKER_MAX_LIFETIME", "12x", "30, 30s, 5m, 12h or 1d"),
        ("DATABASE_POOL_MAX", "0", "an integer from 1 to 1000"),
        ("DEVELOPMENT_CONSUMERS", "yes", "on or off"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(name: str, value: str, expected: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read(**{name: value})
    message = str(refusal.value)
    # Of several addresses in BIND the wrong one is named.
    assert message.startswith(f"{name}={value!r}: expected ")
    assert expected in message
    assert "\n" not in message
    assert refusal.value.exit_code == 2


def test_a_release_of_before_the_consumers_can_still_be_served() -> None:
    message = read().as_message()
    assert Settings.from_message(message).development_consumers
    del message["development_consumers"]
    assert not Settings.from_message(message).development_consumers
    del message["mode"]
    with pytest.raises(SettingsError, match="'mode'"):
        Settings.from_message(message)


def test_the_environment_wins_over_the_file_and_the_file_over_defaults() -> None:
    settings = Settings.read(
        {"PORT": "4001"},
        cpus=4,
        env_file={"PORT": "4002", "CLUSTER_WORKERS": "2", "SECRET_KEY": "s3cret"},
    )
    assert settings.bind == ("127.0.0.1:4001",)
    assert settings.workers == 2
    assert settings.exported()["SECRET_KEY"] == "s3cret"
    assert "PORT" not in settings.exported()
    assert "s3cret" not in repr(settings)


def test_an_empty_variable_leaves_it_to_the_file_except_for_the_probe() -> None:
    file = {"PORT": "4002", "READY_PATH": "/ping"}
    settings = Settings.read({"PORT": "", "READY_PATH": ""}, cpus=4, env_file=file)
    assert settings.bind == ("127.0.0.1:4002",)
    assert settings.ready_path == ""
    assert Settings.read({}, cpus=4, env_file=file).ready_path == "/ping"


def test_a_file_is_read_literally(tmp_path: Path) -> None:
    file = tmp_path / "production.env"
    file.write_text("# comment\nexport A=1\nPASSWORD='pa$$word ${A}'\nEMPTY=\nNOVALUE\n")
    values = read_env_file({"ENV_FILE": str(file)})
    assert values == {"A": "1", "PASSWORD": "pa$$word ${A}", "EMPTY": ""}


def test_a_named_file_must_exist_and_an_unnamed_one_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_env_file({}) == {}
    with pytest.raises(EnvironmentFileError, match=r"ENV_FILE='gone\.env': expected a file"):
        read_env_file({"ENV_FILE": "gone.env"})
    (tmp_path / ".env").write_text("A=1\n")
    assert read_env_file({}) == {"A": "1"}
