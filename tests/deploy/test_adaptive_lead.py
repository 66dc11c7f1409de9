"""Who leads: exactly one thread polls, and a long request does not keep the lead."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from deploy.cluster.adaptive.blocking import BlockingRoutes, has_waited, route_of, worth_passing_on
from deploy.cluster.adaptive.lead import LONG_SECONDS, Lead
from tests.wait import wait_until


class Requests:
    """Stands for the loop: whoever leads takes what is queued, and nobody else does."""

    def __init__(self, *, threads: int, overdue: Callable[[], None] = lambda: None):
        self.queue: deque[Callable[[], object]] = deque()
        self.done = 0
        self.leaders_at_once = 0
        self.looks = 0
        self._leading: set[int] = set()
        self.stopping = False
        self.lead = Lead(self._lead, threads=threads, overdue=overdue)

    def _lead(self) -> None:
        me = threading.get_ident()
        self._leading.add(me)
        while not self.stopping:
            self.leaders_at_once = max(self.leaders_at_once, len(self._leading))
            if not self.queue:
                time.sleep(0.0005)
                continue
            request = self.queue.popleft()
            self._leading.discard(me)  # from here on it may be taken
            token = self.lead.enter(time.monotonic())
            request()
            leads = self.lead.leave(token)
            self.done += 1
            if not leads:
                return
            self._leading.add(me)
        self._leading.discard(me)

    @contextmanager
    def running(self) -> Iterator[Requests]:
        self.lead.start()
        watching = threading.Thread(target=self._watch)
        watching.start()
        try:
            yield self
        finally:
            self.stopping = True
            self.lead.wake_watcher()
            watching.join(10)
            self.lead.stop(seconds=10)

    def _watch(self) -> None:
        while not self.stopping:
            self.lead.watch(seconds=1)
            self.looks += 1


def test_a_long_request_does_not_keep_the_others_waiting() -> None:
    with Requests(threads=2).running() as requests:
        gate = threading.Event()
        requests.queue.append(lambda: gate.wait(30))
        wait_until(lambda: not requests.queue, what="the long request to begin")
        requests.queue.extend([lambda: None] * 10)
        wait_until(lambda: requests.done == 10, what="the short requests to be answered")
        gate.set()
        wait_until(lambda: requests.done == 11, what="the long one to be answered")


def test_when_all_threads_are_busy_the_first_that_is_done_leads() -> None:
    with Requests(threads=2).running() as requests:
        gates = [threading.Event(), threading.Event()]
        for gate in gates:
            requests.queue.append(lambda gate=gate: gate.wait(30))  # type: ignore[misc]
        wait_until(lambda: not requests.queue, what="both threads to be busy")
        requests.queue.append(lambda: None)
        gates[1].set()
        wait_until(lambda: requests.done == 2, what="the freed thread to go on")
        gates[0].set()


def test_nobody_leads_beside_the_leader() -> None:
    with Requests(threads=4).running() as requests:
        for number in range(600):
            long = number % 3 == 0
            requests.queue.append(lambda long=long: time.sleep(0.003 if long else 0))  # type: ignore[misc]
        wait_until(lambda: requests.done == 600, seconds=60, what="all to be answered")
    assert requests.leaders_at_once == 1


def test_who_has_lost_the_lead_does_not_take_it_from_the_next_leader() -> None:
    lead = Lead(lambda: None, threads=0)
    first = lead.enter(0.0)
    assert lead._take()  # noqa: SLF001 - as the watcher, or a thread that is done, takes it
    lead._leader = threading.Lock()  # noqa: SLF001
    second = lead.enter(0.0)
    assert not lead.leave(first)
    assert lead.leave(second)


def test_the_watcher_sleeps_while_requests_are_short_and_comes_for_a_long_one() -> None:
    overdue = threading.Event()
    requests = Requests(threads=2, overdue=overdue.set)
    with requests.running():
        began = time.monotonic()
        requests.queue.extend([lambda: time.sleep(0)] * 20_000)
        wait_until(lambda: requests.done == 20_000, what="the short requests to be answered")
        # Now and then a CPU is waited for; who looks always would do so every LONG_SECONDS.
        assert requests.looks < (time.monotonic() - began) / LONG_SECONDS / 2
        gate = threading.Event()
        requests.queue.append(lambda: gate.wait(30))
        requests.queue.append(lambda: None)
        wait_until(lambda: requests.done == 20_001, what="the short request to be answered")
        gate.set()
    assert overdue.is_set()


def test_threads_that_wait_end_at_the_stop() -> None:
    before = threading.active_count()
    with Requests(threads=8).running():
        assert threading.active_count() > before
    assert threading.active_count() == before


def test_a_route_that_waits_is_expected_to_for_a_while() -> None:
    routes = BlockingRoutes()
    assert not routes
    for _ in range(2):
        assert not routes.expects("GET", "/users/17/orders")
        routes.learn("GET", "/users/17/orders", True)
    assert not routes.expects("POST", "/users/99/orders")
    assert not routes.expects("GET", "/users/17")
    times = sum(routes.expects("GET", f"/users/{number}/orders") for number in range(1000))
    assert times == 64
    assert not routes
    routes.learn("GET", "/users/18/orders", True)  # one look is enough then
    assert routes.expects("GET", "/users/17/orders")


def test_a_route_that_waited_once_is_not_expected_to() -> None:
    routes = BlockingRoutes()
    for waited in (True, False, True, False):
        routes.learn("GET", "/", waited)
        assert routes.in_doubt is waited
        assert not routes.expects("GET", "/")


@pytest.mark.parametrize(
    ("seconds", "worked", "alone", "expected"),
    [
        (0.0004, 0.0, True, False),  # another thread is not worth that
        (0.0020, 0.0010, True, True),
        (0.0020, 0.0018, True, False),
        (0.0020, 0.0010, False, False),  # half of the time another thread had the lock
        (0.0200, 0.0010, False, True),
    ],
)
def test_what_a_request_has_waited_for(
    seconds: float, worked: float, alone: bool, expected: bool
) -> None:
    worth = worth_passing_on(cpus=2)
    assert has_waited(seconds, worked, worth=worth, alone=alone) is expected


def test_on_one_cpu_a_shorter_wait_is_worth_another_thread() -> None:
    assert has_waited(0.0004, 0.0002, worth=worth_passing_on(cpus=1), alone=True)
    assert not has_waited(0.0004, 0.0002, worth=worth_passing_on(cpus=2), alone=True)


def test_routes_that_clients_make_up_do_not_fill_the_memory() -> None:
    routes = BlockingRoutes()
    for number in range(5000):
        path = "/" + "".join(chr(97 + int(digit)) for digit in str(number))
        for _ in range(2):
            routes.learn("GET", path, True)
    assert 0 < len(routes) <= 1024


def test_one_of_many_things_has_a_digit_in_its_name() -> None:
    assert route_of("GET", "/users/17/a1b2-c3/orders") == "GET /users/*/*/orders"
    assert route_of("GET", "/") == "GET /"
