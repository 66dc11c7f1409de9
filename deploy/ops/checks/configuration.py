"""What the service was told: for production, and with its secrets kept."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from deploy.ops.checks.check import Check
from deploy.ops.checks.context import CannotLookError, Context
from deploy.ops.checks.finding import Finding, fail, ok, skip, together, warn
from deploy.ops.checks.units import configured

SECRETS = ("SECRET_KEY", "INTERNAL_TOKEN")
CREDENTIALS = "/etc/smart-factory/credentials"
_SECRET_LEAST = 16  # characters, as the application wants them
_LOOPBACK = ("127.", "[::1]", "localhost")


def judge_environment(app_env: str, log_format: str, database_url: str) -> Finding:
    """Whether an installation is told to be one."""
    findings = []
    step = "in the environment file, then smart-factory reload"
    if app_env != "production":
        detail = f"APP_ENV={app_env}: cookies without Secure, no secrets asked for"
        findings.append(warn(detail, f"APP_ENV=production {step}"))
    if (log_format or ("json" if app_env == "production" else "pretty")) != "json":
        detail = "LOG_FORMAT=pretty: no program can read the journal's lines"
        findings.append(warn(detail, f"LOG_FORMAT=json {step}"))
    if _is_embedded(database_url):
        detail = "DATABASE_URL leads to the embedded Postgres, which is for development"
        findings.append(warn(detail, "a Postgres of its own: docs/database.md"))
    return together(findings or [ok("APP_ENV=production, LOG_FORMAT=json")])


def _is_embedded(url: str) -> bool:
    """Whether its socket lies where the embedded Postgres puts it: in its data, or below /tmp."""
    host = unquote(url.partition("host=")[2].partition("&")[0].split(" ")[0])
    if not host.startswith("/"):
        return False
    data = Path(host)
    return data.name.startswith("smart-factory-postgres-") or data.match("var/postgres")


def _environment(context: Context) -> Finding:
    if context.unread:
        named = Path(context.value("ENV_FILE"))
        if "Permission denied" in context.unread:
            return skip(f"needs root, or the service's user: {named}")
        return fail(context.unread, "sudo deploy/scripts/install.sh makes one from the template")
    app_env = context.value("APP_ENV", "development")
    if not context.production:
        return skip(f"APP_ENV={app_env}: a checkout, not an installation")
    return judge_environment(app_env, context.value("LOG_FORMAT"), context.value("DATABASE_URL"))


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Where a secret is kept; `mode` and `owner` of a file, None for a variable."""

    name: str
    where: str
    length: int
    mode: int | None = None
    owner: int = 0  # uid


def judge_secrets(kept: Sequence[Kept], *, owners: Sequence[int]) -> list[Finding]:
    """Whether both are there, long enough, and nobody else's to read."""
    findings = []
    for name in SECRETS:
        found = next((each for each in kept if each.name == name), None)
        if found is None:
            step = f"openssl rand -hex 32 > {CREDENTIALS}/{name} (mode 0600), then a restart"
            findings.append(fail(f"{name}: neither a variable nor a credential", step))
        elif found.length < _SECRET_LEAST:
            detail = f"{name}: {found.length} characters, expected at least {_SECRET_LEAST}"
            findings.append(fail(detail, f"openssl rand -hex 32 > {CREDENTIALS}/{name}"))
        elif found.mode is not None and found.mode & 0o077:
            detail = f"{found.where}: mode {found.mode:04o}, others may read or write it"
            findings.append(fail(detail, f"chmod 0600 {found.where}; then a new secret"))
        elif found.mode is not None and found.owner not in owners:
            detail = f"{found.where}: belongs to user {found.owner}"
            findings.append(fail(detail, f"chown root {found.where}; then a new secret"))
    return findings


def judge_env_file(path: Path, mode: int) -> list[Finding]:
    """Whether the file, which may hold a database's password, is 0640 or stricter."""
    more = mode & 0o7777 & ~0o640
    if not more:
        return []
    step = f"chown root:smart-factory {path}; chmod 0640 {path}"
    if more & 0o006:
        return [fail(f"{path}: mode {mode:04o}, everybody may read or write it", step)]
    return [warn(f"{path}: mode {mode:04o}, expected 0640 or stricter", step)]


def _secrets(context: Context) -> Finding:
    if not context.production:
        return skip("development needs none")
    findings = []
    named = context.value("ENV_FILE")
    if named:
        mode = stat.S_IMODE(Path(named).stat().st_mode)
        findings += judge_env_file(Path(named), mode)
    if context.own_application:
        context.need_environment()
        kept = [each for each in (_kept(context, name) for name in SECRETS) if each is not None]
        service = context.directories.state
        owners = [0, service.stat().st_uid if service.exists() else 0]
        findings += judge_secrets(kept, owners=owners)
    return together(findings or [ok("present, and nobody else's to read")])


def _kept(context: Context, name: str) -> Kept | None:
    if value := context.value(name):
        return Kept(name=name, where="the environment", length=len(value))
    given = context.value("CREDENTIALS_DIRECTORY")
    path = Path(given) / name if given else context.file(f"{CREDENTIALS}/{name}")
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return Kept(
        name=name,
        where=str(path),
        length=found.st_size,
        mode=stat.S_IMODE(found.st_mode),
        owner=found.st_uid,
    )


def judge_proxies(addresses: Sequence[str], trusted: int) -> Finding:
    """Whether the clients' addresses are known; only a proxy reaches a loopback address."""
    behind = all(address.startswith(("/", *_LOOPBACK)) for address in addresses)
    if behind and not trusted:
        return warn(
            f"TRUSTED_PROXIES=0 at {', '.join(addresses)}: every client seems to be the proxy",
            "TRUSTED_PROXIES=1 when a proxy in front sets X-Forwarded-For (docs/security.md)",
        )
    if not behind and trusted:
        return warn(
            f"TRUSTED_PROXIES={trusted} at {', '.join(addresses)}: clients can reach it directly "
            "and make their address up",
            "listen at 127.0.0.1, or let only the proxy through",
        )
    return ok(f"TRUSTED_PROXIES={trusted}")


def _proxies(context: Context) -> Finding:
    context.need_environment()
    if not context.own_application:
        raise CannotLookError("for the application that the kit carries")
    if not context.production:
        return skip("for an installation; this is a checkout")
    return judge_proxies(configured(context), context.number("TRUSTED_PROXIES", 0))


CHECKS = (
    Check("environment", "configuration", "it is told to be in production", _environment),
    Check("secrets", "configuration", "the secrets are there, and kept", _secrets),
    Check("proxies", "configuration", "the clients' addresses are known", _proxies),
)
