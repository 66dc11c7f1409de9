"""Every answer of the application's to every kind of request."""

from __future__ import annotations

from tests.worker.case import Case, pipelined, request
from tests.worker.conversations import CONVERSATIONS
from tests.worker.failures import FAILURES, FATAL
from tests.worker.files import FILES
from tests.worker.returns import RETURNS
from tests.worker.shapes import SHAPES

_ALL = {
    **{b"/shape/" + name.encode(): name for name in SHAPES},
    **{b"/return/" + name.encode(): name for name in RETURNS},
    **{b"/file/" + name.encode(): name for name in FILES},
    **{b"/talk/" + name.encode(): name for name in CONVERSATIONS},
    **{b"/failure/" + name.encode(): name for name in FAILURES},
}
# They wait for what only a case of their own sends.
_NOT_ALONE = {"held", "release", "socket-taken-over"}
# With every one of these the worker ends, and what replaces it is not there at once.
_FATAL = {
    *(f"system-exit-{moment}" for moment in ("before", "started", "after-first", "at-close")),
    *("keyboard-interrupt-before", "generator-exit-at-first"),
}


def _is_fatal(name: str) -> bool:
    return name.startswith(FATAL)


def _case(form: str, target: bytes, sent: bytes) -> Case:
    name = _ALL[target]
    return Case(
        name=f"{form} of {target.decode()}",
        steps=(sent,),
        heads=frozenset([0] if sent.startswith(b"HEAD") else []),
        alone=_is_fatal(name),
        counts_closing=not _is_fatal(name),
    )


_TARGETS = [
    target
    for target, name in _ALL.items()
    if name not in _NOT_ALONE and (not _is_fatal(name) or name in _FATAL)
]
_LASTING = [target for target in _TARGETS if not _is_fatal(_ALL[target])]
_CALM = [target for target in _LASTING if not target.startswith(b"/failure/")]
_NUMBERED = b"?{number}"

NEW = [_case("GET", target, request(target + _NUMBERED)) for target in _TARGETS]
HEAD = [_case("HEAD", target, request(target + _NUMBERED, method=b"HEAD")) for target in _CALM]
OLD = [
    _case("GET in 1.0", target, request(target + _NUMBERED, version=b"HTTP/1.0"))
    for target in _LASTING
]
OLD_KEPT = [
    _case(
        "GET in kept 1.0",
        target,
        request(target + _NUMBERED, b"Connection: keep-alive", version=b"HTTP/1.0"),
    )
    for target in _CALM
]
CLOSED = [
    _case("GET and close", target, request(target + _NUMBERED, b"Connection: close"))
    for target in _CALM
]
PIPELINED = [
    pipelined(f"GET of {target.decode()} and of another", [request(target + _NUMBERED), request()])
    for target in _LASTING
]
CASES = [*NEW, *HEAD, *OLD, *OLD_KEPT, *CLOSED, *PIPELINED]
