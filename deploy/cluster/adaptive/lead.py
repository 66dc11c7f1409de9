"""Who leads: of several threads one polls and runs short requests, the others wait or are busy.

The leader puts the baton down before it runs a request and picks it up afterwards. When a request
takes longer than `LONG_SECONDS`, the watcher (the main thread, as Go's sysmon watches processors)
gives the baton to a follower; who finds it gone finishes its request and joins the followers. While
requests are short no thread wakes another, so none waits for the interpreter's lock. A request that
computes keeps that lock anyway, so it keeps the lead for longer, too.

While requests are short the watcher sleeps: the leader puts off its alarm now and then. To look
means to take the interpreter's lock from the leader, which costs as much as half a request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from deploy.cluster.adaptive.alarm import Alarm

LONG_SECONDS, COMPUTING_SECONDS = 0.002, 0.010
_PUT_OFF_SECONDS = 0.001  # so often the leader puts the alarm off
_FIRST_LOOK_SECONDS = 0.001  # between the first look at a request and the next
_STOP_LOOK_SECONDS = 0.001


class Lead:
    """The threads of one worker, and which of them leads.

    `lead` is run by the leader, and returns when `leave` has told it that it leads no more.
    `overdue` is called by the watcher now and then while a request takes long.
    Appending to a list and popping from it are one step each, whatever thread does it: that is all
    the locking there is.
    """

    def __init__(
        self, lead: Callable[[], None], *, threads: int, overdue: Callable[[], None] = lambda: None
    ):
        self.began = 0.0  # monotonic seconds: when the leader entered its request
        self._lead = lead
        self._overdue = overdue
        self._baton: list[threading.Lock] = []  # the leader's, while it is inside a request
        self._followers: list[threading.Lock] = []  # each waits at its own
        self._leader = threading.Lock()
        self._stopping = False
        self._long = -1.0  # when a request began that is known to take long
        self._clocks: dict[threading.Lock, int] = {}  # of each thread's CPU time
        self._seen = (0.0, 0.0, 0.0)  # at the last look: when the request began, CPU time, now
        self._alarm = Alarm(seconds=LONG_SECONDS)
        self._put_off_at = 0.0  # monotonic seconds: when the alarm is next put off
        self._threads = [
            # Whoever hangs in a request does not keep the process from its end.
            threading.Thread(target=self._run, name=f"request-{number}", daemon=True)
            for number in range(1, threads + 1)
        ]

    # --- by the leader

    def enter(self, now: float) -> threading.Lock:
        """The leader runs a request from now on: the lead may be taken from it."""
        me = self._leader
        self.began = now
        self._baton.append(me)
        if now >= self._put_off_at:
            self._put_off_at = now + _PUT_OFF_SECONDS
            self._alarm.put_off()
        return me

    def leave(self, me: threading.Lock) -> bool:
        """The request is done; whether the thread still leads, and not another one by now."""
        try:
            self._baton.remove(me)
        except ValueError:
            return False
        return True

    def leads_since(self, began: float) -> bool:
        """Whether the leader is in the request that began then."""
        return bool(self._baton) and self.began == began

    @property
    def others_follow(self) -> bool:
        """Whether no other thread is inside a request."""
        return len(self._followers) == len(self._threads) - 1

    def pass_on(self) -> bool:
        """Gives the lead to a follower; False when there is none."""
        try:
            follower = self._followers.pop()
        except IndexError:
            return False
        follower.release()
        return True

    # --- by the watcher

    def start(self) -> None:
        """Starts the threads; one of them leads."""
        for thread in self._threads:
            thread.start()
        self._give()

    def watch(self, *, seconds: float) -> None:
        """Sleeps until a look is due, at most so long, and looks."""
        if not self._alarm.wait(seconds):
            return
        self._put_off_at = 0.0  # whoever enters from now on sets it anew
        if not self._baton:
            return
        began, now = self.began, time.monotonic()
        if now - began < LONG_SECONDS:
            self._computes(began, now)
            self._alarm.after(max(_FIRST_LOOK_SECONDS, began + LONG_SECONDS - now))
            return
        self._overdue()
        computes = self._computes(began, now)
        if computes is None:
            self._alarm.after(_FIRST_LOOK_SECONDS)
            return
        self._alarm.put_off()
        if not computes or now - began >= COMPUTING_SECONDS:
            self._long = began  # for who finishes while there is no follower
            if self._followers and self._take():
                self._give()

    def wake_watcher(self) -> None:
        """Ends the watcher's sleep; also from a signal's handler."""
        self._alarm.after(0)

    def stop(self, *, seconds: float) -> None:
        """No thread takes the lead any more; waits so long for those that are not in a request."""
        self._stopping = True
        deadline = time.monotonic() + seconds
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < deadline:
            if not self.pass_on():
                time.sleep(_STOP_LOOK_SECONDS)

    # --- the threads

    def _run(self) -> None:
        me = threading.Lock()
        me.acquire()
        self._clocks[me] = time.pthread_getcpuclockid(threading.get_ident())
        while True:
            self._follow(me)
            if self._stopping:
                return
            self._lead()

    def _computes(self, began: float, now: float) -> bool | None:
        """Whether the leader has spent most of the time since the last look on a CPU.

        None at the first look at its request.
        """
        try:
            worked = time.clock_gettime(self._clocks[self._baton[-1]])
        except IndexError:  # its request has just ended
            return True
        seen_began, seen_worked, seen_at = self._seen
        self._seen = began, worked, now
        if seen_began != began:
            return None
        return worked - seen_worked > (now - seen_at) / 2

    def _follow(self, me: threading.Lock) -> None:
        """Returns when this thread leads, or when all end."""
        if self._stopping:
            return
        if not (self._long == self.began and self._take()):
            self._followers.append(me)
            me.acquire()
        self._leader = me

    def _take(self) -> bool:
        """Takes the lead from who is inside a request."""
        try:
            self._baton.pop()
        except IndexError:
            return False
        return True

    def _give(self) -> None:
        while not self.pass_on() and not self._stopping:
            time.sleep(LONG_SECONDS)
