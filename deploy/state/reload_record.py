"""The last reload as the scoreboard shows it: for the command that waits, and for `status`."""

from __future__ import annotations

import mmap
from dataclasses import dataclass

from deploy.state import layout
from deploy.state.layout import Outcome


@dataclass(frozen=True, kw_only=True)
class Reload:
    """One reload, running or done."""

    number: int  # counts the reloads since the master started
    outcome: Outcome
    started: float  # Unix time
    ended: float  # 0 while it runs
    request: str  # the id of the request that asked for it; empty for a plain HUP
    release: str  # the candidate's name, as soon as it is known
    phase: str  # what it does now: "worker-2 of 4"
    reason: str  # why it was refused, in one line
    traceback: str  # of what failed; empty when there is none


NEVER = Reload(
    number=0,
    outcome=Outcome.NONE,
    started=0.0,
    ended=0.0,
    request="",
    release="",
    phase="",
    reason="",
    traceback="",
)


def read(memory: mmap.mmap) -> Reload:
    """The last reload; `NEVER` before the first."""
    for _ in range(3):
        raw = memory[layout.RELOAD_OFFSET : layout.HEADER_SIZE]
        if memory[layout.RELOAD_OFFSET : layout.HEADER_SIZE] == raw:
            break
    number, outcome, started, ended, *texts = layout.RELOAD.unpack_from(raw)
    request, release, phase, reason = map(layout.string, texts)
    return Reload(
        number=number,
        outcome=Outcome(outcome),
        started=started,
        ended=ended,
        request=request,
        release=release,
        phase=phase,
        reason=reason,
        traceback=layout.string(raw[layout.RELOAD_SIZE :]),
    )


def write(memory: mmap.mmap, reload: Reload) -> None:
    """What the master says of its reload. The outcome comes last: who sees it sees the rest."""
    traceback = layout.tail(reload.traceback, layout.TRACEBACK_BYTES)
    start = layout.RELOAD_TRACEBACK
    memory[start : start + layout.TRACEBACK_BYTES] = traceback.ljust(layout.TRACEBACK_BYTES, b"\0")
    before = layout.UNSIGNED.unpack_from(memory, layout.RELOAD_OFFSET + 8)[0]
    layout.RELOAD.pack_into(
        memory,
        layout.RELOAD_OFFSET,
        reload.number,
        Outcome.RUNNING if reload.outcome != before else reload.outcome,
        reload.started,
        reload.ended,
        layout.text(reload.request, 32),
        layout.text(reload.release, 64),
        layout.text(reload.phase, 160),
        layout.text(reload.reason, 700),
    )
    layout.UNSIGNED.pack_into(memory, layout.RELOAD_OFFSET + 8, reload.outcome)
