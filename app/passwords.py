"""Passwords: argon2id, and as much work for an unknown user as for a known one."""

from __future__ import annotations

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH = 8  # characters
MAX_LENGTH = 1024  # characters; bounds the work that a stranger can ask for

_hasher = PasswordHasher()


def hash_password(password: str) -> str:
    """Salt, parameters and hash in one string."""
    return _hasher.hash(password)


def verify(password_hash: str | None, password: str) -> bool:
    """Whether it is the password; with None, the same work and False."""
    try:
        _hasher.verify(password_hash or _nobodys(), password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


def outdated(password_hash: str) -> bool:
    """Whether it was made with other parameters than a new one would be."""
    return _hasher.check_needs_rehash(password_hash)


def prepare() -> None:
    """Does now what the first unknown user's login would otherwise be slower for."""
    _nobodys()


@cache
def _nobodys() -> str:
    return _hasher.hash(secrets.token_hex())
