"""The one reader of the kit's configuration: frozen, and valid as a whole or refused."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import NoReturn

from gunicorn import util

from deploy.cluster.capacity import available_cpus, worker_count
from deploy.cluster.cgroup import ControlGroup
from deploy.cluster.release import identify
from deploy.state import desired
from deploy.state.desired import DesiredError
from deploy.state.environment import (
    EnvironmentFileError,
    added_by_file,
    read_env_file,
    runtime_directory,
    state_directory,
)
from deploy.state.layout import SLOTS_MAX

# The application that the kit carries: the embedded Postgres is for no other.
OWN_APPLICATION = "app.wsgi:app"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
_WORKER_CLASSES = ("gthread", "adaptive", "sync", "gevent", "tornado")
_OWN_WORKER_CLASSES = {"adaptive": "deploy.cluster.adaptive.AdaptiveWorker"}
_DAY = 86400


class SettingsError(ValueError):
    """A variable has a value that is not allowed; the message is one line for people."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the kit was told; durations in seconds, sizes in bytes, 0 for "off"."""

    app_env: str  # development, production or test
    app_name: str
    wsgi_app: str  # module:callable
    mode: str  # cluster or fork
    workers: int
    preload: str  # auto, mold or fresh
    bind: tuple[str, ...]  # host:port, [host]:port or unix:path
    worker_class: str
    threads: int
    ready_path: str | None  # None: not set, so the default, which an application may lack
    ready_timeout: int
    watchdog_path: str  # empty: the master's loop alone feeds systemd's watchdog
    graceful_timeout: int
    request_timeout: int
    max_requests: int
    worker_max_rss: int
    worker_max_lifetime: int
    database_pool_max: int
    embedded_database: bool  # in development, without a DATABASE_URL
    development_consumers: bool = False  # likewise; an older release's kit does not say it
    worker_affinity: str = "none"  # or cpu; likewise
    log_level: str
    log_format: str  # pretty or json
    release: str
    runtime_directory: Path
    state_directory: Path
    from_file: Mapping[str, str] = field(repr=False)  # what .env adds to the environment

    @classmethod
    def read(
        cls,
        environ: Mapping[str, str],
        *,
        cpus: int,
        env_file: Mapping[str, str] | None = None,
        mode: str | None = None,
    ) -> Settings:
        """Settings from the environment, then the file, then defaults; raises SettingsError.

        `mode` is the one that an operator asked for; it wins over CLUSTER_MODE.

        An empty variable counts as not set, as a line `NAME=` in a file is meant, except for
        READY_PATH and WATCHDOG_PATH, where it says that nothing is asked.
        """
        from_file = added_by_file(environ, env_file or {})
        merged = {**environ, **from_file}
        variables = _Variables(merged)
        app_env = variables.one_of("APP_ENV", ("development", "production", "test"))
        mode = mode or variables.one_of("CLUSTER_MODE", ("cluster", "fork"))
        wsgi_app = variables.matching("WSGI_APP", OWN_APPLICATION, _WSGI_APP, "module:callable")
        asked = variables.workers()
        watchdog_path = variables.path("WATCHDOG_PATH")
        return cls(
            app_env=app_env,
            app_name=variables.text("APP_NAME", "Smart Factory"),
            wsgi_app=wsgi_app,
            mode=mode,
            workers=1 if mode == "fork" else worker_count(asked, cpus),
            preload=variables.one_of("CLUSTER_PRELOAD", ("auto", "mold", "fresh")),
            bind=variables.bind(),
            worker_class=variables.worker_class(),
            worker_affinity=variables.one_of("WORKER_AFFINITY", ("none", "cpu")),
            threads=variables.integer("THREADS", 4, least=1, most=1000),
            ready_path=variables.path("READY_PATH"),
            ready_timeout=variables.duration("READY_TIMEOUT", 30, least=1),
            watchdog_path="/health/live" if watchdog_path is None else watchdog_path,
            graceful_timeout=variables.duration("GRACEFUL_TIMEOUT", 10, least=1),
            request_timeout=variables.duration("REQUEST_TIMEOUT", 30, least=1),
            max_requests=variables.integer("MAX_REQUESTS", 0, least=0),
            worker_max_rss=variables.size("WORKER_MAX_RSS"),
            worker_max_lifetime=variables.duration("WORKER_MAX_LIFETIME", 0, most=365 * _DAY),
            database_pool_max=variables.integer("DATABASE_POOL_MAX", 5, least=1, most=1000),
            embedded_database=app_env == "development" and not merged.get("DATABASE_URL"),
            development_consumers=variables.one_of("DEVELOPMENT_CONSUMERS", ("on", "off")) == "on"
            and app_env == "development",
            log_level=variables.one_of("LOG_LEVEL", _LOG_LEVELS, "info"),
            log_format=variables.one_of(
                "LOG_FORMAT", ("pretty", "json"), "json" if app_env == "production" else "pretty"
            ),
            release=identify(merged, Path.cwd()),
            runtime_directory=runtime_directory(merged),
            state_directory=state_directory(merged),
            from_file=from_file,
        )

    @property
    def gunicorn_worker_class(self) -> str:
        """WORKER_CLASS as Gunicorn is to load it."""
        return _OWN_WORKER_CLASSES.get(self.worker_class, self.worker_class)

    def as_message(self) -> dict[str, object]:
        """The settings as plain data, for another process; without what the file adds."""
        return {name: _plain(value) for name, value in vars(self).items() if name != "from_file"}

    @classmethod
    def from_message(cls, message: Mapping[str, object]) -> Settings:
        """What `as_message` gave; raises SettingsError when another version's settings differ."""
        values: dict[str, object] = {}
        message = {**message, "from_file": {}}
        for each in fields(cls):
            if each.name not in message:
                if each.default is not MISSING:
                    continue
                raise SettingsError(f"the release's kit does not say {each.name!r}")
            value = message[each.name]
            if each.name.endswith("_directory"):
                value = Path(str(value))
            values[each.name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)  # type: ignore[arg-type] # as the other side had them

    def exported(self) -> dict[str, str]:
        """The variables that an application sees, beside the environment it inherits.

        Without those that the hooks set in each worker: Gunicorn would set these over them.
        """
        own = ("CLUSTER_WORKERS", "WORKER_DRAIN_FD", "WORKER_ID", "WORKER_SLOT")
        return {
            **{name: value for name, value in self.from_file.items() if name not in own},
            "APP_ENV": self.app_env,
            "APP_NAME": self.app_name,
            "CLUSTER_MODE": self.mode,
            "DATABASE_POOL_MAX": str(self.database_pool_max),
            "LOG_FORMAT": self.log_format,
            "LOG_LEVEL": self.log_level,
            "RELEASE": self.release,
        }


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return dict(value) if isinstance(value, Mapping) else value


_WSGI_APP = re.compile(r"[A-Za-z_][\w.]*(:.+)?")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_HOST = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.%a-z]+\]")
_ERROR_LINE = re.compile(r"[\w.]+(Error|Exception): ")


class _Variables:
    """The environment, one typed question at a time."""

    def __init__(self, values: Mapping[str, str]):
        self._values = values

    def text(self, name: str, default: str) -> str:
        value = self._values.get(name, "").strip() or default
        if not value.isprintable():
            self._refuse(name, value, "printable text")
        return value

    def one_of(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """One of `allowed`, in any case; the first is the default unless one is named."""
        value = self.text(name, default or allowed[0])
        if value.lower() not in allowed:
            self._refuse(name, value, f"{', '.join(allowed[:-1])} or {allowed[-1]}")
        return value.lower()

    def matching(self, name: str, default: str, pattern: re.Pattern[str], expected: str) -> str:
        value = self.text(name, default)
        if not pattern.fullmatch(value):
            self._refuse(name, value, expected)
        return value

    def integer(
        self, name: str, default: int, *, least: int, most: int | None = None, also: str = ""
    ) -> int:
        value = self.text(name, str(default))
        number = int(value) if re.fullmatch(r"[0-9]{1,18}", value) else -1
        if number < least or (most is not None and number > most):
            top = f"of at least {least}" if most is None else f"from {least} to {most}"
            self._refuse(name, value, f"an integer {top}{also}")
        return number

    def workers(self) -> int | str | None:
        """CLUSTER_WORKERS, else its alias; None when neither is set."""
        for name in ("CLUSTER_WORKERS", "WORKER_COUNT"):
            value = self.text(name, "")
            if value.lower() == "max":
                return "max"
            if value:
                number = self.integer(name, 0, least=1, also=" or 'max'")
                if number > SLOTS_MAX:
                    self._refuse(name, value, f"an integer of at most {SLOTS_MAX}")
                return number
        return None

    def duration(self, name: str, default: int, *, least: int = 0, most: int = _DAY) -> int:
        """Whole seconds: 30, 30s, 5m, 12h or 1d."""
        return self._measure(name, default, _UNITS, "30, 30s, 5m, 12h or 1d", least, most)

    def size(self, name: str) -> int:
        """Bytes: 512M, 2G or a plain number."""
        return self._measure(name, 0, _SIZES, "a number of bytes, 512M or 2G", 0, 1 << 50)

    def path(self, name: str) -> str | None:
        value = self._values.get(name)
        if value and not re.fullmatch(r"/[!-~]*", value):
            self._refuse(name, value, "a path that starts with /, or nothing")
        return value

    def worker_class(self) -> str:
        value = self.text("WORKER_CLASS", "gthread")
        if value not in _WORKER_CLASSES and not _DOTTED.fullmatch(value):
            known = ", ".join(_WORKER_CLASSES)
            self._refuse("WORKER_CLASS", value, f"{known} or the dotted path of a class")
        return value

    def bind(self) -> tuple[str, ...]:
        """BIND, which may name several addresses, else HOST and PORT."""
        host = self.matching(
            "HOST", "127.0.0.1", re.compile(r"[A-Za-z0-9_.:-]+"), "a name or an address"
        )
        port = self.integer("PORT", 3000, least=1, most=65535)
        bind = self.text("BIND", f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        addresses = tuple(address.strip() for address in bind.split(","))
        for address in addresses:
            if not _is_address(address):
                self._refuse("BIND", address, "host:port, [ipv6]:port or unix:/path")
        return addresses

    def _measure(
        self,
        name: str,
        default: int,
        units: Mapping[str, int],
        expected: str,
        least: int,
        most: int,
    ) -> int:
        value = self.text(name, str(default))
        match = re.fullmatch(r"([0-9]{1,18})([A-Za-z]?)", value)
        unit = _either_case(units, match[2]) if match else None
        number = int(match[1]) * unit if match and unit else -1
        if not least <= number <= most:
            bounds = "0 (off) or more" if least == 0 else f"from {least} to {most}"
            self._refuse(name, value, f"{expected} ({bounds})")
        return number

    def _refuse(self, name: str, value: str, expected: str) -> NoReturn:
        raise SettingsError(f"{name}={value!r}: expected {expected}")


def _either_case(units: Mapping[str, int], letter: str) -> int | None:
    if not letter:
        return 1
    return units.get(letter) or units.get(letter.swapcase())


def _is_address(address: str) -> bool:
    if address.startswith("unix:"):
        return len(address) > len("unix:")
    host, _, port = address.rpartition(":")
    return bool(_HOST.fullmatch(host)) and port.isdecimal() and 1 <= int(port) <= 65535


def load(environ: Mapping[str, str]) -> Settings:
    """The settings of this process on this machine, directories made; raises SettingsError."""
    limits = ControlGroup().limits()
    mode = None
    try:
        env_file = read_env_file(environ)
    except EnvironmentFileError as error:
        raise SettingsError(str(error)) from None
    with contextlib.suppress(DesiredError):  # the master says so; the service starts all the same
        mode = desired.read(state_directory({**environ, **added_by_file(environ, env_file)})).mode
    settings = Settings.read(
        environ, cpus=available_cpus(limits.affinity, limits.quota), env_file=env_file, mode=mode
    )
    for name in ("runtime_directory", "state_directory"):
        directory = getattr(settings, name)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"{name.upper()}='{directory}': expected a directory to write to ({error.strerror})"
            ) from None
    try:
        util.load_class(settings.gunicorn_worker_class)
    except Exception as error:
        # Gunicorn puts a whole traceback into the message; its last line says what went wrong.
        lines = [line for line in str(error).splitlines() if _ERROR_LINE.match(line)]
        why = lines[-1] if lines else str(error)
        raise SettingsError(
            f"WORKER_CLASS={settings.worker_class!r}: expected a worker class that loads ({why})"
        ) from None
    return settings
