from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from flask import Flask

from app import __version__
from app.openapi import document
from tests.app.conftest import AppFactory

Description = dict[str, Any]
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture
def plain(make_app: AppFactory) -> Flask:
    return make_app(None)


@pytest.fixture
def description(plain: Flask) -> Description:
    answer = plain.test_client().get("/api/openapi.json")
    assert answer.status_code == 200
    found: Description = answer.get_json()
    return found


def operations(description: Description) -> Iterator[tuple[str, str, Description]]:
    for path, item in description["paths"].items():
        for method in METHODS & set(item):
            yield method.upper(), path, item[method]


def test_every_route_is_described_and_nothing_else(plain: Flask, description: Description) -> None:
    routes = {
        (method, re.sub(r"<(?:\w+:)?\w+>", "{}", rule.rule))
        for rule in plain.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {
        (method, re.sub(r"{\w+}", "{}", path)) for method, path, _ in operations(description)
    }
    assert described == routes


def test_it_is_openapi(description: Description) -> None:
    assert description["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(description).validate()


def test_it_is_that_of_this_application(description: Description, make_app: AppFactory) -> None:
    assert description["info"]["version"] == __version__
    assert description["info"]["title"] == "Smart Factory"
    assert description["components"]["securitySchemes"]["session"]["name"] == "session"
    production = make_app(None, env="production", app_name="Mill").test_client()
    told = production.get("/api/openapi.json").get_json()
    assert told["info"]["title"] == "Mill"
    assert told["components"]["securitySchemes"]["session"]["name"] == "__Host-session"


def test_references_point_to_something(description: Description) -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            value = list(value.values())
        if isinstance(value, list):
            for member in value:
                yield from references(member)

    used = set(references(description))
    for reference in used:
        target: Any = description
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
    components = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "headers", "responses")
        for name in description["components"][kind]
    }
    assert used == components, "and none is left over"


def test_a_person_can_use_it(description: Description) -> None:
    tags = {tag["name"] for tag in description["tags"]}
    seen = set()
    for _, path, operation in operations(description):
        assert operation["summary"], path
        assert set(operation["tags"]) <= tags
        assert "security" in operation, path
        assert operation["operationId"] not in seen
        seen.add(operation["operationId"])
        if "requestBody" in operation:
            assert operation["requestBody"]["content"]["application/json"]["examples"]


def contents(description: Description) -> Iterator[tuple[str, Description]]:
    for method, path, operation in operations(description):
        if "requestBody" in operation:
            yield f"{method} {path}", operation["requestBody"]["content"]["application/json"]
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                yield f"{method} {path} {status}", content
    for name, answer in description["components"]["responses"].items():
        yield name, answer["content"]["application/json"]


def test_examples_are_what_they_are_examples_of(description: Description) -> None:
    checked = 0
    for where, content in contents(description):
        schema = {**content["schema"], "components": description["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        for example in content.get("examples", {}).values():
            errors = [str(error) for error in validator.iter_errors(example["value"])]
            assert not errors, where
            checked += 1
    assert checked > 40


def test_every_answer_carries_both_ids(description: Description) -> None:
    answers = [
        description["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        if "$ref" in answer
        else answer
        for _, _, operation in operations(description)
        for answer in operation["responses"].values()
    ]
    assert all({"X-Request-ID", "X-Worker-ID"} <= set(answer["headers"]) for answer in answers)


def test_who_changes_something_may_be_refused_as_cross_origin(description: Description) -> None:
    for method, path, operation in operations(description):
        assert ("403" in operation["responses"]) == (method != "GET" or path == "/ws")


def test_asking_costs_no_statement_and_no_cookie(plain: Flask) -> None:
    answer = plain.test_client().get("/api/openapi.json")  # there is no database to ask
    assert answer.mimetype == "application/json"
    assert "Set-Cookie" not in answer.headers


def test_a_description_is_its_callers_own() -> None:
    first, second = (document(title="A", version="1", session_cookie="s") for _ in range(2))
    assert first == second
    first["paths"]["/health"]["get"]["responses"].clear()
    assert second["paths"]["/health"]["get"]["responses"]
