"""What the workers may use, and what they do use: open files and memory."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.ops import usage
from deploy.ops.checks.check import Check
from deploy.ops.checks.context import CannotLookError, Context, cluster
from deploy.ops.checks.finding import Finding, fail, ok, skip, together, warn
from deploy.ops.checks.unit_facts import known
from deploy.ops.systemd import SERVICE

_FILES_LEAST = 4096
_CLIENTS = 1000  # REALTIME_MAX_CLIENTS' default: a socket each
_MEBIBYTE = 1 << 20
_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_FULL = 0.8  # of a limit: time to do something


def judge_files(whose: str, soft: int, clients: int, most_open: int | None) -> Finding:
    """Whether a process may have as many files open as its clients need.

    `soft` is -1 for no limit; `most_open` is what the busiest worker has open.
    """
    least = max(_FILES_LEAST, 2 * clients)
    step = "LimitNOFILE=65536 in a drop-in (systemctl edit smart-factory), or ulimit -n 65536"
    if most_open is not None and soft >= 0 and most_open > _FULL * soft:
        return fail(f"a worker has {most_open} files open, of {soft} that it may", step)
    if 0 <= soft < least:
        return warn(f"{soft} open files ({whose}): expected at least {least}", step)
    shown = "unlimited" if soft < 0 else str(soft)
    busiest = "" if most_open is None else f", at most {most_open} in use"
    return ok(f"{shown} ({whose}){busiest}")


def judge_all_files(used: int, most: int) -> Finding:
    """Whether the whole machine has files left."""
    detail = f"{used} of {most} open files of the whole machine (fs.file-max)"
    return warn(detail, "sysctl -w fs.file-max=…, and in sysctl.d") if used > 0.9 * most else ok("")


def _files(context: Context) -> Finding:
    findings = [_process_files(context)]
    try:
        used, _, most = (
            int(word) for word in context.file("/proc/sys/fs/file-nr").read_text().split()
        )
        machine = judge_all_files(used, most)
        findings += [machine] if machine.detail else []
    except (OSError, ValueError):  # no such limit here
        return findings[0]
    return together(findings)


def _process_files(context: Context) -> Finding:
    clients = context.number("REALTIME_MAX_CLIENTS", _CLIENTS) if context.own_application else 0
    status = context.once(cluster)
    if status.master is not None and status.state != "stopped":
        counts = [usage.count(usage.begin(worker.pid)) for worker in status.workers if worker.pid]
        most = max(
            (each.open_files for each in counts if each.open_files is not None), default=None
        )
        return judge_files("the master", _soft_limit(status.master.pid), clients, most)
    text = known(context, SERVICE, "LimitNOFILESoft")
    if text:
        soft = int(text) if text.isdigit() else -1
        return judge_files("the unit", soft if soft < 1 << 60 else -1, clients, None)
    return judge_files("this shell", _soft_limit("self"), clients, None)


def _soft_limit(pid: int | str) -> int:
    """From /proc/PID/limits (proc_pid_limits(5)); -1 for no limit."""
    try:
        text = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        raise CannotLookError(f"/proc/{pid}/limits cannot be read") from None
    found = re.search(r"^Max open files\s+(\S+)", text, re.MULTILINE)
    return int(found[1]) if found and found[1].isdigit() else -1


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What there is and what is used, in bytes; 0 for no limit or nothing."""

    limit: int  # MemoryMax=, a container's, or the machine's
    available: int  # as the kernel estimates it, of the machine
    total: int
    swap: int
    swap_used: int
    workers: int
    used: int  # by all workers
    worker_max: int  # WORKER_MAX_RSS


def judge_memory(memory: Memory) -> Finding:
    """Whether the workers fit, now and when each is as big as it may become."""
    findings = []
    limit = memory.limit
    at_most = memory.workers * memory.worker_max
    if memory.used > _FULL * limit:
        findings.append(
            warn(
                f"the workers use {_shown(memory.used)} of {_shown(limit)}",
                "fewer workers (smart-factory scale -1), WORKER_MAX_RSS, or a higher MemoryMax=",
            )
        )
    if at_most > limit:
        findings.append(
            warn(
                f"{memory.workers} workers × WORKER_MAX_RSS={_shown(memory.worker_max)} = "
                f"{_shown(at_most)}, but {_shown(limit)} may be used",
                "lower one of the two",
            )
        )
    if memory.available < 0.05 * memory.total:
        rest = f"{_shown(memory.available)} of the machine's {_shown(memory.total)} left"
        findings.append(warn(rest, "see who uses it: smart-factory status, top -o %MEM"))
    if memory.swap and memory.swap_used > 0.5 * memory.swap:
        detail = f"{_shown(memory.swap_used)} of {_shown(memory.swap)} swap used"
        findings.append(warn(detail, "memory ran short: fewer workers, or more memory"))
    if findings:
        return together(findings)
    used = f"the workers use {_shown(memory.used)} of" if memory.workers else "no worker runs;"
    return ok(f"{used} {_shown(limit)}, {_shown(memory.available)} of the machine's left")


def _memory(context: Context) -> Finding:
    import psutil

    machine, swap = psutil.virtual_memory(), psutil.swap_memory()
    workers = context.once(cluster).workers
    running = [worker for worker in workers if worker.pid]
    sizes = [worker.pss if worker.pss is not None else worker.rss for worker in running]
    if running and not any(sizes):
        return skip("needs root: the workers are another user's")
    return judge_memory(
        Memory(
            limit=limit_in_force(context, machine.total),
            available=machine.available,
            total=machine.total,
            swap=swap.total,
            swap_used=swap.used,
            workers=len(running),
            used=sum(each or 0 for each in sizes),
            worker_max=worker_max_rss(context),
        )
    )


def worker_max_rss(context: Context) -> int:
    """WORKER_MAX_RSS in bytes; 0 when it is off."""
    found = re.fullmatch(r"([0-9]{1,18})([KMGTkmgt]?)", context.value("WORKER_MAX_RSS", "0"))
    return int(found[1]) * _SIZES[found[2].upper()] if found else 0


def limit_in_force(context: Context, total: int) -> int:
    """The bytes that the service may use: the unit's, a container's or the machine's."""
    limits = [total, *_number(known(context, SERVICE, "MemoryMax"))]
    with contextlib.suppress(OSError):  # the root group has no such file
        limits += _number(context.file("/sys/fs/cgroup/memory.max").read_text().strip())
    return min(limits)


def _number(text: str) -> Sequence[int]:
    return [int(text)] if text.isdigit() and int(text) else []


def _shown(size: int) -> str:
    return f"{size / _MEBIBYTE:.0f}M"


CHECKS = (
    Check("files", "machine", "enough files may be open", _files),
    Check("memory", "machine", "the workers fit into the memory", _memory),
)
