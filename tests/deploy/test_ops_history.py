"""`history`: the ledger as people and programs see it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from deploy.state import ledger
from tests.deploy.test_ops_cluster import Place


def test_events_stand_in_a_table_the_newest_last(tmp_path: Path) -> None:
    place = Place(tmp_path)
    ledger.append(place.state, "start", who="systemd", workers=3)
    ledger.append(
        place.state,
        "reload",
        who="alice",
        why="new [red]prices",
        outcome="refused",
        reason="x" * 500,
        empty="",
        nothing=None,
        lines="a\n\033[31mb",
    )
    done = place.run("history")
    assert (done.returncode, done.stderr) == (0, "")
    header, first, second = done.stdout.splitlines()
    assert header.split() == ["when", "event", "outcome", "who", "detail"]
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"{when}  start   -        systemd  workers=3 *", first)
    assert re.match(rf"{when}  reload  refused  alice    new \[red\]prices reason=x", second)
    assert second.rstrip().endswith(f"reason={'x' * 80}… lines=a  [31mb")


def test_json_is_the_list_as_it_is_kept(tmp_path: Path) -> None:
    place = Place(tmp_path)
    ledger.append(place.state, "reload", who="alice", traceback="a\nb" * 100)
    events = json.loads(place.run("history", "--json").stdout)
    assert events == ledger.read(place.state, limit=None)
    assert events[0]["traceback"] == "a\nb" * 100


def test_the_newest_are_shown_of_all_or_of_one_kind(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for number in range(30):
        event = "scale" if number % 10 == 0 else "crash"
        ledger.append(place.state, event, who="alice", number=number)

    def numbers(*words: str) -> list[int]:
        events = json.loads(place.run("history", "--json", *words).stdout)
        return [event["number"] for event in events]

    assert numbers() == list(range(10, 30))
    assert numbers("-n", "2") == [28, 29]
    assert numbers("--event", "scale") == [0, 10, 20]
    assert numbers("--event", "scale", "-n", "2") == [10, 20]
    assert numbers("--event", "start") == []


def test_nothing_yet_is_no_failure(tmp_path: Path) -> None:
    place = Place(tmp_path)
    done = place.run("history")
    assert (done.returncode, done.stdout) == (0, f"nothing yet in {place.state}\n")
    done = place.run("history", "--event", "reload")
    assert done.stdout == f"nothing yet of event reload in {place.state}\n"
    assert json.loads(place.run("history", "--json").stdout) == []
    assert list(tmp_path.iterdir()) == []


def test_lines_of_another_hand_are_shown_as_they_are(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.state.mkdir()
    (place.state / ledger.FILE).write_text('{"event": "start", "at": "noon", "who": 7}\n')
    done = place.run("history")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split() == ["noon", "start", "-", "7"]


def test_a_ledger_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (place.state / ledger.FILE).mkdir(parents=True)
    done = place.run("history")
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: cannot read the ledger in {place.state} (")
