"""docker-compose.yml: what can be said of it without Docker."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from app.config import Config
from tests.cluster import ROOT

FILE = ROOT / "docker-compose.yml"
SERVICES = ("kafka", "postgres", "redis")


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load(FILE.read_text())


def test_it_has_the_three_services(compose: Any) -> None:
    assert set(compose["services"]) == set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_only_this_machine_may_connect(compose: Any, service: str) -> None:
    ports = compose["services"][service]["ports"]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_says_whether_it_is_healthy(compose: Any, service: str) -> None:
    health = compose["services"][service]["healthcheck"]
    assert health["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries"} <= set(health)


@pytest.mark.parametrize("service", SERVICES)
def test_data_outlives_the_container(compose: Any, service: str) -> None:
    for volume in compose["services"][service]["volumes"]:
        name, _, target = volume.partition(":")
        assert name in compose["volumes"]
        assert target.startswith("/")


@pytest.mark.parametrize("service", SERVICES)
def test_versions_are_pinned(compose: Any, service: str) -> None:
    _, _, tag = compose["services"][service]["image"].partition(":")
    assert tag[0].isdigit()


def test_kafka_sends_clients_to_where_it_listens(compose: Any) -> None:
    kafka = compose["services"]["kafka"]
    environment = kafka["environment"]
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://127.0.0.1:9092"
    assert kafka["ports"] == ["127.0.0.1:9092:9092"]
    assert all(isinstance(value, str) for value in environment.values())
    # A UUID of Kafka's kind.
    assert len(base64.urlsafe_b64decode(environment["CLUSTER_ID"] + "==")) == 16


def test_the_variables_it_names_are_accepted_and_lead_to_its_ports(compose: Any) -> None:
    named = dict(
        line.removeprefix("#").strip().split("=", 1)
        for line in FILE.read_text().splitlines()
        if line.startswith("#   ") and "=" in line
    )
    config = Config.read(named)
    assert config.kafka_brokers == ("127.0.0.1:9092",)
    for service, url in (("postgres", config.database_url), ("redis", config.redis_url)):
        (port,) = compose["services"][service]["ports"]
        assert f"{port.rpartition(':')[0]}/" in str(url)
    password = compose["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert f":{password}@" in str(config.database_url)
