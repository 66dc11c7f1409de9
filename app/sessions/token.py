"""The session's name in the cookie, which only the client knows, and in the table."""

from __future__ import annotations

import hashlib
import re
import secrets

_BYTES = 32
_FORM = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)  # 32 bytes in URL-safe base64, unpadded


def new() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(_BYTES)


def well_formed(text: str) -> bool:
    """Whether `new` could have made it; anything else is not worth a statement."""
    return _FORM.fullmatch(text) is not None


def digest(token: str) -> bytes:
    """What the table holds: whoever reads the table cannot make a cookie of it.

    Plain SHA-256: there is nothing to guess in 256 random bits, hence nothing to slow down.
    """
    return hashlib.sha256(token.encode("ascii")).digest()
