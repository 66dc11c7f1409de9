"""Keeps secrets out of log lines, whatever wrote them.

Two nets: the values of variables whose names say that they are secret, and the shapes in which
credentials appear in text (headers, `name=value` pairs, the user part of a URL).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote

REDACTED = "[redacted]"

_SECRET_NAME = re.compile(
    r"SECRET|TOKEN|PASSWORD|PASSWD|PRIVATE|CREDENTIAL|API_?KEY", re.IGNORECASE
)
_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")
# A shorter value would be found in harmless words.
_SHORTEST = 6

_SHAPES = re.compile(
    r"""
      (?P<header>\b(?:proxy-)?authorization|\bset-cookie|\bcookie)
          (?P<colon>["']?\s*[:=]\s*["']?)[^"'\r\n]+
    | (?P<scheme>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}
      # name=value, and "name": value; `name: value` in prose is none of ours
      # a word is gone through once, however long: clients have words of theirs logged
    | (?P<name>(?<![\w-])(?=[\w-]*?(?:password|passwd|secret|token|api_?key|session))[\w-]++
          (?:["']\s*:|["']?\s*=)\s*)
          (?:"[^"]*"|'[^']*'|[^\s"',;&)}\]]+)
    | (?P<user>://[^/\s:@]*:)[^/\s@]+(?=@)
    """,
    re.IGNORECASE | re.VERBOSE,
)


def redactor(environ: Mapping[str, str]) -> Callable[[str], str]:
    """A function that returns its text without the secrets of `environ` and without credentials."""
    values: set[str] = set()
    for name, value in environ.items():
        if _SECRET_NAME.search(name) and not name.endswith("_DIRECTORY"):
            values.add(value)
        for password in _PASSWORD_IN_URL.findall(value):
            values.update((password, unquote(password)))
    # The longest first: one secret may be part of another.
    known = sorted((v for v in values if len(v) >= _SHORTEST), key=len, reverse=True)
    literal = re.compile("|".join(map(re.escape, known))) if known else None

    def redact(text: str) -> str:
        if literal is not None:
            text = literal.sub(REDACTED, text)
        # Each shape has one of these; a path or an id mostly has none, and is on every access line.
        if ":" in text or "=" in text or " " in text:
            text = _SHAPES.sub(_replacement, text)
        return text

    return redact


def _replacement(match: re.Match[str]) -> str:
    if match["header"]:
        return f"{match['header']}{match['colon']}{REDACTED}"
    if match["scheme"]:
        return f"{match['scheme']}{REDACTED}"
    if match["name"]:
        return f"{match['name']}{REDACTED}"
    return f"{match['user']}{REDACTED}"
