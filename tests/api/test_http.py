"""The edge over a socket: what SDKs hide."""

from __future__ import annotations

import http.client
import json
import re
import socket
import uuid

import openai
import pytest

from tests.api.edge import EdgeServer, wait_until

KEY = "sk-right-key-of-this-test"
PREVIEW = "api-version=2024-05-01-preview"
GATEWAY_404 = {"error": {"code": "404", "message": "Resource not found"}}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/assistants",
        "//v1/assistants/",
        f"/openai/assistants?{PREVIEW}",
        f"//openai//assistants?{PREVIEW}",
        f"/openai/deployments/gpt-4o/assistants?{PREVIEW}",
        "/openai/v1/assistants",
        "/openai/v1/assistants?api-version=preview",
        f"/openai/v1/assistants?{PREVIEW}",
    ],
)
def test_every_dialect_reaches_the_same_api(edge: EdgeServer, path: str) -> None:
    answer = edge.request("GET", path)
    assert answer.status == 200
    assert answer.json["object"] == "list"


@pytest.mark.parametrize("query", ["", "?api-version=1999-01-01", "?api-version=2024-10-21"])
def test_azure_without_a_version_that_has_assistants_is_the_gateways_404(edge: EdgeServer, query: str) -> None:
    answer = edge.request("GET", f"/openai/assistants{query}")
    assert (answer.status, answer.json) == (404, GATEWAY_404)


def test_files_and_models_need_no_beta_header(edge: EdgeServer) -> None:
    assert edge.request("GET", "/v1/files", beta=False).status == 200
    assert edge.request("GET", "/v1/models", beta=False).status == 200
    refused = edge.request("POST", "/v1/threads", {}, beta=False)
    assert (refused.status, refused.error["code"]) == (400, "invalid_beta")


def test_an_unknown_route_is_a_404_in_json(edge: EdgeServer) -> None:
    answer = edge.request("GET", "/v1/nothing/here")
    assert (answer.status, answer.error["message"]) == (404, "Invalid URL (GET /v1/nothing/here)")
    assert edge.request("GET", f"/openai/nothing?{PREVIEW}").json == GATEWAY_404
    for path in ("/", "/index.html", "/v1", "/openai", "/v1/threads/a%00b", "/v1/threads/a/b/c/d"):
        answer = edge.request("GET", path)
        assert (answer.status, answer.headers["content-type"]) == (404, "application/json")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT"])
@pytest.mark.parametrize("path", ["/", "/v1/nothing", "/v1/uploads", f"/openai/nothing?{PREVIEW}", "/openai/v1/x"])
def test_no_method_on_no_path_is_answered_with_a_page(edge: EdgeServer, method: str, path: str) -> None:
    answer = edge.request(method, path)
    assert answer.status in (404, 405)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("noun", ["assistants", "files", "models"])
def test_paths_with_a_deployment_are_aliases(edge: EdgeServer, noun: str) -> None:
    for deployment in ("gpt-4o", "v1"):
        answer = edge.request("GET", f"/openai/deployments/{deployment}/{noun}?{PREVIEW}")
        assert (answer.status, answer.json["object"]) == (200, "list")


def test_uploads_and_threads_are_under_a_deployment_too(edge: EdgeServer) -> None:
    for noun in ("uploads", "threads"):
        answer = edge.request("POST", f"/openai/deployments/d/{noun}?{PREVIEW}", {"foo": 1})
        assert (answer.status, answer.error["code"]) == (
            400,
            "unknown_parameter" if noun == "threads" else "missing_required_parameter",
        )


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "OPTIONS", "DELETE", "TRACE"])
def test_a_wrong_method_is_a_405_in_json(edge: EdgeServer, method: str) -> None:
    answer = edge.request(method, "/v1/assistants")
    assert (answer.status, answer.headers["content-type"]) == (405, "application/json")
    assert answer.headers["allow"] == "GET, POST"


def test_threads_runs_is_no_thread(edge: EdgeServer) -> None:
    answer = edge.request("POST", "/v1/threads/runs", {})
    assert answer.error["message"] == "Missing required parameter: 'assistant_id'."


@pytest.mark.parametrize(
    ("path", "name", "prefix"),
    [
        ("/v1/threads/undefined", "thread_id", "thread"),
        ("/v1/assistants/None", "assistant_id", "asst"),
        ("/v1/threads/thread_x/messages/undefined", "message_id", "msg"),
        ("/v1/threads/thread_x/runs/undefined", "run_id", "run"),
        ("/v1/threads/thread_x/runs/run_x/steps/undefined", "step_id", "step"),
    ],
)
def test_an_id_of_another_kind_is_named(edge: EdgeServer, path: str, name: str, prefix: str) -> None:
    answer = edge.request("GET", path)
    said = path.rpartition("/")[2]
    assert answer.status == 400
    assert answer.error["message"] == f"Invalid '{name}': '{said}'. Expected an ID that begins with '{prefix}'."
    assert (answer.error["param"], answer.error["code"]) == (name, "invalid_value")


def test_every_answer_has_a_request_id(edge: EdgeServer) -> None:
    for path in ("/v1/models", "/v1/nothing", "/v1/threads/undefined"):
        answer = edge.request("GET", path)
        assert re.fullmatch(r"req_\w{24}", answer.headers["x-request-id"])
        assert answer.headers["openai-version"] == "2020-10-01"
        assert answer.headers["openai-processing-ms"].isdigit()
        assert "apim-request-id" not in answer.headers
    for path in (f"/openai/models?{PREVIEW}", "/openai/models", "/openai/v1/models"):
        answer = edge.request("GET", path)
        assert uuid.UUID(answer.headers["apim-request-id"])
        assert "x-request-id" in answer.headers


def test_health_needs_neither_key_nor_dialect(keyed: EdgeServer) -> None:
    health = keyed.request("GET", "/healthz")
    assert (health.json, health.headers["x-request-id"][:4]) == ({"status": "ok"}, "req_")
    ready = keyed.request("GET", "/readyz")
    sandbox = {"tier": "off", "reason": "there is none here. Fix: make one"}
    assert (ready.status, ready.json) == (200, {"status": "ok", "code_interpreter": sandbox})
    keyed.is_ready = False
    try:
        answer = keyed.request("GET", "/readyz")
        assert (answer.status, answer.json["message"]) == (503, "The worker that moves runs is not running.")
        assert keyed.request("GET", "/healthz").status == 200
    finally:
        keyed.is_ready = True


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"api-key": KEY},
        {"api-key": KEY, "authorization": f"Bearer {KEY}"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", f"/openai/models?{PREVIEW}", "/openai/v1/models"])
def test_a_key_may_come_in_either_header(keyed: EdgeServer, path: str, headers: dict[str, str]) -> None:
    assert keyed.request("GET", path, headers=headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
        {"api-key": ""},
        {"api-key": "wrong"},
        {"authorization": "Bearer wrong"},
        {"api-key": KEY, "authorization": "Bearer wrong"},
        {"api-key": "wrong", "authorization": f"Bearer {KEY}"},
        {"api-key": KEY + "x"},
    ],
)
def test_any_other_key_is_refused_in_the_surfaces_words(keyed: EdgeServer, headers: dict[str, str]) -> None:
    answer = keyed.request("GET", "/v1/models", headers=headers)
    assert (answer.status, answer.error["type"]) == (401, "invalid_request_error")
    assert KEY not in answer.body.decode()
    azure = keyed.request("GET", f"/openai/models?{PREVIEW}", headers=headers)
    assert (azure.status, set(azure.error), azure.error["code"]) == (401, {"code", "message"}, "401")


def test_who_calls_is_asked_before_what_they_send(keyed: EdgeServer) -> None:
    assert keyed.request("POST", "/v1/assistants", b"{").status == 401
    assert keyed.request("GET", "/v1/nothing").status == 401
    assert keyed.request("GET", "/openai/assistants").status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.com"},
        {"host": "127.0.0.1.evil.com"},
        {"origin": "http://evil.com"},
        {"origin": "null"},
    ],
)
def test_a_keyless_server_does_not_answer_foreign_pages(edge: EdgeServer, headers: dict[str, str]) -> None:
    answer = edge.request("POST", "/v1/threads", {}, headers)
    assert (answer.status, answer.error["code"]) == (403, "forbidden")
    azure = edge.request("GET", f"/openai/models?{PREVIEW}", headers=headers)
    assert (azure.status, azure.error["code"]) == (403, "403")


def test_a_keyless_server_answers_its_own_pages(edge: EdgeServer) -> None:
    headers = {"host": f"localhost:{edge.port}", "origin": f"http://localhost:{edge.port}"}
    assert edge.request("POST", "/v1/threads", {}, headers).status == 200


def test_a_key_is_guard_enough(keyed: EdgeServer) -> None:
    headers = {"host": "locum.example.com", "origin": "https://app.example.com", "api-key": KEY}
    assert keyed.request("GET", "/v1/models", headers=headers).status == 200


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_thread_needs_no_body(edge: EdgeServer, body: bytes) -> None:
    answer = edge.request("POST", "/v1/threads", body)
    assert answer.status == 200
    assert (answer.json["metadata"], answer.json["tool_resources"]) == ({}, {})
    json_typed = edge.request("POST", "/v1/threads", body, {"content-type": "application/json"})
    assert json_typed.status == 200


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"\f",
        b"{",
        b"[]",
        b"null",
        b'{"metadata": {"a": "\\ud800"}}',
        b'{"metadata": {"a": "\\u0000"}}',
        b'{"metadata": NaN}',
        b"\xff\xfe",
        b'{"a":' * 3000 + b"1" + b"}" * 3000,
        b'{"metadata": {"\\u0000": "a"}}',
        b'{"\\ud800": 1}',
    ],
)
def test_a_bad_body_is_a_400(edge: EdgeServer, body: bytes) -> None:
    answer = edge.request("POST", "/v1/threads", body)
    assert answer.status == 400
    assert set(answer.error) == {"message", "type", "param", "code"}


def test_a_huge_body_is_a_413(edge: EdgeServer) -> None:
    answer = edge.request("POST", "/v1/threads", b" " * (10 * 1024 * 1024 + 1))
    assert answer.status == 413


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=abc", "limit"),
        ("limit=%00", "limit"),
        ("after=%00", "after"),
        ("order=up", "order"),
        ("limit=%F0%28%8C%28", "limit"),
    ],
)
def test_a_bad_query_is_a_400(edge: EdgeServer, query: str, param: str) -> None:
    answer = edge.request("GET", f"/v1/assistants?{query}")
    assert (answer.status, answer.error["param"]) == (400, param)


def test_a_strange_host_header_is_no_server_error(keyed: EdgeServer) -> None:
    answer = keyed.request("GET", "/v1/vector_stores", headers={"host": "[", "api-key": KEY})
    assert answer.status == 200


def test_include_may_name_the_contents_of_search_results_only(edge: EdgeServer) -> None:
    steps = "/v1/threads/thread_x/runs/run_x/steps"
    known = "step_details.tool_calls%5B*%5D.file_search.results%5B*%5D.content"
    assert edge.request("GET", f"{steps}?include%5B%5D={known}").status == 404
    assert edge.request("GET", f"{steps}?include%5B%5D=foo").error["param"] == "include"


def test_models_have_names_with_slashes(edge: EdgeServer) -> None:
    names = [model["id"] for model in edge.request("GET", "/v1/models").json["data"]]
    assert names == ["demo", "team/model"]
    assert edge.request("GET", "/v1/models/team/model").json["id"] == "team/model"


def test_the_sdks_list_and_retrieve_models(sdk: openai.OpenAI, azure_sdk: openai.AzureOpenAI) -> None:
    for client in (sdk, azure_sdk):
        assert [model.id for model in client.models.list()] == ["demo", "team/model"]
        model = client.models.retrieve("demo")
        assert (model.id, model.object, model.owned_by) == ("demo", "model", "locum")
        with pytest.raises(openai.NotFoundError) as unknown:
            client.models.retrieve("gpt-9")
        assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")


def test_an_unknown_model_is_a_404_in_the_hosted_words(edge: EdgeServer) -> None:
    answer = edge.request("GET", "/v1/models/gpt-9")
    assert answer.status == 404
    assert answer.error == {
        "message": "The model 'gpt-9' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def new_run(edge: EdgeServer, **body: object) -> tuple[str, str]:
    assistant = edge.request("POST", "/v1/assistants", {"model": "m"}).json["id"]
    run = edge.request("POST", "/v1/threads/runs", {"assistant_id": assistant, **body}).json
    return run["thread_id"], run["id"]


def test_a_poll_helper_is_held_until_the_run_changes(edge: EdgeServer) -> None:
    thread_id, run_id = new_run(edge)
    path = f"/v1/threads/{thread_id}/runs/{run_id}"
    plain = edge.request("GET", path)
    assert (plain.json["status"], plain.headers["openai-poll-after-ms"]) == ("queued", "100")
    custom = {"x-stainless-poll-helper": "true", "x-stainless-custom-poll-interval": "50"}
    assert edge.request("GET", path, headers=custom).json["status"] == "queued"
    with socket.create_connection(("127.0.0.1", edge.port)) as raw:
        raw.sendall(
            f"GET {path} HTTP/1.1\r\nhost: localhost\r\nopenai-beta: assistants=v2\r\n"
            "x-stainless-poll-helper: true\r\n\r\n".encode()
        )
        raw.settimeout(0.2)
        with pytest.raises(TimeoutError):
            raw.recv(1)
        edge.change_run(run_id, thread_id=thread_id, status="failed")
        raw.settimeout(10)
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert json.loads(response.read())["status"] == "failed"
        assert response.headers["openai-poll-after-ms"] == "10"


def test_a_client_that_hangs_up_is_no_longer_read_to(edge: EdgeServer) -> None:
    assistant = edge.request("POST", "/v1/assistants", {"model": "m"}).json["id"]
    thread = edge.request("POST", "/v1/threads", {}).json["id"]
    body = json.dumps({"assistant_id": assistant, "stream": True})
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as raw:
        raw.sendall(
            f"POST /v1/threads/{thread}/runs HTTP/1.1\r\nhost: localhost\r\nopenai-beta: assistants=v2\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}".encode()
        )
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.readline() == b"event: thread.run.created\n"
        run_id = json.loads(response.readline().removeprefix(b"data: "))["id"]
        assert edge.is_read(run_id)
        response.close()
    wait_until(lambda: not edge.is_read(run_id))
    assert edge.request("GET", f"/v1/threads/{thread}/runs/{run_id}").json["status"] == "queued"


@pytest.mark.parametrize("stream", [False, None])
def test_a_run_that_is_not_streamed_is_json(edge: EdgeServer, stream: bool | None) -> None:
    assistant = edge.request("POST", "/v1/assistants", {"model": "m"}).json["id"]
    answer = edge.request("POST", "/v1/threads/runs", {"assistant_id": assistant, "stream": stream})
    assert answer.headers["content-type"] == "application/json"


def test_a_streamed_request_that_is_refused_is_plain_json(edge: EdgeServer) -> None:
    answer = edge.request("POST", "/v1/threads/runs", {"assistant_id": "asst_unknown", "stream": True})
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    assert answer.error["message"] == "No assistant found with id 'asst_unknown'."
