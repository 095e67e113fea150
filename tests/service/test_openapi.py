"""The description of the service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from dask_em.service.http.openapi import document
from dask_em.service.http.table import ROOT, TABLE
from dask_em.service.view import JobView
from tests.service.served import Served, served


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(dashboard=False) as found:
        found.service.add_pass(found.service.add(state="done").id)
        yield found


@pytest.fixture(scope="module")
def told(server: Served) -> dict[str, Any]:
    return dict(server.ask("GET", f"{ROOT}/openapi.json").json())


def test_it_is_valid(told: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(told).validate()
    broken = {**told, "paths": {"jobs": {}}}
    assert not OpenAPIV31SpecValidator(broken).is_valid()


def test_every_route_and_method_is_in_it(told: dict[str, Any], server: Served) -> None:
    patterns = [route.pattern for route in TABLE]
    assert len(patterns) == len(told["paths"])
    for path, operations in told["paths"].items():
        asked = path.replace("{id}", "job-1")
        assert sum(bool(re.fullmatch(pattern, asked)) for pattern in patterns) == 1
        allowed = server.ask("PUT", asked).headers["Allow"].lower().split(", ")
        assert sorted(operations) == sorted(allowed)


def test_every_reference_leads_somewhere(told: dict[str, Any]) -> None:
    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, one in value.items():
                yield from walk(one)
                if key == "$ref":
                    yield one
        elif isinstance(value, list):
            for one in value:
                yield from walk(one)

    found = set(walk(told))
    schemas = told["components"]["schemas"]
    assert found
    assert {one.rpartition("/")[2] for one in found} <= set(schemas)
    assert all(one.startswith("#/components/schemas/") for one in found)
    assert "#/$defs" not in str(told)
    assert set(schemas["JobView"]["properties"]) == set(JobView.__dataclass_fields__)


def test_what_is_served_is_as_described(told: dict[str, Any], server: Served) -> None:
    from jsonschema import Draft202012Validator

    schemas = told["components"]["schemas"]
    for path, kind in [
        ("jobs/job-1", "JobView"),
        ("jobs/job-9", "Error"),
        ("jobs/job-1/trace", "PassView"),
        ("jobs/job-1/marks", "Mark"),
        ("jobs/job-1/logs", "LogLine"),
    ]:
        found = server.ask("GET", f"{ROOT}/{path}").json()
        checked = Draft202012Validator({**schemas[kind], "components": {"schemas": schemas}})
        for one in found if isinstance(found, list) else [found]:
            checked.validate(one)


def test_operations_have_names_of_their_own() -> None:
    names = [one["operationId"] for path in document()["paths"].values() for one in path.values()]
    assert len(names) == len(set(names)) == 14
