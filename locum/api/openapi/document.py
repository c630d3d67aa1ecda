"""The OpenAPI document of the API as it is spoken, made from the code that serves it.

Paths come from the route table, request bodies from the models that read them, objects from their domain values. Tests
hold real answers against it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from locum import __version__
from locum.api.dialect import Call
from locum.api.openapi.operations import OPERATIONS, QUERY, Operation, Schema
from locum.api.openapi.schemas import REF, components


def document(offered: Iterable[tuple[str, str]], call: Call) -> dict[str, Any]:
    """The document for the dialect of `call`. offered: (method, path) of the routes of that dialect."""
    operations = {(method, path): OPERATIONS[method, path] for method, path in offered}
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in operations.items():
        shown = re.sub(r":\w+}", "}", path)  # Starlette's converters are no part of an address
        paths.setdefault(shown, {})[method.lower()] = _operation(operation, shown, call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Locum",
            "version": __version__,
            "summary": f"The Assistants API, v{call.version}.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": _mount(call)}],
        "security": [{"bearer": []}, {"api-key": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components(operations.values(), call.version),
            "responses": _RESPONSES,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }


def _mount(call: Call) -> str:
    if call.surface == "openai":
        return "/v1"
    return "/openai/v1" if call.azure_v1 else "/openai"


_EVENTS: Schema = {
    "type": "object",
    "description": "Of each server-sent event: its name (`thread.created`, `thread.run.*`, `thread.run.step.*`, "
    "`thread.message.*`, `error`, at the end `done`), and as data the object, its delta, or `[DONE]`.",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["event", "data"],
}


def _content(schema: Schema, media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": schema}}


_ERROR = _content({"anyOf": [{"$ref": REF.format(name=name)} for name in ("Error", "GatewayError")]})
_RESPONSES: dict[str, Schema] = {
    "Wrong": {"description": "The request is wrong, or there is no such object.", "content": _ERROR},
    "Unavailable": {"description": "Not now: try again after `Retry-After` seconds.", "content": _ERROR},
    "Full": {"description": "There is no room to keep what was sent.", "content": _ERROR},
}


def _operation(operation: Operation, path: str, call: Call) -> dict[str, Any]:
    responses = {f"{code}": {"$ref": f"#/components/responses/{name}"} for code, name in _FAILURES.items()}
    if operation.answer == "bytes":
        responses["416"] = {"$ref": "#/components/responses/Wrong"}
    parameters = (*_path_parameters(path), *_query(operation), *_idempotency_key(operation), *_dialect(path, call))
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [path.split("/")[1]],
        "parameters": list(parameters),
        "responses": {**_successes(operation), **responses},
    }
    if (body := operation.model(call.version)) is not None:
        is_form = isinstance(body, dict)
        schema = body if isinstance(body, dict) else {"$ref": REF.format(name=body.__name__)}
        media_type = "multipart/form-data" if is_form else "application/json"
        described["requestBody"] = {"required": operation.is_body_required, "content": _content(schema, media_type)}
    return described


_FAILURES = {**dict.fromkeys((400, 401, 403, 404, 405, 413), "Wrong"), 503: "Unavailable", 507: "Full"}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name.split()[0], "in": "query", "allowEmptyValue": True, "schema": QUERY[name]} | _style(name)
        for name in operation.query
    ]


def _style(name: str) -> dict[str, Any]:
    return {"style": "deepObject", "explode": True} if name == "metadata" else {}


def _idempotency_key(operation: Operation) -> list[dict[str, Any]]:
    if not operation.is_idempotent:
        return []
    key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}
    return [{"name": "Idempotency-Key", "in": "header", "schema": key}]


def _dialect(path: str, call: Call) -> list[dict[str, Any]]:
    """The parameter by which a client names the version of the API."""
    if call.surface == "openai" and path.startswith(("/assistants", "/threads")):
        schema = {"type": "string", "enum": [f"assistants=v{call.version}"]}
        return [{"name": "OpenAI-Beta", "in": "header", "required": True, "schema": schema}]
    if call.surface == "azure" and not call.azure_v1:
        schema = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}-preview$"}
        return [{"name": "api-version", "in": "query", "required": True, "schema": schema}]
    return []


def _successes(operation: Operation) -> dict[str, Any]:
    answer = operation.answer
    if answer == "bytes":
        binary = _content({"type": "string", "format": "binary"}, "*/*")
        return {
            "200": {"description": "The file.", "content": binary},
            "206": {"description": "The bytes a `Range` asks for.", "content": binary},
            "304": {"description": "The client has it, as `If-None-Match` says."},
        }
    if answer == "events":
        return {
            "200": {
                "description": "The run so far, and what happens.",
                "content": _content(_EVENTS, "text/event-stream"),
            }
        }
    if answer == "this document":
        return {"200": {"description": "OpenAPI 3.1.", "content": _content({"type": "object"})}}
    content = _content(_answer(answer))
    if operation.streams:
        content |= _content(_EVENTS, "text/event-stream")
    return {"200": {"description": "Done.", "content": content}}


def _answer(answer: str) -> Schema:
    if answer == "[Model]":
        return _object("list", data=_array("Model"))
    if answer.startswith("["):
        edge = {"type": ["string", "null"]}
        return _object("list", data=_array(answer[1:-1]), first_id=edge, last_id=edge, has_more={"type": "boolean"})
    if answer[0].isupper():
        return {"$ref": REF.format(name=answer)}
    return _object(answer, id={"type": "string"}, deleted={"const": True})


def _array(name: str) -> Schema:
    return {"type": "array", "items": {"$ref": REF.format(name=name)}}


def _object(object_: str, **properties: Schema) -> Schema:
    every = {"object": {"const": object_}, **properties}
    return {"type": "object", "properties": every, "required": list(every)}
