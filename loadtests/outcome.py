"""What can become of one request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kind of connection that a request goes by."""

    FRESH = "fresh"  # a connection of its own, with `Connection: close`
    KEEPALIVE = "keepalive"  # a persistent one, reused in turn


class Fault(StrEnum):
    """Why a request counts as failed."""

    REFUSED = "refused"  # nobody listens, no socket file, or a Unix socket's backlog is full
    RESET = "reset"
    EOF = "eof"  # closed before the answer was complete
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"  # a complete answer, 5xx
    CLIENT_ERROR = "client_error"  # a complete answer, 4xx
    OTHER = "other"  # not HTTP, or trouble of the client's own, such as no port left


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    status: int
    keep: bool  # the server lets the connection be used again

    @property
    def fault(self) -> Fault | None:
        if self.status >= 500:
            return Fault.SERVER_ERROR
        return Fault.CLIENT_ERROR if self.status >= 400 else None

    @property
    def detail(self) -> str:
        return f"status {self.status}"


@dataclass(frozen=True, slots=True)
class Failure:
    """No complete answer came."""

    fault: Fault
    detail: str

    @classmethod
    def of(cls, error: OSError) -> Failure:
        """The failure that an error of connecting, reading or writing stands for."""
        for fault, types in _FAULTS.items():
            if isinstance(error, types):
                return cls(fault, error.strerror or type(error).__name__)
        return cls(Fault.OTHER, str(error))


_FAULTS: dict[Fault, tuple[type[OSError], ...]] = {
    Fault.REFUSED: (ConnectionRefusedError, FileNotFoundError, BlockingIOError),
    Fault.RESET: (ConnectionResetError, ConnectionAbortedError, BrokenPipeError),
    Fault.TIMEOUT: (TimeoutError,),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request, ended. Seconds throughout; `due` counts from the run's start."""

    due: float
    late: float  # the client's own lateness: begun so long after it was due
    latency: float  # from when it was due to its end
    kind: Kind
    reused: bool  # went by a connection that had carried others
    status: int | None  # None: no complete answer
    fault: Fault | None
    detail: str
