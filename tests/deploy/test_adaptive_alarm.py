"""The alarm that the watcher sleeps for."""

from __future__ import annotations

import time

from deploy.cluster.adaptive.alarm import Alarm


def test_it_goes_off_once_at_the_time_that_was_set() -> None:
    alarm = Alarm(seconds=0.05)
    began = time.monotonic()
    alarm.put_off()
    assert alarm.wait(30)
    assert time.monotonic() - began >= 0.05
    assert not alarm.wait(0.01)


def test_whoever_puts_it_off_does_not_wake_who_sleeps() -> None:
    alarm = Alarm(seconds=30)
    alarm.after(0.001)
    alarm.put_off()
    assert not alarm.wait(0.02)
    alarm.after(0)
    assert alarm.wait(30)
