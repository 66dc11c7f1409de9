"""Users of the reference application: `locust -f loadtests/locustfile.py --host http://127.0.0.1:3000`.

A user comes with a new connection, keeps it for the visit, and comes again at once, or after
`--think` seconds. Answers are checked: a wrong one is a failure, whatever its status. `--shape` (or
LOADTEST_SHAPE) lets `--users` rise and fall during `--run-time`; `--tally FILE` keeps what became
of each request for a report.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

if not __package__:  # started by locust, which knows no packages
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from locust import FastHttpUser, LoadTestShape, events, task
from locust.env import Environment
from locust.exception import StopTest

from loadtests.shapes import SHAPES, Shape
from loadtests.tally import Tally
from loadtests.target import Target, TargetError

_HOST = "http://127.0.0.1:3000"
_SECONDS = 60.0  # of a shape without --run-time
_TIMEOUT = 30.0  # seconds granted to an answer
_PASSWORD = "correct horse battery staple"  # noqa: S105 - of accounts made up for the test


class _Visitor(FastHttpUser):
    """Asks, and checks what comes back.

    A connection stays with the worker that accepted it. Kept for longer than a visit, the first
    moment would decide for the whole run which worker serves whom.
    """

    abstract = True
    host = _HOST
    network_timeout = _TIMEOUT
    connection_timeout = _TIMEOUT

    def __init__(self, environment: Environment):
        super().__init__(environment)
        refused = _refused(self.host)  # also one that was typed into the web page
        if refused:
            raise StopTest(refused)

    def wait_time(self) -> float:
        options = self.environment.parsed_options
        return float(options.think) if options else 0.0

    @task
    def arrive(self) -> None:
        self.client.client.close()
        self.visit()

    def visit(self) -> None:
        raise NotImplementedError

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        status: int = 200,
        expect: dict[str, Any] | None = None,
        name: str = "",
    ) -> dict[str, Any] | None:
        """The JSON object that came, with that status and all of `expect` in it; else None.

        Anything else counts as a failed request.
        """
        with self.client.request(
            method, path, name=name or path, json=body, catch_response=True, allow_redirects=False
        ) as response:
            answer, problem = None, ""
            if response.status_code != status:
                problem = f"status {response.status_code}, expected {status}"
                if response.status_code == 0:
                    problem = f"no answer: {type(response.error).__name__}"
            else:
                try:
                    answer = json.loads(response.content or b"")
                except ValueError:
                    problem = "the body is not JSON"
            if not problem and (
                not isinstance(answer, dict)
                or any(answer.get(key) != value for key, value in (expect or {}).items())
            ):
                problem = "the content is wrong"
            if problem:
                response.failure(problem)
                return None
            response.success()
            return answer


class AnonymousUser(_Visitor):
    """Looks whether the service runs: no session, no database."""

    weight = 4

    def visit(self) -> None:
        for _ in range(10):
            self.ask("GET", "/health", expect={"status": "ok"})
            self.ask("GET", "/api/status")


class SessionUser(_Visitor):
    """Logs in, is recognised whoever answers, writes to the session, reads it back, logs out."""

    weight = 3

    def on_start(self) -> None:
        self._user = {"email": f"{uuid.uuid4()}@example.org", "password": _PASSWORD}
        self._registered = False

    def visit(self) -> None:
        if not self._registered:
            registered = self.ask("POST", "/api/auth/register", self._user, status=201)
            self._registered = registered is not None
        elif (login := self.ask("POST", "/api/auth/login", self._user)) is not None:
            self._session(login["user"])

    def _session(self, user: dict[str, str]) -> None:
        mine = {"user": {**user, "email": self._user["email"]}}
        for _ in range(10):
            if self.ask("GET", "/api/auth/me", expect=mine) is None:
                return
        # A value of its own each time: one that a stale copy of the session cannot have.
        written = {"preferences": {"theme": str(uuid.uuid4())}}
        self.ask("PATCH", "/api/preferences", written["preferences"], expect=written)
        self.ask("GET", "/api/preferences", expect=written)
        self.ask("POST", "/api/auth/logout")


class IssuanceUser(_Visitor):
    """Has credentials issued, each of them again: the first issue stands."""

    weight = 2

    def visit(self) -> None:
        for _ in range(10):
            credential = {"subject": str(uuid.uuid4()), "degree": "BSc", "year": 2024}
            first = self.ask("POST", "/api/issue", credential, status=201)
            if first is None:
                return
            again = dict(reversed(credential.items()))  # the order of members does not count
            self.ask("POST", "/api/issue", again, expect=first, name="/api/issue (again)")


class PaymentUser(_Visitor):
    """Confirms payments, each of them again, as payment providers do."""

    weight = 1

    def visit(self) -> None:
        path = "/api/payments/confirm"
        for _ in range(10):
            payment = {
                "provider_payment_id": str(uuid.uuid4()),
                "student_id": "student-1",
                "course_id": "course-1",
                "amount": 49.5,
            }
            first = self.ask("POST", path, payment, status=202)
            if first is None:
                return
            self.ask("POST", path, payment, status=202, expect=first, name=f"{path} (again)")


class _Planned(LoadTestShape):
    """Tells Locust what a shape wants."""

    abstract = True  # else Locust would use it unasked

    def __init__(self, shape: Shape):
        super().__init__()  # type: ignore[no-untyped-call]
        self._shape = shape

    def tick(self) -> tuple[int, float] | None:
        users = self._shape.at(self.get_run_time())  # type: ignore[no-untyped-call]
        return None if users is None else (users, float(self._shape.users))


class _Recorder:
    """Keeps what became of each request, and writes it at the end of the run."""

    def __init__(self, file: Path):
        self._file = file
        self._tally = Tally()
        self._began: float | None = None
        self._ended: float | None = None

    def begin(self, **_: Any) -> None:
        self._began, self._at, self._cpu = time.monotonic(), time.time(), time.process_time()

    def end(self, **_: Any) -> None:
        if self._began is not None and self._ended is None:
            self._ended = time.monotonic()
            self._cpu = time.process_time() - self._cpu

    def add(
        self,
        request_type: str,
        name: str,
        response_time: float,
        response: Any,
        exception: BaseException | None,
        **_: Any,
    ) -> None:
        if self._began is not None and self._ended is None:
            self._tally.add(
                second=int(time.monotonic() - self._began),
                endpoint=f"{request_type} {name}",
                milliseconds=response_time,
                worker=(response.headers or {}).get("X-Worker-ID"),
                error=None if exception is None else str(exception),
            )

    def write(self, **_: Any) -> None:
        self.end()
        if self._began is not None and self._ended is not None:
            seconds = self._ended - self._began
            facts = self._tally.facts(began=self._at, seconds=seconds, cpu_seconds=self._cpu)
            self._file.write_text(json.dumps(facts), encoding="utf-8")


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--shape",
        choices=sorted(SHAPES),
        env_var="LOADTEST_SHAPE",
        help="How the number of users changes over --run-time; without: as Locust does by itself.",
    )
    parser.add_argument(
        "--think", type=float, default=0.0, help="Seconds that a user waits between two visits."
    )
    parser.add_argument("--tally", type=Path, help="File to write what became of each request to.")


def _prepare(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if options is None:
        return
    refused = _refused(environment.host or _HOST)
    if refused:
        print(f"locustfile: {refused}", file=sys.stderr)
        sys.exit(2)
    if options.shape:
        shape = SHAPES[options.shape](options.num_users or 1, options.run_time or _SECONDS)
        options.run_time = None  # the shape ends the run
        environment.shape_class = _Planned(shape)
    if options.tally:
        recorder = _Recorder(options.tally)
        environment.events.test_start.add_listener(recorder.begin)
        environment.events.test_stopping.add_listener(recorder.end)
        environment.events.request.add_listener(recorder.add)
        environment.events.quitting.add_listener(recorder.write)


def _refused(host: str | None) -> str | None:
    """Why nothing may be sent there; None when it is this machine."""
    try:
        Target.parse(host or "")
    except TargetError as error:
        return str(error)
    return None


events.init_command_line_parser.add_listener(_arguments)
events.init.add_listener(_prepare)
