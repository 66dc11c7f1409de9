"""A small application in the place of our own: the same names, and consumers that do as told."""

from __future__ import annotations

from pathlib import Path

# What each stand-in of the consumers begins with: a line for each start, and what a test has left
# for it to do.
PRELUDE = """
import os, signal, sys, time
from pathlib import Path

notes = Path(os.environ["NOTES"])

def note(name, text):
    with (notes / name).open("a") as file:
        file.write(f"{text}\\n")

assert sys.argv[1:] == ["develop", "--hold"], sys.argv
note("begun", os.getpid())
"""
OBEDIENT = "sys.stdin.buffer.read()\nnote('ended', os.getpid())\n"
STUBBORN = "sys.stdin.buffer.read()\nnote('deaf', os.getpid())\ntime.sleep(600)\n"

_WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


def write(directory: Path, consumers: str | None = None) -> None:
    """Writes the packages `app` and `app.db`; with `consumers`, `app.consumers` does that."""
    for package in ("app", "app/db", "app/consumers"):
        (directory / package).mkdir(parents=True, exist_ok=True)
        (directory / package / "__init__.py").touch()
    (directory / "app/wsgi.py").write_text(_WSGI)
    (directory / "app/db/__main__.py").write_text("print('migrated')\n")
    if consumers is not None:
        (directory / "app/consumers/__main__.py").write_text(PRELUDE + consumers)
