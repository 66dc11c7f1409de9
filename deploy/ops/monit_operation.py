"""An operation that `monit` has started: this command once more, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.ops.terminal import printable

_TOLD = ("Error: ", "Reload refused: ")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What became of it, in one line."""

    words: str
    well: bool
    said: str


class Operation:
    """`scale +1`; it goes on when we end, as it would in another terminal."""

    def __init__(self, words: Sequence[str]):
        self.words = " ".join(words).partition(" --")[0]
        # A file and not a pipe, which would break under what goes on after us.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it has ended
        safe_path = ["-P"] if sys.flags.safe_path else []
        self._process = subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, *safe_path, "-m", "deploy", *words],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the end of this terminal is not its end
        )

    def ended(self) -> Ended | None:
        """None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        with self._output as output:
            output.seek(0)
            return outcome(self.words, code, output.read().decode(errors="replace"))

    def leave(self) -> None:
        """It goes on without us."""
        self._output.close()
        self._process.returncode = 0  # or Popen would warn that nobody waits for it


def outcome(words: str, code: int, output: str) -> Ended:
    """The line that says most; pure."""
    lines = [printable(line).strip() for line in output.splitlines() if line.strip()]
    told = [line.removeprefix("Error: ") for line in lines if line.startswith(_TOLD)]
    if code == 0 or not told:
        told = lines[-1:] or [f"exit code {code}"]
    return Ended(words=words, well=code == 0, said=told[0])
