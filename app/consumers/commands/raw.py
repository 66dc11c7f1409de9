"""Bytes and texts of others, as a terminal may have them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

_ROW = 16  # bytes


def one_line(text: str) -> str:
    """The text in one line; what is no printable character is written as an escape."""
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def lines(text: str) -> str:
    """As `one_line`, but lines and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escape(c) for c in text)


def decoded(value: bytes) -> str | None:
    """The text that the bytes are; None when they are no UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def shown(value: bytes) -> str:
    """The text, when it is one that can be printed; else all bytes in hexadecimal digits."""
    text = decoded(value)
    if text is not None and text == lines(text):
        return text
    return "\n".join(_dump(value))


def _dump(value: bytes) -> Iterator[str]:
    for start in range(0, len(value), _ROW):
        row = value[start : start + _ROW]
        digits = row.hex(" ")
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{start:08x}  {digits:{3 * _ROW - 1}}  |{text}|"


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
