"""The body of a usual request: it is all here."""

from __future__ import annotations

from io import BytesIO


class Body(BytesIO):
    """`wsgi.input` as Gunicorn's Body behaves, which differs from a BytesIO in one thing."""

    def readlines(self, hint: int | None = None) -> list[bytes]:  # noqa: ARG002
        """All lines, whatever the hint."""
        return super().readlines()
