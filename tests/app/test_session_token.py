from __future__ import annotations

import hashlib

import pytest

from app.sessions import token


def test_tokens_are_long_and_different() -> None:
    made = {token.new() for _ in range(100)}
    assert len(made) == 100
    assert all(token.well_formed(each) for each in made)


@pytest.mark.parametrize(
    "text",
    ["", "a" * 42, "a" * 44, "a" * 42 + "=", "a" * 42 + "\n", "a" * 42 + "é", "../" * 14 + "a"],
)
def test_anything_else_is_malformed(text: str) -> None:
    assert not token.well_formed(text)


def test_the_digest_is_sha_256() -> None:
    assert token.digest("a" * 43) == hashlib.sha256(b"a" * 43).digest()
