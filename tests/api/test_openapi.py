"""The OpenAPI document says what is served, and what is served is what it says."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from locum.api.openapi.operations import OPERATIONS
from locum.api.routes import ROUTES
from tests.api.edge import EdgeServer
from tests.engine.searching import SearchingServer
from tests.models.upstream import Call, Hang, ScriptedUpstream, Status, Text
from tests.serving import ServerProcess

DIALECTS = {
    "v1": ("/v1", "", {"openai-beta": "assistants=v1"}),
    "v2": ("/v1", "", {"openai-beta": "assistants=v2"}),
    "azure v1": ("/openai", "api-version=2024-02-15-preview", {}),
    "azure v2": ("/openai", "api-version=2024-05-01-preview", {}),
    "azure /openai/v1": ("/openai/v1", "", {}),
}


def document(server: EdgeServer, dialect: str) -> Any:
    mount, query, headers = DIALECTS[dialect]
    answer = server.request("GET", f"{mount}/openapi.json?{query}", headers=headers, beta=False)
    assert answer.status == 200
    return answer.json


def operations(said: Any) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, item in said["paths"].items() for method in item}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_document_is_valid_openapi(edge: EdgeServer, dialect: str) -> None:
    OpenAPIV31SpecValidator(document(edge, dialect)).validate()


def test_every_route_that_is_served_is_described_and_no_other() -> None:
    assert {(method, path) for method, path, _ in ROUTES} == OPERATIONS.keys()


def test_each_version_has_every_route_and_only_its_own(edge: EdgeServer) -> None:
    every = {(method, re.sub(r":\w+}", "}", path)) for method, path in OPERATIONS}
    v1, v2 = operations(document(edge, "v1")), operations(document(edge, "v2"))
    assert v1 | v2 == every
    assert {path for _, path in v1 - v2} == {
        path for _, path in every if re.search("(assistant|message)_id}/files", path)
    }
    assert operations(document(edge, "azure v2")) == v2


def test_operations_have_names_of_their_own() -> None:
    assert len({each.id for each in OPERATIONS.values()}) == len(OPERATIONS)


def test_the_document_names_the_address_it_was_asked_for_at(edge: EdgeServer) -> None:
    for dialect, (mount, _, _) in DIALECTS.items():
        assert document(edge, dialect)["servers"] == [{"url": mount}]


def test_a_server_with_keys_shows_the_document_to_their_owners_only(keyed: EdgeServer) -> None:
    assert keyed.request("GET", "/v1/openapi.json").status == 401
    key = {"authorization": "Bearer sk-right-key-of-this-test"}
    assert keyed.request("GET", "/v1/openapi.json", headers=key).status == 200


# ---- real answers


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def scripted(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_RUN_EXPIRY_SECONDS": "60"}
    with ServerProcess(tmp_path_factory.mktemp("described") / "data", env=env) as server:
        yield server


class Walk:
    """Calls operations by their place in the document, and holds every answer against what it says there."""

    def __init__(self, server: ServerProcess | SearchingServer, dialect: str) -> None:
        self._mount, self._query, self._headers = DIALECTS[dialect]
        self._address = server.azure_endpoint.removeprefix("http://")
        self.visited: set[tuple[str, str]] = set()
        self.document: Any = self._send("GET", "/openapi.json")[2]
        self.components = {"schemas": {k: closed(v) for k, v in self.document["components"]["schemas"].items()}}

    def __call__(self, method: str, path: str, body: Any = None, *, query: str = "", **ids: str) -> Any:
        """A success. A tuple as body is a form: (name of the file, its bytes, fields)."""
        self.visited.add((method, path))
        status, kind, answer = self._send(method, path.format(**ids), body, query)
        assert status == 200, answer
        self._check(method, path, "200", kind, answer)
        return answer

    def refused(self, status: int, method: str, path: str, body: Any = None, **ids: str) -> None:
        got, kind, answer = self._send(method, path.format(**ids), body)
        assert got == status, answer
        self._check(method, path, str(status), kind, answer)

    def finished(self, run: Any) -> Any:
        """The run once it is no longer at work."""
        while run["status"] in ("queued", "in_progress", "cancelling"):
            run = self("GET", "/threads/{thread_id}/runs/{run_id}", thread_id=run["thread_id"], run_id=run["id"])
        return run

    def _check(self, method: str, path: str, status: str, kind: str, answer: Any) -> None:
        response = self.document["paths"][path][method.lower()]["responses"][status]
        if "$ref" in response:
            response = self.document["components"]["responses"][response["$ref"].rpartition("/")[2]]
        content = response["content"]
        schema = closed((content.get(kind.partition(";")[0]) or content["*/*"])["schema"])
        validator = jsonschema.Draft202012Validator({**schema, "components": self.components})
        for each in events(answer) if kind.startswith("text/event-stream") else [answer]:
            validator.validate(each)

    def _send(self, method: str, path: str, body: Any = None, query: str = "") -> tuple[int, str, Any]:
        kind, payload = (
            form(*body) if isinstance(body, tuple) else ("application/json", json.dumps(body or {}).encode())
        )
        headers = {**self._headers, "content-type": kind, "x-stainless-poll-helper": "true"}
        connection = http.client.HTTPConnection(self._address, timeout=60)
        try:
            target = f"{self._mount}{path}?{'&'.join(filter(None, (self._query, query)))}"
            connection.request(method, target, payload if method == "POST" else None, headers)
            response = connection.getresponse()
            kind, raw = response.headers["content-type"], response.read()
        finally:
            connection.close()
        return response.status, kind, json.loads(raw) if kind == "application/json" else raw.decode()


def events(stream: str) -> list[dict[str, str]]:
    blocks = (block for block in stream.split("\n\n") if block.strip() and not block.startswith(":"))
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


def form(name: str, content: bytes, fields: dict[str, str], filename: str = "data.csv") -> tuple[str, bytes]:
    parts = [f'--b\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
    file = f'--b\r\ncontent-disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return "multipart/form-data; boundary=b", "".join([*parts, file]).encode() + content + b"\r\n--b--\r\n"


def closed(schema: Any) -> Any:
    """The same with no room for what it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(each) for name, each in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        inner.setdefault("additionalProperties", False)
    return inner


TOOLS = [
    {"type": "code_interpreter"},
    {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
]
CODE = "open('/mnt/data/a.csv', 'w').write('x')\nprint('done')"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_real_answers_of_every_operation_are_what_the_document_says(
    scripted: ServerProcess, upstream: ScriptedUpstream, dialect: str
) -> None:
    walk = Walk(scripted, dialect)
    is_v1 = ("GET", "/assistants/{assistant_id}/files") in operations(walk.document)
    walk("GET", "/openapi.json")
    name = walk("GET", "/models")["data"][0]["id"]
    walk("GET", "/models/{model}", model=name)
    file = walk("POST", "/files", ("file", b"a,b\n1,2\n", {"purpose": "assistants"}))["id"]
    walk("GET", "/files", query="limit=5&order=asc&purpose=assistants")
    walk("GET", "/files/{file_id}", file_id=file)
    output = walk_assistants(walk, file, is_v1=is_v1)
    thread = walk_threads(walk, file, is_v1=is_v1)
    made = walk_runs(walk, upstream, output, thread)
    walk("GET", "/files/{file_id}/content", file_id=made)
    walk("DELETE", "/files/{file_id}", file_id=file)
    if ("POST", "/uploads") in operations(walk.document):
        walk_uploads(walk)
    if ("POST", "/vector_stores") in operations(walk.document):
        walk_vector_stores(walk)
    walk("DELETE", "/assistants/{assistant_id}", assistant_id=output)
    walk("DELETE", "/threads/{thread_id}", thread_id=thread)
    walk.refused(404, "GET", "/threads/{thread_id}", thread_id=thread)
    walk.refused(404, "GET", "/models/{model}", model="none")
    walk.refused(400, "POST", "/assistants", {"model": 1})
    walk.refused(400, "POST", "/files", {})
    assert walk.visited == operations(walk.document)


def walk_assistants(walk: Walk, file: str, *, is_v1: bool) -> str:
    files = {"file_ids": [file]} if is_v1 else {"tool_resources": {"code_interpreter": {"file_ids": [file]}}}
    tools = [*TOOLS, {"type": "retrieval" if is_v1 else "file_search"}]
    made = walk("POST", "/assistants", {"model": "m", "tools": tools, "metadata": {"a": "b"}, **files})
    assistant: str = made["id"]
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
    walk("POST", "/assistants/{assistant_id}", {"response_format": schema, "top_p": 0.5}, assistant_id=assistant)
    walk("GET", "/assistants/{assistant_id}", assistant_id=assistant)
    walk("GET", "/assistants", query="limit=1&order=asc")
    if is_v1:
        files_of = "/assistants/{assistant_id}/files"
        walk("POST", files_of, {"file_id": file}, assistant_id=assistant)
        walk("GET", files_of, assistant_id=assistant)
        walk("GET", files_of + "/{file_id}", assistant_id=assistant, file_id=file)
        walk("DELETE", files_of + "/{file_id}", assistant_id=assistant, file_id=file)
    return assistant


def walk_threads(walk: Walk, file: str, *, is_v1: bool) -> str:
    said: dict[str, Any] = {"role": "user", "content": "hello", "metadata": {"k": "v"}}
    if is_v1:
        said["file_ids"] = [file]
    else:
        said["attachments"] = [{"file_id": file, "tools": [{"type": "code_interpreter"}]}]
        said["content"] = [
            {"type": "text", "text": "hello"},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        ]
    thread: str = walk("POST", "/threads", {"messages": [said]})["id"]
    walk("GET", "/threads/{thread_id}", thread_id=thread)
    walk("POST", "/threads/{thread_id}", {"metadata": {"a": "b"}}, thread_id=thread)
    assert walk("GET", "/threads", query="limit=1&metadata[a]=b")["data"][0]["id"] == thread
    walk("POST", "/threads/{thread_id}/fork", {"metadata": {}}, thread_id=thread)
    messages = "/threads/{thread_id}/messages"
    message = walk("POST", messages, said, thread_id=thread)["id"]
    walk("GET", messages, query="limit=1", thread_id=thread)
    walk("GET", messages + "/{message_id}", thread_id=thread, message_id=message)
    walk("POST", messages + "/{message_id}", {"metadata": {}}, thread_id=thread, message_id=message)
    if is_v1:
        walk("GET", messages + "/{message_id}/files", thread_id=thread, message_id=message)
        walk("GET", messages + "/{message_id}/files/{file_id}", thread_id=thread, message_id=message, file_id=file)
    else:
        walk("DELETE", messages + "/{message_id}", thread_id=thread, message_id=message)
    return thread


def walk_runs(walk: Walk, upstream: ScriptedUpstream, assistant: str, thread: str) -> str:
    """The id of a file the code interpreter has made."""
    runs, at = "/threads/{thread_id}/runs", {"thread_id": thread}
    search = Call("file_search", {"queries": ["x"]})
    code = Call("code_interpreter", {"code": CODE})
    upstream.script([Call("f", {"x": 1}), search, code, Text("Here: [a](sandbox:/mnt/data/a.csv)")])
    run = walk.finished(walk("POST", runs, {"assistant_id": assistant}, **at))
    assert run["status"] == "requires_action"
    at["run_id"] = run["id"]
    walk("POST", runs + "/{run_id}", {"metadata": {"a": "b"}}, **at)
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "42"} for call in calls]
    run = walk.finished(walk("POST", runs + "/{run_id}/submit_tool_outputs", {"tool_outputs": outputs}, **at))
    assert run["status"] == "completed"
    steps = walk("GET", runs + "/{run_id}/steps", query="order=asc", **at)["data"]
    assert [step["type"] for step in steps] == [*["tool_calls"] * 3, "message_creation"]
    for step in steps:
        walk("GET", runs + "/{run_id}/steps/{step_id}", step_id=step["id"], **at)
    answer = walk("GET", "/threads/{thread_id}/messages", query="limit=1", **at)["data"][0]
    (annotation,) = answer["content"][0]["text"]["annotations"]

    upstream.script([Status(400, body={"error": {"message": "no"}}), Hang("thinking")])
    assert walk.finished(walk("POST", runs, {"assistant_id": assistant}, **at))["status"] == "failed"
    walk("GET", runs, **at)
    before = len(upstream.requests)
    waiting = walk("POST", "/threads/runs", {"assistant_id": assistant, "thread": {"metadata": {"a": "b"}}})
    upstream.wait(lambda: len(upstream.requests) > before)
    at = {"thread_id": waiting["thread_id"], "run_id": waiting["id"]}
    assert walk.finished(walk("POST", runs + "/{run_id}/cancel", **at))["status"] == "cancelled"
    walk("GET", "/threads/{thread_id}/messages", **at)
    if ("GET", runs + "/{run_id}/events") in operations(walk.document):
        walk("GET", runs + "/{run_id}/events", **at)
    upstream.script([Text("streamed")])
    assert "done" in walk("POST", runs, {"assistant_id": assistant, "stream": True}, **at)
    found: str = annotation["file_path"]["file_id"]
    return found


def walk_vector_stores(walk: Walk) -> None:
    file = walk("POST", "/files", ("file", b"The sea is blue.", {"purpose": "assistants"}, "sea.txt"))["id"]
    table = walk("POST", "/files", ("file", b"a,b", {"purpose": "assistants"}))["id"]
    static = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 100}}
    body = {"name": "n", "expires_after": {"anchor": "last_active_at", "days": 1}, "metadata": {"a": "b"}}
    at = {"vector_store_id": walk("POST", "/vector_stores", {**body, "description": "d"})["id"], "file_id": file}
    store, files = "/vector_stores/{vector_store_id}", "/vector_stores/{vector_store_id}/files"
    walk("GET", "/vector_stores", query="limit=1")
    walk(
        "POST", files, {"file_id": file, "attributes": {"a": 1, "b": True, "c": "d"}, "chunking_strategy": static}, **at
    )
    walk("GET", files, query="filter=in_progress", **at)
    batch = walk("POST", f"{store}/file_batches", {"file_ids": [file, table]}, **at)["id"]
    walk("GET", f"{store}/file_batches/{{batch_id}}", batch_id=batch, **at)
    failed = walk("GET", f"{store}/file_batches/{{batch_id}}/files", query="filter=failed", batch_id=batch, **at)
    assert [each["last_error"]["code"] for each in failed["data"]] == ["unsupported_file"]
    walk("GET", f"{files}/{{file_id}}", **at)
    while walk("GET", f"{files}/{{file_id}}", **at)["status"] == "in_progress":
        pass  # the question is held for as long
    walk("GET", f"{files}/{{file_id}}/content", **at)
    query = {"query": ["sea"], "filters": {"type": "eq", "key": "a", "value": 1}, "max_num_results": 3}
    assert len(walk("POST", f"{store}/search", query, **at)["data"]) == 1
    walk("POST", f"{store}/file_batches/{{batch_id}}/cancel", batch_id=batch, **at)
    walk("POST", f"{files}/{{file_id}}", {"attributes": None}, **at)
    walk("DELETE", f"{files}/{{file_id}}", **at)
    walk("POST", store, {"expires_after": None, "name": None}, **at)
    walk("GET", store, **at)
    walk("DELETE", store, **at)
    walk.refused(404, "GET", store, **at)


def walk_uploads(walk: Walk) -> None:
    body = {"filename": "a.csv", "purpose": "assistants", "bytes": 3, "mime_type": "text/csv"}
    upload = walk("POST", "/uploads", body)["id"]
    part = walk("POST", "/uploads/{upload_id}/parts", ("data", b"abc", {}), upload_id=upload)["id"]
    walk("POST", "/uploads/{upload_id}/complete", {"part_ids": [part]}, upload_id=upload)
    walk("POST", "/uploads/{upload_id}/cancel", upload_id=walk("POST", "/uploads", body)["id"])
