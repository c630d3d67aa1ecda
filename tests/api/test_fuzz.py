"""Whatever a client sends, it is never told that the server failed."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from locum.api.routes import ROUTES
from locum.api.v2.requests import AssistantBody, MessageBody, RunBody
from tests.api.edge import EdgeServer

OTHER_KEYS = ["messages", "type", "text", "file_id", "code_interpreter", "file_search", "thread", "last_messages"]
KEYS = st.sampled_from([*AssistantBody.model_fields, *MessageBody.model_fields, *RunBody.model_fields, *OTHER_KEYS])
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
    ]
)
IDS = st.sampled_from(["asst_x", "file-x", "assistant-x", "thread_x", "last_messages"])
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


def filled(path: str, thread: str) -> str:
    path = path.replace("{thread_id}", thread)
    for name, value in {
        "assistant_id": "asst_x",
        "message_id": "msg_x",
        "run_id": "run_x",
        "step_id": "step_x",
    }.items():
        path = path.replace(f"{{{name}}}", value)
    return path


@FUZZ
@given(path=st.sampled_from(POSTS), body=BODIES)
def test_no_body_is_a_server_error(edge: EdgeServer, path: str, body: dict[str, Any]) -> None:
    body.pop("stream", None)  # a stream does not end: nothing moves runs here
    assert edge.request("POST", "/v1" + filled(path, "thread_x"), body).status in (200, 400, 404)


@FUZZ
@given(path=st.sampled_from(["/assistants", "/threads"]), body=BODIES)
def test_what_is_accepted_can_be_read_again(edge: EdgeServer, path: str, body: dict[str, Any]) -> None:
    made = edge.request("POST", f"/v1{path}", {"model": "m", **body} if path == "/assistants" else body)
    assert made.status in (200, 400, 404)
    if made.status == 200:
        assert edge.request("GET", f"/v1{path}/{made.json['id']}").json == made.json


@FUZZ
@given(path=st.sampled_from(GETS), name=st.text(max_size=8), value=st.text(max_size=8))
def test_no_path_or_query_is_a_server_error(edge: EdgeServer, path: str, name: str, value: str) -> None:
    anything = quote(value.encode("utf-8", "surrogatepass"))
    path = filled(path, "thread_" + anything).replace("{file_id}", anything).replace("{model:path}", anything)
    query = "&".join(f"{each}={anything}" for each in ("limit", "order", "after", "before", "run_id", "purpose"))
    for target in (path, f"{path}?{query}", f"{path}?after=x{anything}&before={anything}"):
        assert edge.request("GET", f"/v1{target}").status in (200, 400, 404)
