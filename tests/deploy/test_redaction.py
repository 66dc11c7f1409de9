from __future__ import annotations

import pytest

from deploy.cluster.redaction import redactor

ENVIRON = {
    "SECRET_KEY": "k3y-of-the-house",
    "INTERNAL_TOKEN": "t0ken.with(regex)*",
    "DATABASE_URL": "postgresql://app:p%40ssw0rd@db.example.org/app",
    "CREDENTIALS_DIRECTORY": "/run/credentials/app",
    "SMTP_PASSWORD": "abc",
    "PATH": "/usr/bin",
}


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ("key k3y-of-the-house used", "key [redacted] used"),
        ("t0ken.with(regex)*", "[redacted]"),
        ("cannot reach p@ssw0rd or p%40ssw0rd", "cannot reach [redacted] or [redacted]"),
        ("redis://user:hunter2@cache:6379/0", "redis://user:[redacted]@cache:6379/0"),
        ("Authorization: Bearer abc.def.ghi", "Authorization: [redacted]"),
        ("sent bearer abcdef123456", "sent bearer [redacted]"),
        ("Invalid HTTP Header: 'Cookie: session=abc'", "Invalid HTTP Header: 'Cookie: [redacted]'"),
        ("Set-Cookie: session=abc; HttpOnly", "Set-Cookie: [redacted]"),
        ("login password=hunter2 failed", "login password=[redacted] failed"),
        ('{"password": "two words", "email": "a@b"}', '{"password": [redacted], "email": "a@b"}'),
        ("{'api_key': 'abc'}", "{'api_key': [redacted]}"),
        ("GET /reset?access_token=abc&x=1", "GET /reset?access_token=[redacted]&x=1"),
        ("session=abc; other=1", "session=[redacted]; other=1"),
    ],
)
def test_secrets_are_taken_out(line: str, clean: str) -> None:
    assert redactor(ENVIRON)(line) == clean


@pytest.mark.parametrize(
    "line",
    [
        "INTERNAL_TOKEN: required in production",
        "[Master] Worker 2 (worker-2) is ready [2/3]",
        "Listening at: http://127.0.0.1:3000 (4711)",
        "password authentication failed for user app",
        "secrets are in /run/credentials/app",
        "abc",  # a three-letter password would take half the log with it
        "GET /health 200 1.2ms 187B worker-2 4d1b",
    ],
)
def test_everything_else_is_left_alone(line: str) -> None:
    assert redactor(ENVIRON)(line) == line


@pytest.mark.parametrize("word", ["a", "token", "token-", "://"])
def test_a_word_of_a_clients_is_gone_through_once(word: str) -> None:
    line = f"Invalid request: {word * (200_000 // len(word))} : x"
    assert redactor(ENVIRON)(line) == line
