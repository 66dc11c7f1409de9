"""`monit` as it runs: facts come in, keys come in, the screen is drawn anew."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from deploy.ops import monit_screen, slot_facts, slot_page
from deploy.ops.cluster import RunningCluster
from deploy.ops.directories import Directories
from deploy.ops.monit_facts import Frame, Watcher
from deploy.ops.monit_keys import View, keys, press
from deploy.ops.monit_operation import Operation
from deploy.ops.monit_screen import ASCII, BLOCKS
from deploy.ops.monit_terminal import Waker, single_keys

_LONGEST_WAIT = 60.0  # seconds; frames, keys and signals come sooner


@dataclass(frozen=True, kw_only=True)
class Left:
    """How it was left."""

    ended_by: int  # a signal's number; 0 for a key
    operation: str  # that goes on; empty for none


def run(directories: Directories, interval: float) -> Left:
    """Draws until a key or a signal ends it; the terminal is given back in any case."""
    waker = Waker()
    console = Console(highlight=False)
    screen = _Screen(directories, console)
    live = Live(
        console=console,
        screen=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    try:
        with (
            waker.signals(),
            single_keys(),
            live,
            Watcher(directories, interval, waker.wake) as watcher,
        ):
            while not waker.ended_by:
                screen.look(watcher.last())
                live.update(Group(*screen.lines()), refresh=True)
                if not screen.take(waker.wait(_LONGEST_WAIT)):
                    break
    except OSError:
        if not waker.ended_by:  # else the terminal has gone, and a signal has said so
            raise
    return Left(ended_by=waker.ended_by, operation=screen.leave())


class _Screen:
    """What is on the screen now."""

    def __init__(self, directories: Directories, console: Console):
        self._directories = directories
        self._console = console
        self._blocks = BLOCKS if console.encoding.startswith("utf") else ASCII
        self._frame: Frame | None = None
        self._view = View()
        self._operation: Operation | None = None
        self._news: Text | None = None

    def look(self, frame: Frame | None) -> None:
        """Takes the last frame, and the outcome of an operation that has ended."""
        self._frame = frame
        rows = len(frame.status.workers) if frame else 0
        self._view = replace(self._view, selected=min(self._view.selected, max(rows - 1, 0)))
        if self._operation and (ended := self._operation.ended()):
            self._operation = None
            colour = "green" if ended.well else "red"
            self._news = Text(f"{ended.words}: {ended.said}", style=colour)

    def lines(self) -> Sequence[Text]:
        """The screen as large as the terminal is now."""
        width, height = self._console.size
        if self._frame is None:
            return [Text("looking …"[:width])]
        page = self._slot(width) if self._view.page == "slot" else ()
        return monit_screen.screen(
            self._frame,
            self._view,
            width,
            height,
            blocks=self._blocks,
            news=self._news,
            page=page,
        )

    def take(self, typed: bytes) -> bool:
        """Does what the keys say; False when one of them quits."""
        workers = len(self._frame.status.workers) if self._frame else 0
        for key in keys(typed):
            pressed = press(self._view, key, workers=workers)
            self._view = pressed.view
            if pressed.quit:
                return False
            if pressed.run:
                self._start(pressed.run)
        return True

    def leave(self) -> str:
        """The operation that goes on without us, if there is one."""
        if self._operation is None or self._operation.ended():
            return ""
        self._operation.leave()
        return self._operation.words

    def _start(self, words: Sequence[str]) -> None:
        if self._operation:
            running = f"{self._operation.words} runs: wait until it has ended"
            self._news = Text(running, style="yellow")
            return
        try:
            self._operation = Operation(words)
        except OSError as error:
            self._news = Text(f"{' '.join(words)}: it does not start: {error}", style="red")
        else:
            self._news = Text(f"{self._operation.words} …", style="cyan")

    def _slot(self, width: int) -> list[Text]:
        """All that is known of the selected worker's slot, as `describe` prints it."""
        if self._frame is None or not self._frame.status.workers:
            return [Text("there is no worker to describe")]
        slot = self._frame.status.workers[self._view.selected].slot
        written = io.StringIO()
        paper = Console(
            file=written,
            width=width,
            force_terminal=True,
            highlight=False,
            color_system="standard",
        )
        try:
            board = RunningCluster(self._directories.runtime).board
            slot_page.render(slot_facts.read(board, slot, 0), paper)
        except click.ClickException as error:
            return [Text(error.format_message(), style="red")]
        return list(Text.from_ansi(written.getvalue()).split("\n"))
