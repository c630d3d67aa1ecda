"""Whatever a client sends, it is never told that the server failed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from locum.api.routes import ROUTES
from locum.api.v2.requests import AssistantBody, MessageBody, RunBody
from locum.api.v2.requests.vector_stores import FileBatchBody, SearchBody, VectorStoreBody, VectorStoreFileBody
from tests.api.edge import Answer, EdgeServer
from tests.models.upstream import Call, Cut, Reply, ScriptedUpstream, Status, Text
from tests.serving import ServerProcess

OTHER_KEYS = ["messages", "type", "text", "file_id", "code_interpreter", "file_search", "thread", "last_messages"]
OTHER_KEYS += ["vector_store_ids", "vector_stores", "static", "key", "value", "anchor", "days"]
BODIES_OF_STORES = (VectorStoreBody, VectorStoreFileBody, FileBatchBody, SearchBody)
KEYS_OF_STORES = [name for body in BODIES_OF_STORES for name in body.model_fields]
KEYS = st.sampled_from(
    [*AssistantBody.model_fields, *MessageBody.model_fields, *RunBody.model_fields, *KEYS_OF_STORES, *OTHER_KEYS]
)
WORDS = st.sampled_from(
    [
        "m",
        "auto",
        "none",
        "required",
        "user",
        "assistant",
        "text",
        "code_interpreter",
        "code-interpreter",
        "json_schema",
        "static",
        "last_active_at",
        "eq",
        "in",
        "and",
    ]
)
IDS = st.sampled_from(["asst_x", "file-x", "assistant-x", "thread_x", "vs_x", "last_messages"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(10**18, 10**30),
    st.floats(-3, 3),
    WORDS,
    IDS,
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(KEYS, VALUES, max_size=6)
POSTS = sorted(path for method, path, _ in ROUTES if method == "POST" and path != "/files")
GETS = sorted(path for method, path, _ in ROUTES if method == "GET")
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Remote(EdgeServer):
    """A whole server, asked like the edge."""

    def __init__(self, server: ServerProcess) -> None:
        self.port = int(server.azure_endpoint.rpartition(":")[2])


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    """A server on either database: they differ in what they can hold."""
    if request.param == "sqlite":
        yield request.getfixturevalue("edge")
        return
    env = {"LOCUM_DATABASE_URL": request.getfixturevalue("postgres").create(), "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path_factory.mktemp("fuzz") / "data", env=env) as server:
        yield Remote(server)


def filled(path: str, thread: str) -> str:
    path = path.replace("{thread_id}", thread)
    for name, value in {
        "assistant_id": "asst_x",
        "message_id": "msg_x",
        "run_id": "run_x",
        "step_id": "step_x",
        "vector_store_id": "vs_x",
        "batch_id": "vsfb_x",
    }.items():
        path = path.replace(f"{{{name}}}", value)
    return path


@FUZZ
@given(path=st.sampled_from(POSTS), body=BODIES)
def test_no_body_is_a_server_error(target: EdgeServer, path: str, body: dict[str, Any]) -> None:
    body.pop("stream", None)  # a stream does not end: nothing moves runs here
    assert target.request("POST", "/v1" + filled(path, "thread_x"), body).status in (200, 400, 404)


@FUZZ
@given(path=st.sampled_from(["/assistants", "/threads", "/vector_stores"]), body=BODIES)
def test_what_is_accepted_can_be_read_again(target: EdgeServer, path: str, body: dict[str, Any]) -> None:
    made = target.request("POST", f"/v1{path}", {"model": "m", **body} if path == "/assistants" else body)
    assert made.status in (200, 400, 404)
    if made.status == 200:
        assert target.request("GET", f"/v1{path}/{made.json['id']}").json == made.json


@FUZZ
@given(path=st.sampled_from(GETS), name=st.text(max_size=8), value=st.text(max_size=8))
def test_no_path_or_query_is_a_server_error(target: EdgeServer, path: str, name: str, value: str) -> None:
    anything = quote(value.encode("utf-8", "surrogatepass"))
    path = filled(path, "thread_" + anything).replace("{file_id}", anything).replace("{model:path}", anything)
    query = "&".join(
        f"{each}={anything}" for each in ("limit", "order", "after", "before", "run_id", "purpose", "filter")
    )
    for address in (path, f"{path}?{query}", f"{path}?after=x{anything}&before={anything}"):
        assert target.request("GET", f"/v1{address}").status in (200, 400, 404)


# ---- what is no JSON, no form, no text

DIALECTS = st.sampled_from(
    [
        ("/v1", "", {"openai-beta": "assistants=v2"}),
        ("/v1", "", {"openai-beta": "assistants=v1"}),
        ("/openai", "api-version=2024-05-01-preview", {}),
        ("/openai", "api-version=2024-02-15-preview", {}),
        ("/openai/v1", "", {}),
    ]
)
NASTY = [
    b"\0",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"NaN",
    b"1e999",
    b"-0",
    b"9" * 400,
    b"0." + b"1" * 400,
    b"[" * 10_000,
    b'{"metadata":' * 3_000,
    b"'; DROP TABLE runs; --",
    b"\r\nx-injected: 1",
    "\u202e\U0001f600".encode(),
]
CONTENT_TYPES = st.sampled_from(
    [
        "application/json",
        "application/json; charset=utf-16",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=b",
        "multipart/form-data; boundary=" + "b" * 300,
        "application/xml",
        ";",
        "",
    ]
)
QUERY_NAMES = ["limit", "order", "after", "before", "run_id", "purpose", "include[]", "include", "api-version"]
QUERY_NAMES += ["metadata[a]", "metadata[]", "metadata", "wait_for_thread", "last_event_id", "%00", "%ff", "a"]
QUERY_VALUES = [
    "",
    "1",
    "-1",
    "0",
    "9" * 30,
    "asc",
    "%00",
    "%ff%fe",
    "%ED%A0%80",
    "%0d%0ax-injected:1",
    "a" * 5_000,
    "1e3",
]
HEADERS = ["authorization", "api-key", "openai-beta", "idempotency-key", "last-event-id", "range", "if-none-match"]
HEADERS += ["if-range", "content-type", "origin", "accept", "x-request-id", "x-stainless-poll-helper", "cookie"]
HEADER_VALUES = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20) | st.sampled_from(
    [
        "bytes=0-",
        "bytes=9-1",
        "bytes=" + "9" * 40 + "-",
        "*",
        '"',
        "Bearer ",
        "assistants=v1,assistants=v2",
        "a" * 4_000,
    ]
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A JSON body that is almost right."""
    body = json.dumps(draw(BODIES), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    for nasty in draw(st.lists(st.sampled_from(NASTY), max_size=2)):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + nasty + body[at + draw(st.integers(0, 2)) :]
    return body


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """A form that is almost right."""
    body = b""
    for name in draw(
        st.lists(st.sampled_from([b"file", b"data", b"purpose", b"expires_after[seconds]", b"x\0"]), max_size=4)
    ):
        disposition = b'form-data; name="' + name + b'"'
        if draw(st.booleans()):
            disposition += (
                b'; filename="' + draw(st.sampled_from([b"a.txt", b"", b"..", *NASTY[:5], b"a" * 5_000])) + b'"'
            )
        value = draw(st.sampled_from([b"assistants", b"vision", b"", b"x", b"3600", *NASTY]))
        body += b"--b\r\ncontent-disposition: " + disposition + b"\r\n\r\n" + value + b"\r\n"
    body += b"--b--\r\n"
    return body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body


@pytest.fixture(scope="module")
def known(target: EdgeServer) -> dict[str, str]:
    """Ids of what there is: path parameter -> id."""
    made = {"assistant_id": target.request("POST", "/v1/assistants", {"model": "m"}).json["id"]}
    made["thread_id"] = target.request("POST", "/v1/threads", {}).json["id"]
    messages = f"/v1/threads/{made['thread_id']}/messages"
    made["message_id"] = target.request("POST", messages, {"role": "user", "content": "x"}).json["id"]
    upload = {"filename": "a", "purpose": "assistants", "bytes": 1, "mime_type": "text/plain"}
    made["upload_id"] = target.request("POST", "/v1/uploads", upload).json["id"]
    return made


def addressed(path: str, ids: dict[str, str]) -> str:
    for name, value in ids.items():
        path = path.replace(f"{{{name}}}", value)
    path = path.replace("{file_id}", "file-x").replace("{upload_id}", "upload_x").replace("{model:path}", "demo")
    return filled(path, "thread_x").replace("{rest:path}", "x")


def check(answer: Answer) -> None:
    """It is no failure of the server's, and a client can read it."""
    assert answer.status in (200, 304, 400, 401, 403, 404, 405, 413, 414, 431), answer.body
    assert "x-injected" not in answer.headers
    kind = answer.headers.get("content-type", "")
    assert "html" not in kind
    if answer.status >= 400:
        assert kind == "application/json"
        assert answer.json.keys() == {"error"}
        assert answer.error.keys() in ({"message", "type", "param", "code"}, {"message", "code"})
        assert isinstance(answer.error["message"], str)


@FUZZ
@given(
    path=st.sampled_from(POSTS),
    body=spoiled() | st.binary(max_size=50),
    content_type=CONTENT_TYPES,
    is_known=st.booleans(),
    dialect=DIALECTS,
)
def test_no_bytes_are_a_server_error(
    target: EdgeServer, known: dict[str, str], path: str, body: bytes, content_type: str, is_known: bool, dialect: Any
) -> None:
    mount, query, headers = dialect
    if b'"stream"' in body:
        body = body.replace(b'"stream"', b'"s"')  # as above
    address = f"{mount}{addressed(path, known if is_known else {})}?{query}"
    check(target.request("POST", address, body, {**headers, "content-type": content_type}, beta=False))


@FUZZ
@given(path=st.sampled_from(["/files", "/uploads/{upload_id}/parts"]), body=forms(), content_type=CONTENT_TYPES)
def test_no_form_is_a_server_error(
    target: EdgeServer, known: dict[str, str], path: str, body: bytes, content_type: str
) -> None:
    for kind in ("multipart/form-data; boundary=b", content_type):
        check(target.request("POST", "/v1" + addressed(path, known), body, {"content-type": kind}))


@FUZZ
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "PATCH", "OPTIONS"]),
    path=st.sampled_from(sorted({path for _, path, _ in ROUTES if not path.endswith("/events")})),
    query=st.lists(st.tuples(st.sampled_from(QUERY_NAMES), st.sampled_from(QUERY_VALUES)), max_size=4),
    headers=st.dictionaries(st.sampled_from(HEADERS), HEADER_VALUES, max_size=3),
    is_known=st.booleans(),
    dialect=DIALECTS,
)
def test_no_method_query_or_header_is_a_server_error(
    target: EdgeServer,
    known: dict[str, str],
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    is_known: bool,
    dialect: Any,
) -> None:
    mount, version, beta = dialect
    asked = "&".join([version, *(f"{name}={value}" for name, value in query)])
    address = f"{mount}{addressed(path, known if is_known else {})}?{asked}"
    answer = target.request(method, address, b"", {**beta, **headers}, beta=False)
    if method == "HEAD":
        assert answer.status < 500
    else:
        check(answer)


@FUZZ
@given(
    name=st.text(max_size=30)
    | st.sampled_from(['a"; x="', "a\r\nx-injected: 1", "\\", "%0d%0ax-injected:1", "\x7f.txt"])
)
def test_no_filename_writes_a_header_of_its_own(target: EdgeServer, name: str) -> None:
    encoded = quote(name.encode("utf-8", "surrogatepass"), safe="")
    head = f"--b\r\ncontent-disposition: form-data; name=\"file\"; filename*=UTF-8''{encoded}\r\n\r\nx\r\n"
    purpose = '--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--b--\r\n'
    kind = {"content-type": "multipart/form-data; boundary=b"}
    made = target.request("POST", "/v1/files", (head + purpose).encode(), kind)
    check(made)
    if made.status == 200:
        content = target.request("GET", f"/v1/files/{made.json['id']}/content")
        assert content.body == b"x"
        assert content.headers["content-disposition"].startswith('attachment; filename="')
        assert "x-injected" not in content.headers


@settings(FUZZ, max_examples=40)
@given(
    data=st.binary(max_size=80)
    | st.sampled_from([b"GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", b"GET /\0"])
)
def test_what_is_no_http_harms_nobody(target: EdgeServer, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", target.port), timeout=10) as connection:
        connection.sendall(data + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    # Some of it is HTTP: hypothesis knows what is written in these files.
    assert not answer or answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.0 4"))
    assert target.request("GET", "/healthz").status == 200


# ---- whole servers, by their own description


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    def answer(body: dict[str, Any]) -> Reply:
        """Now this, now that; the same for the same prompt."""
        size = len(json.dumps(body))
        if tools := body.get("tools"):
            name = tools[size % len(tools)]["function"]["name"]
            if size % 2:
                return Call(name, {"code": "1 + 1"})
        replies: list[Reply] = [
            Text("Hello."),
            Text(""),
            Status(400),
            Cut("Hel"),
            Text("Hello", finish_reason="length"),
        ]
        return replies[size % len(replies)]

    with ScriptedUpstream() as upstream:
        upstream.answer = answer
        yield upstream


@pytest.fixture(params=["sqlite", "postgresql"])
def described(request: pytest.FixtureRequest, upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server whose runs move."""
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_RUN_EXPIRY_SECONDS": "20", "LOCUM_SANDBOX": "off"}
    if request.param == "postgresql":
        env["LOCUM_DATABASE_URL"] = request.getfixturevalue("postgres").create()
    with ServerProcess(tmp_path / "data", env=env) as server:
        yield server


CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
STRICT_CHECKS = f"{CHECKS},negative_data_rejection,unsupported_method,allow_header_conformance"
CONFIGURATION = """
# A form has no empty lists: a field that is to be wrong by being one is not sent, and what remains is right.
[[operations]]
include-name = ["POST /files", "POST /uploads/{upload_id}/parts"]
checks.negative_data_rejection.enabled = false
"""
WAITS = ("wait", "wait_for_thread")  # test_additions.py has what they take
SEED = os.environ.get("LOCUM_FUZZ_SEED", "1")
"""The same every time, so that a failure is of the change it comes with; others find what nobody has met yet."""


def explore(server: ServerProcess, folder: Path, version: str, *, seconds: int, phases: str, checks: str) -> None:
    """Let schemathesis call all that the document describes, in any order, with what it gets; it says what is wrong."""
    asking = urllib.request.Request(f"{server.base_url}/openapi.json", headers={"OpenAI-Beta": f"assistants={version}"})
    with urllib.request.urlopen(asking) as response:
        document = json.load(response)
    document["servers"] = [{"url": server.base_url}]
    for operation in (each for item in document["paths"].values() for each in item.values()):
        # Nobody is asked to wait: it would only take time, and a narrower maximum than the server's would be a lie.
        operation["parameters"] = [each for each in operation["parameters"] if each["name"] not in WAITS]
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    command = [Path(sys.executable).parent / "schemathesis", "run", "openapi.json", "--url", server.base_url]
    options = {"max-time": seconds, "phases": phases, "checks": checks, "seed": SEED}
    options |= {"request-timeout": 30, "warnings": "off"}
    done = subprocess.run(
        [*command, *(f"--{name}={value}" for name, value in options.items())],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=seconds * 3 + 100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
    assert "Traceback" not in server.output
    assert "request failed" not in server.output


@pytest.mark.parametrize("described", ["sqlite"], indirect=True)
def test_a_server_keeps_to_its_description(described: ServerProcess, tmp_path: Path) -> None:
    explore(described, tmp_path, "v2", seconds=5, phases="fuzzing,stateful", checks=CHECKS)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_server_keeps_to_its_description_for_long(described: ServerProcess, tmp_path: Path, version: str) -> None:
    explore(described, tmp_path, version, seconds=60, phases="coverage,fuzzing,stateful", checks=STRICT_CHECKS)
