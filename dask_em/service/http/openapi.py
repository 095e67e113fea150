"""The description of the service: an OpenAPI document, made from the table of routes."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from dask_em.service.http.answers import JSON
from dask_em.service.http.table import ROOT, TABLE, Operation
from dask_em.service.view import JobView, Mark, PassView

__all__ = ["document"]

#: any request may have these
ALWAYS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["status", "kind", "message"],
            "properties": {
                "status": {"type": "integer"},
                "kind": {"type": "string", "description": "where there is one, the Python class"},
                "message": {"type": "string", "description": "what, the limit, the remedy"},
            },
        }
    },
}

LOG_LINE = {
    "type": "object",
    "required": ["time", "level", "text"],
    "properties": {
        "time": {"type": "number", "description": "seconds since 1970"},
        "level": {"type": "string"},
        "text": {"type": "string"},
        "epoch": {"type": ["integer", "null"], "description": "of the driver that wrote it"},
        "worker": {"type": ["string", "null"]},
    },
}

KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "the same key with the same specification is the same job",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
}
LAST_EVENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "the id of the last event that was seen, after which to go on",
    "schema": {"type": "string"},
}
JOB = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def document(path: str = "") -> dict[str, Any]:
    """The OpenAPI document.

    Parameters
    ----------
    path : str
        Where it is asked for, which shows below which prefix the scheduler serves.
    """
    prefix = path.removesuffix(f"{ROOT}/openapi.json")
    told: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "dask_em jobs",
            "version": "1",
            "description": "Fits that a Dask scheduler runs, whether or not anybody watches.",
        },
        "security": [{"token": []}, {}],
        "paths": {
            route.path: {
                method.lower(): _operation(route.path, operation)
                for method, operation in route.operations.items()
            }
            for route in TABLE
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }
    if prefix:
        told["servers"] = [{"url": prefix}]
    return told


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.run.__name__,
        "summary": operation.words,
        "parameters": _parameters(path, operation),
        "responses": {
            **{str(int(status)): _gives(status, what) for status, what in operation.gives.items()},
            **{str(int(status)): _error(status) for status in (*operation.refuses, *ALWAYS)},
        },
    }
    if operation.takes:
        content = {JSON: {"schema": _reference(operation.takes)}}
        told["requestBody"] = {"required": True, "content": content}
    return told


def _parameters(path: str, operation: Operation) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = [
        {"name": one.name, "in": "query", "description": one.words, "schema": dict(one.schema)}
        for one in operation.parameters
    ]
    if "{id}" in path:
        told.insert(0, JOB)
    if operation.takes:
        told.append(KEY)
    if "text/event-stream" in operation.gives.values():
        told.append(LAST_EVENT)
    return told


def _gives(status: int, what: str) -> dict[str, Any]:
    told: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if status == HTTPStatus.ACCEPTED:
        where = {"description": "where the job is", "schema": {"type": "string"}}
        told["headers"] = {"Location": where}
    if what == JSON:
        told["content"] = {what: {"schema": {"type": "object"}}}
    elif "/" in what:
        told["content"] = {what: {"schema": {"type": "string"}}}
    elif what:
        told["content"] = {JSON: {"schema": _reference(what)}}
    return told


def _error(status: int) -> dict[str, Any]:
    content = {JSON: {"schema": _reference("Error")}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _reference(what: str) -> dict[str, Any]:
    """A record by its name, or a list of them where it stands in brackets."""
    if what.startswith("["):
        return {"type": "array", "items": _reference(what[1:-1])}
    return {"$ref": f"#/components/schemas/{what}"}


def _schemas() -> dict[str, Any]:
    """All records by name; what lies within them has a name as well."""
    from pydantic import TypeAdapter

    from dask_em.service.spec import json_schema

    told: dict[str, Any] = {"Error": ERROR, "LogLine": LOG_LINE}
    records = {one.__name__: TypeAdapter(one).json_schema() for one in (JobView, PassView, Mark)}
    for name, found in {"Specification": json_schema(), **records}.items():
        schema = _moved(found)
        told.update(schema.pop("$defs", {}))
        told[name] = schema
    return told


def _moved(schema: Any) -> Any:
    """A schema whose references lead to where all records are."""
    if isinstance(schema, Mapping):
        return {key: _moved(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_moved(value) for value in schema]
    if isinstance(schema, str) and schema.startswith("#/$defs/"):
        return schema.replace("#/$defs/", "#/components/schemas/", 1)
    return schema
