from __future__ import annotations

import base64
import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest

from app.config import Config, ConfigError

SECRET = "sixteen-letters!"
PRODUCTION = {"APP_ENV": "production", "SECRET_KEY": SECRET, "INTERNAL_TOKEN": SECRET[::-1]}


def test_nothing_set_is_a_development_configuration() -> None:
    config = Config.read({})
    assert config.env == "development"
    assert not config.production
    assert config.app_name == "Smart Factory"
    assert config.database_url is None
    assert config.database_pool_max == 5
    assert config.internal_token is None
    assert config.cors_origins == ()
    assert config.kafka_brokers == ()
    assert config.redis_url is None
    assert config.admin_service_url is None
    assert config.trusted_proxies == 0


def test_a_development_secret_key_is_nobody_elses() -> None:
    first, second = Config.read({}), Config.read({})
    assert len(first.secret_key) == 64
    assert first.secret_key != second.secret_key


def test_a_configuration_is_frozen() -> None:
    config = Config.read({})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.env = "production"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("APP_ENV", "test", "env", "test"),
        ("APP_ENV", "", "env", "development"),
        ("APP_NAME", "Widgets & Söhne", "app_name", "Widgets & Söhne"),
        ("APP_NAME", "", "app_name", "Smart Factory"),
        ("DATABASE_URL", "", "database_url", None),
        *(
            ("DATABASE_URL", url, "database_url", url)
            for url in [
                "postgresql://u:p@db:5432/x",
                "postgres://u@db/x?sslmode=require",
                "postgresql://u@a:1,b:2/x",
                "postgresql:///x?host=/run/postgresql",
                "host=db port=5432 dbname=x password='a://b'",
            ]
        ),
        ("DATABASE_POOL_MAX", "1", "database_pool_max", 1),
        ("DATABASE_POOL_MAX", " 1000 ", "database_pool_max", 1000),
        ("SECRET_KEY", "short", "secret_key", "short"),
        ("INTERNAL_TOKEN", "short", "internal_token", "short"),
        ("CORS_ORIGINS", "", "cors_origins", ()),
        (
            "CORS_ORIGINS",
            "https://A.example, http://localhost:5173,https://a.example",
            "cors_origins",
            ("https://a.example", "http://localhost:5173"),
        ),
        ("KAFKA_BROKERS", "k1:9092, [::1]:9093", "kafka_brokers", ("k1:9092", "[::1]:9093")),
        ("REDIS_URL", "redis://:pw@cache:6379/0", "redis_url", "redis://:pw@cache:6379/0"),
        ("REDIS_URL", "rediss://cache", "redis_url", "rediss://cache"),
        ("REDIS_URL", "unix:///run/redis.sock", "redis_url", "unix:///run/redis.sock"),
        ("ADMIN_SERVICE_URL", "http://admin:8080/v1", "admin_service_url", "http://admin:8080/v1"),
        ("TRUSTED_PROXIES", "", "trusted_proxies", 0),
        ("TRUSTED_PROXIES", "0", "trusted_proxies", 0),
        ("TRUSTED_PROXIES", "10", "trusted_proxies", 10),
    ],
)
def test_a_good_value_is_taken(name: str, value: str, field: str, expected: Any) -> None:
    assert getattr(Config.read({name: value}), field) == expected


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("APP_ENV", "prod", "APP_ENV='prod': expected development, production or test"),
        ("APP_NAME", "a\nb", "APP_NAME='a\\nb': expected at most 100 printable characters"),
        *(
            (
                "DATABASE_POOL_MAX",
                value,
                f"DATABASE_POOL_MAX={value!r}: expected an integer from 1 to 1000",
            )
            for value in ["abc", "0", "-1", "2.5", "1001", "1e3", "0x10", "٣", "1" * 5000]
        ),
        *(
            ("TRUSTED_PROXIES", value, f"TRUSTED_PROXIES={value!r}: expected an integer from 0 to")
            for value in ["-1", "11", "10.0.0.1", "yes"]
        ),
        ("CORS_ORIGINS", "*", "CORS_ORIGINS='*': expected a list of origins; answers carry"),
        ("CORS_ORIGINS", "https://ok.example,*", "CORS_ORIGINS='*': expected a list"),
        *(
            ("CORS_ORIGINS", value, f"CORS_ORIGINS={value!r}: expected https://host or")
            for value in [
                "example.com",
                "https://example.com/",
                "https://*.example.com",
                "ftp://example.com",
                "https://example.com:99999",
                "null",
            ]
        ),
        *(
            ("KAFKA_BROKERS", value, f"KAFKA_BROKERS={value!r}: expected host:port")
            for value in ["kafka", "kafka:", "kafka:0", "kafka:70000", ":9092", "a b:1"]
        ),
        *(
            ("ADMIN_SERVICE_URL", value, f"ADMIN_SERVICE_URL={value!r}: expected http(s)://host")
            for value in ["admin:8080", "ftp://admin", "http://", "http://admin:port"]
        ),
    ],
)
def test_a_bad_value_is_refused_in_one_line(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Config.read({name: value})
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://u:hunter2@db/x"),
        ("DATABASE_URL", "postgresql://u:hunter2@db:notaport/x"),
        ("DATABASE_URL", "postgresql://u:hunter2@db:70000/x"),
        ("DATABASE_URL", "postgresql://u:hunter2%zz@db/x"),
        ("DATABASE_URL", "postgresql://db/x?hunter2=1"),
        ("DATABASE_URL", "password=hunter2 nonsense"),
        ("DATABASE_URL", "hunter2"),
        ("REDIS_URL", "http://:hunter2@cache"),
        ("REDIS_URL", "redis://:hunter2@cache:port"),
        ("REDIS_URL", "redis:hunter2"),
        ("ADMIN_SERVICE_URL", "http://u:hunter2@admin"),
        ("ADMIN_SERVICE_URL", "ftp://u:hunter2@admin"),
    ],
)
def test_a_refusal_never_shows_a_password(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Config.read({name: value})
    assert str(refused.value).startswith(name)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize("name", ["SECRET_KEY", "INTERNAL_TOKEN"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "required in production"),
        ("hunter2", "expected at least 16 characters in production, got 7"),
        *(
            (value, "expected at least 6 different characters in production")
            for value in ["x" * 64, "abcde" * 10, "12345123451234512345"]
        ),
        *(
            (value, "expected a random value in production, not an example's")
            for value in [
                "please-change-me-now",
                "CHANGE_ME_CHANGE_ME",
                "<change this value>",
                "replace me before use",
                "Replace-This-1234567",
                "your-secret-key-here",
                "put YOUR_TOKEN here!",
                "my placeholder value",
                "TODO: make a real one",
            ]
        ),
    ],
)
def test_production_wants_real_secrets(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Config.read(PRODUCTION | {name: value})
    assert str(refused.value).startswith(f"{name}: {message}")
    assert "\n" not in str(refused.value)
    assert not value or value not in str(refused.value)


def test_a_random_secret_is_taken() -> None:
    chance = random.Random(1)  # noqa: S311 - the same each time: one in a million begins with "todo"

    def urlsafe(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    for spell in (bytes.hex, urlsafe):
        for _ in range(200):
            key, token = (spell(chance.randbytes(32)) for _ in range(2))
            Config.read(PRODUCTION | {"SECRET_KEY": key, "INTERNAL_TOKEN": token})


def test_outside_production_any_secret_will_do() -> None:
    config = Config.read({"SECRET_KEY": "changeme", "INTERNAL_TOKEN": "changeme"})
    assert (config.secret_key, config.internal_token) == ("changeme", "changeme")


def test_secrets_may_be_files(tmp_path: Path) -> None:
    (tmp_path / "SECRET_KEY").write_text(SECRET + "\n")
    (tmp_path / "INTERNAL_TOKEN").write_text(SECRET[::-1])
    environ = {"APP_ENV": "production", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    config = Config.read(environ)
    assert config.secret_key == SECRET
    assert config.internal_token == SECRET[::-1]

    other = Config.read(environ | {"SECRET_KEY": "from-the-environment"})
    assert other.secret_key == "from-the-environment"


def test_a_credential_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "SECRET_KEY").mkdir()
    with pytest.raises(ConfigError, match=r"SECRET_KEY: cannot read .*: Is a directory"):
        Config.read({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    (tmp_path / "SECRET_KEY").rmdir()
    (tmp_path / "SECRET_KEY").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        Config.read({"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_representation_shows_no_secret() -> None:
    config = Config.read(
        PRODUCTION
        | {"DATABASE_URL": "postgresql://u:hunter2@db/x", "REDIS_URL": "redis://:hunter2@cache"}
    )
    shown = repr(config) + str(config)
    assert "production" in shown
    for secret in (SECRET, SECRET[::-1], "hunter2"):
        assert secret not in shown
