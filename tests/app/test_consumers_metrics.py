"""`python -m app.consumers metrics`, as Prometheus and node_exporter's timer use it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.command_line import Misconfigured
from app.consumers.commands.metrics import read_address
from app.db import Connection
from app.events import outbox
from app.events.instances import Counts, Instance
from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.app.conftest import Sql
from tests.app.consumers_command import (
    AWAY,
    bury,
    command,
    event,
    migrate,
    publish,
    start,
)
from tests.cluster import free_port
from tests.wait import wait_until

COUNTERS = {
    "smart_factory_events_processed_total": 100.0,
    "smart_factory_events_redelivered_total": 3.0,
    "smart_factory_events_retried_total": 2.0,
    "smart_factory_events_dead_lettered_total": 1.0,
}
GAUGES = {
    "smart_factory_consumer_instances": 1.0,
    "smart_factory_consumer_paused": 0.0,
    "smart_factory_consumer_events_per_second": 12.5,
    "smart_factory_dead_letters_waiting": 1.0,
}


@pytest.fixture
def url(database_url: str) -> str:
    return migrate(database_url)


def fill(url: str) -> None:
    """A purchase consumer that runs, two messages that wait for it, an event in the outbox."""
    publish(url, "purchase-confirmed", b"1", b"2")
    bury(url, offset=1)
    instance = Instance(consumer="purchase")
    counts = Counts(processed=100, redelivered=3, retried=2, dead_lettered=1)
    with Connection.open(url) as connection:
        instance.count(connection, counts)
        instance.beat(connection, state="running", detail="", per_second=12.5)
        outbox.append(connection, event())


Samples = Mapping[tuple[str, str], float]


def samples(page: str) -> Samples:
    """Values by name and consumer."""
    return {
        (sample.name, sample.labels.get("consumer", "")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


class Client(http.client.HTTPConnection):
    """To a port, or to a Unix socket."""

    def __init__(self, address: str):
        super().__init__("127.0.0.1", timeout=30)
        self._address = address

    def connect(self) -> None:
        if self._address.startswith("unix:"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(self._address.removeprefix("unix:"))
        else:
            host, _, port = self._address.rpartition(":")
            self.sock = socket.create_connection((host, int(port)), timeout=30)


def get(address: str, path: str = "/metrics") -> tuple[int, str, str]:
    """Status, content type and body."""
    with contextlib.closing(Client(address)) as client:
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()


@contextmanager
def serving(*words: str, url: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and the address that it says it serves at."""
    with start("metrics", *words, url=url) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("serving ")
            address = said.split()[1].removeprefix("http://").removesuffix("/metrics")
            yield process, address
        finally:
            process.kill()


def test_once_prints_all_metrics(url: str) -> None:
    fill(url)
    done = command("metrics", url=url)
    assert (done.returncode, done.stderr) == (0, "")
    found = samples(done.stdout)
    for name, value in (COUNTERS | GAUGES).items():
        assert found[name, "purchase"] == value
        assert found[name, "cache"] == 0.0
    assert found["smart_factory_outbox_waiting", ""] == 1.0
    assert found["smart_factory_outbox_oldest_seconds", ""] >= 0.0
    assert found["smart_factory_up", ""] == 1.0
    lag = 'smart_factory_consumer_lag{consumer="purchase",group="purchase-creation-workers",'
    assert f'{lag}topic="purchase-confirmed"}} 2.0\n' in done.stdout


def test_each_metric_has_its_type_and_says_what_it_is(url: str) -> None:
    page = command("metrics", url=url).stdout
    lines = page.splitlines()
    for name in COUNTERS:
        assert f"# TYPE {name} counter" in lines
    others = ("up", "consumer_lag", "outbox_waiting", "outbox_oldest_seconds")
    for name in (*GAUGES, *(f"smart_factory_{other}" for other in others)):
        assert f"# TYPE {name} gauge" in lines
    helped = [line.split(" ", 3) for line in lines if line.startswith("# HELP")]
    assert len(helped) == 12
    assert all(words[3].endswith(".") for words in helped)


def test_a_bus_that_is_away_leaves_the_lag_out(url: str, sql: Sql) -> None:
    sql("ALTER TABLE event_subscription RENAME TO elsewhere")
    page = command("metrics", url=url).stdout
    assert "smart_factory_consumer_lag" not in page
    assert samples(page)["smart_factory_up", ""] == 1.0
    assert samples(page)["smart_factory_consumer_instances", "purchase"] == 0.0


def test_once_says_also_that_the_database_is_away() -> None:
    done = command("metrics", url=AWAY)
    assert done.returncode == 0
    assert samples(done.stdout) == {("smart_factory_up", ""): 0.0}
    assert done.stderr == "Postgres is away: cannot connect: Connection refused\n"


def test_it_serves_what_is_now_until_term(url: str) -> None:
    with serving("--listen", "127.0.0.1:0", url=url) as (process, address):
        status, kind, page = get(address)
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert samples(page)["smart_factory_events_processed_total", "purchase"] == 0.0
        fill(url)
        found = samples(get(address)[2])
        assert found["smart_factory_events_processed_total", "purchase"] == 100.0
        assert get(address, "/metrics?name=up")[0] == 200
        assert get(address, "/")[0] == 404
        process.terminate()
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_scrape_is_answered_while_the_database_is_away(own_postgres: EmbeddedPostgres) -> None:
    url = migrate(own_postgres.start())
    with serving("--listen", ":0", url=url) as (_, address):
        assert samples(get(address)[2])["smart_factory_up", ""] == 1.0
        own_postgres.stop()
        status, _, page = get(address)
        assert (status, samples(page)) == (200, {("smart_factory_up", ""): 0.0})
        own_postgres.start()
        assert samples(get(address)[2])["smart_factory_up", ""] == 1.0


def test_scrapes_at_once_are_all_answered_while_the_bus_is_silent(url: str) -> None:
    with (
        serving("--listen", ":0", url=url) as (_, address),
        psycopg.connect(url) as other,
        other.transaction(),
    ):
        other.execute("LOCK TABLE event_subscription")
        clients = [Client(address) for _ in range(4)]
        for client in clients:
            client.request("GET", "/metrics")
        for client in clients:
            page = client.getresponse().read().decode()
            client.close()
            assert "smart_factory_consumer_lag" not in page
            assert samples(page)["smart_factory_up", ""] == 1.0


def test_a_unix_socket_is_for_owner_and_group_and_goes_with_its_server(
    url: str, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.sock"
    with serving("--unix", str(path), url=url) as (process, address):
        assert address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert samples(get(address)[2])["smart_factory_up", ""] == 1.0
        done = command("metrics", "--unix", str(path), url=url)
        assert done.returncode == 1
        assert done.stderr == f"Error: cannot listen at {path}: somebody listens there\n"
        process.terminate()
        assert process.wait(30) == 0
    assert not path.exists()


def test_a_socket_that_a_killed_server_left_is_taken_over(url: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    with serving("--unix", str(path), url=url) as (process, _):
        process.kill()
        process.wait(30)
    assert path.exists()
    with serving("--unix", str(path), url=url) as (_, address):
        assert get(address)[0] == 200


def test_a_file_is_not_overwritten_by_a_socket(url: str, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")
    done = command("metrics", "--unix", str(path), url=url)
    assert done.returncode == 1
    assert done.stderr == f"Error: cannot listen at {path}: there is a file that is no socket\n"
    assert path.read_text() == "mine"


def test_an_address_that_cannot_be_had_is_one_line_and_exit_1(url: str, tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        done = command("metrics", "--listen", f":{port}", url=url)
    assert done.returncode == 1
    assert done.stderr == f"Error: cannot listen at 127.0.0.1:{port}: Address already in use\n"
    done = command("metrics", "--unix", str(tmp_path / "none" / "metrics.sock"), url=url)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    done = command("metrics", "--unix", str(tmp_path / ("x" * 120)), url=url)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_a_bad_address_is_one_line_and_exit_2() -> None:
    done = command("metrics", "--listen", "9465", url=AWAY)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: --listen '9465': expected HOST:PORT, or :PORT on loopback\n"
    done = command("metrics", "--listen", ":0", "--unix", "x", url=AWAY)
    assert done.returncode == 2


@pytest.mark.parametrize("text", ["", ":", "a:", "a:65536", "a b:1", "1::2:3", "a:1x", "[x]:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured):
        read_address(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":9465", ("127.0.0.1", 9465)),
        ("localhost:9465", ("localhost", 9465)),
        ("10.0.0.1:0", ("10.0.0.1", 0)),
        ("[::1]:9465", ("::1", 9465)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert read_address(text) == address


def test_a_client_that_says_nothing_keeps_it_from_no_scrape_and_no_end(url: str) -> None:
    with serving("--listen", ":0", url=url) as (process, address):
        host, port = address.split(":")
        with socket.create_connection((host, int(port))):
            assert get(address)[0] == 200
            process.terminate()
            wait_until(lambda: process.poll() is not None, what="the server to end")
        assert process.returncode == 0
