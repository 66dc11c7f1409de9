"""The embedded Postgres of a development start: begun before the workers, ended after them.

The operator's side knows how to run it; here it is only another process, which holds the database
for as long as our end of its input is open: nobody inherits that end, so a master that is killed
takes the database down with it.
"""

from __future__ import annotations

import selectors
import subprocess

from deploy.cluster.module_process import start_module

_START_SECONDS = 90  # longer than the holder's own deadline, so that its message is seen
_STOP_SECONDS = 90


class EmbeddedDatabase:
    """A database that `start` brings up and `stop` takes down."""

    def __init__(self) -> None:
        self._holder: subprocess.Popen[str] | None = None

    def start(self) -> str | None:
        """The database's URL; None when it does not start, after its own message on stderr."""
        self._holder = start_module(
            "deploy.ops.embedded_postgres",
            "--hold",
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the master, which ends us in order
        )
        assert self._holder.stdout is not None  # noqa: S101 - for the type checker
        with selectors.DefaultSelector() as selector, self._holder.stdout as output:
            selector.register(output, selectors.EVENT_READ)
            line = output.readline().strip() if selector.select(_START_SECONDS) else ""
        if not line:
            self.stop()
            return None
        return line

    def stop(self) -> None:
        """Ends the use of the database and waits until it is down, unless others use it."""
        holder, self._holder = self._holder, None
        if holder is None or holder.stdin is None:
            return
        holder.stdin.close()
        try:
            holder.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            holder.kill()
            holder.wait()
