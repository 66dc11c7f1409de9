"""The application's configuration: read once, validated whole, frozen."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import SplitResult, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

Environment = Literal["development", "production", "test"]

_SECRET_MIN = 16  # characters, in production
_SECRET_VARIETY = 6  # different characters
# What stands in examples. Long enough, or in a place, that no random secret holds it by chance.
_PLACEHOLDER = re.compile(
    r"^todo|changeme|changethis|replaceme|replacethis|yoursecret|yourtoken|placeholder"
)
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
_ORIGIN = re.compile(rf"https?://{_HOST}(?::(\d{{1,5}}))?", re.ASCII)
_BROKER = re.compile(rf"(?:{_HOST}|\[[0-9A-Fa-f:]+\]):(\d{{1,5}})", re.ASCII)


class ConfigError(ValueError):
    """A variable is missing or wrong; the message is one line and holds no secret."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the application was told, total: every field is present and valid."""

    env: Environment = "development"
    app_name: str = "Smart Factory"
    database_url: str | None = field(default=None, repr=False)  # carries a password
    database_pool_max: int = 5  # connections a process
    secret_key: str = field(repr=False)
    internal_token: str | None = field(default=None, repr=False)
    cors_origins: tuple[str, ...] = ()
    kafka_brokers: tuple[str, ...] = ()  # host:port
    redis_url: str | None = field(default=None, repr=False)  # carries a password
    admin_service_url: str | None = None
    realtime_max_clients: int = 1000  # WebSockets a process
    trusted_proxies: int = 0  # in front of us, each appending to X-Forwarded-For

    @property
    def production(self) -> bool:
        return self.env == "production"

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Config:
        """The configuration that `environ` describes; raises ConfigError. Empty means unset."""
        env = _environment(environ)
        production = env == "production"
        # Nothing is signed with it (session cookies hold random tokens), so that one a process
        # does where none is given; a well-known one would be a trap for the first who signs.
        key = _secret(environ, "SECRET_KEY", required=production) or secrets.token_hex(32)
        return cls(
            env=env,
            app_name=_app_name(environ),
            database_url=database_url(environ),
            database_pool_max=_integer(environ, "DATABASE_POOL_MAX", default=5, low=1, high=1000),
            secret_key=key,
            internal_token=_secret(environ, "INTERNAL_TOKEN", required=production),
            cors_origins=_cors_origins(environ),
            kafka_brokers=_kafka_brokers(environ),
            redis_url=_redis_url(environ),
            admin_service_url=_admin_service_url(environ),
            realtime_max_clients=_integer(
                environ, "REALTIME_MAX_CLIENTS", default=1000, low=1, high=100_000
            ),
            trusted_proxies=_integer(environ, "TRUSTED_PROXIES", default=0, low=0, high=10),
        )


def database_url(environ: Mapping[str, str]) -> str | None:
    """DATABASE_URL, when libpq can parse it; raises ConfigError, which never shows the value."""
    value = _given(environ, "DATABASE_URL")
    if value is None:
        return None
    expected = "expected postgresql://user:password@host:port/name or host=… dbname=…"
    if re.match(r"[\w+.-]+://", value) and not re.match(r"postgres(ql)?://", value):
        raise ConfigError(f"DATABASE_URL: {expected}; this is a URL of another kind")
    try:
        parts = conninfo_to_dict(value)
    except (ProgrammingError, UnicodeError):
        # libpq's own message quotes the part it stumbled over: perhaps the password
        raise ConfigError(f"DATABASE_URL: {expected}; libpq cannot parse this one") from None
    ports = str(parts.get("port", "")).split(",")
    if not all(port == "" or _is_port(port) for port in ports):
        raise ConfigError(f"DATABASE_URL: {expected}; the port is not a number from 1 to 65535")
    return value


def _given(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name, "").strip() or None


def _environment(environ: Mapping[str, str]) -> Environment:
    value = _given(environ, "APP_ENV") or "development"
    for known in get_args(Environment):
        if value == known:
            return known  # type: ignore[no-any-return]
    raise ConfigError(f"APP_ENV={value!r}: expected development, production or test")


def _app_name(environ: Mapping[str, str]) -> str:
    value = _given(environ, "APP_NAME") or "Smart Factory"
    if not value.isprintable() or len(value) > 100:
        raise ConfigError(f"APP_NAME={value!r}: expected at most 100 printable characters")
    return value


def _integer(environ: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    value = _given(environ, name)
    if value is None:
        return default
    if re.fullmatch(r"[0-9]{1,9}", value) and low <= int(value) <= high:
        return int(value)
    raise ConfigError(f"{name}={value!r}: expected an integer from {low} to {high}")


def _secret(environ: Mapping[str, str], name: str, *, required: bool) -> str | None:
    """The variable, else the file that systemd's LoadCredential= put there."""
    value = environ.get(name) or _credential(environ, name)
    if not required:
        return value
    if value is None:
        raise ConfigError(
            f"{name}: required in production, as a variable or as a file {name} "
            "in CREDENTIALS_DIRECTORY"
        )
    if len(value) < _SECRET_MIN:
        raise ConfigError(
            f"{name}: expected at least {_SECRET_MIN} characters in production, got {len(value)}"
        )
    if len(set(value)) < _SECRET_VARIETY:
        raise ConfigError(
            f"{name}: expected at least {_SECRET_VARIETY} different characters in production"
        )
    if _PLACEHOLDER.search(re.sub("[-_ ]", "", value.lower())):
        raise ConfigError(
            f"{name}: expected a random value in production, not an example's; "
            "openssl rand -hex 32 makes one"
        )
    return value


def _credential(environ: Mapping[str, str], name: str) -> str | None:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    try:
        return (Path(folder) / name).read_text(encoding="utf-8").rstrip("\r\n") or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{name}: cannot read {folder}/{name}: {error.strerror}") from None
    except UnicodeError:
        raise ConfigError(f"{name}: {folder}/{name} is not UTF-8 text") from None


def _list(environ: Mapping[str, str], name: str) -> list[str]:
    return [part for item in environ.get(name, "").split(",") if (part := item.strip())]


def _cors_origins(environ: Mapping[str, str]) -> tuple[str, ...]:
    origins = _list(environ, "CORS_ORIGINS")
    for origin in origins:
        if origin == "*":
            raise ConfigError(
                "CORS_ORIGINS='*': expected a list of origins; answers carry credentials, "
                "and browsers refuse a wildcard with those"
            )
        match = _ORIGIN.fullmatch(origin)
        if not match or (match[1] and not _is_port(match[1])):
            raise ConfigError(
                f"CORS_ORIGINS={origin!r}: expected https://host or https://host:port, "
                "without a path, separated by commas"
            )
    return tuple(dict.fromkeys(origin.lower() for origin in origins))


def _kafka_brokers(environ: Mapping[str, str]) -> tuple[str, ...]:
    brokers = _list(environ, "KAFKA_BROKERS")
    for broker in brokers:
        match = _BROKER.fullmatch(broker)
        if not match or not _is_port(match[1]):
            raise ConfigError(f"KAFKA_BROKERS={broker!r}: expected host:port, separated by commas")
    return tuple(dict.fromkeys(brokers))


def _redis_url(environ: Mapping[str, str]) -> str | None:
    value = _given(environ, "REDIS_URL")
    if value is None:
        return None
    url = _split(value)
    if url is not None and (
        (url.scheme in ("redis", "rediss") and url.hostname) or (url.scheme == "unix" and url.path)
    ):
        return value
    raise ConfigError("REDIS_URL: expected redis://host:port/0, rediss://… or unix:///path")


def _admin_service_url(environ: Mapping[str, str]) -> str | None:
    value = _given(environ, "ADMIN_SERVICE_URL")
    if value is None:
        return None
    url = _split(value)
    if url is None or url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigError(_without_password("ADMIN_SERVICE_URL", value) + "expected http(s)://host")
    if url.username or url.password:
        raise ConfigError("ADMIN_SERVICE_URL: expected http(s)://host, without user and password")
    return value


def _without_password(name: str, value: str) -> str:
    return f"{name}: " if "@" in value else f"{name}={value!r}: "


def _split(value: str) -> SplitResult | None:
    try:
        url = urlsplit(value)
        _ = url.port  # parsed, and refused, only when asked for
    except ValueError:
        return None
    return url


def _is_port(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,5}", text)) and 1 <= int(text) <= 65535
