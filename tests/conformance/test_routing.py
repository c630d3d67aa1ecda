"""Behaviours 1-19: who is spoken to, in which version, with which key."""

from __future__ import annotations

import re

import openai
import pytest

from tests.conformance.api import Api
from tests.conformance.behaviours import behaviour
from tests.conformance.conftest import Keyed
from tests.conformance.wire import Wire
from tests.models.upstream import Text

AZURE_404 = {"error": {"code": "404", "message": "Resource not found"}}


@behaviour(1, "Azure: the client creates an assistant at /openai/assistants with api-version and api-key")
def test_the_azure_client_creates_an_assistant(on_azure: Api) -> None:
    made = on_azure.sdk.beta.assistants.create(model="my-deployment")
    request, _ = on_azure.wire.exchanges[-1]
    assert request.url.path == "/openai/assistants"
    assert request.url.params["api-version"] == "2024-05-01-preview"
    assert request.headers["api-key"] == "any"
    assert made.model == "my-deployment"
    assert on_azure.sdk.beta.assistants.retrieve(made.id) == made


@behaviour(2, "Azure: /openai/deployments/{d}/… is an alias, as old clients call it")
def test_paths_below_a_deployment_are_aliases(on_azure: Api) -> None:
    thread = on_azure.post("/deployments/gpt-4o/threads", {})
    assert on_azure.get(f"/threads/{thread['id']}")["id"] == thread["id"]
    assistant = on_azure.post("/deployments/gpt-4o/assistants", {"model": "m"})
    assert on_azure.get(f"/deployments/other/assistants/{assistant['id']}")["id"] == assistant["id"]
    assert on_azure.get("/deployments/gpt-4o/files")["object"] == "list"
    assert on_azure.call("GET", "/deployments/gpt-4o/vector_stores").status_code != 404


@behaviour(3, "OpenAI: the client works with a base URL and a bearer key")
def test_the_openai_client_creates_an_assistant(on_openai: Api) -> None:
    made = on_openai.sdk.beta.assistants.create(model="gpt-4o")
    request, _ = on_openai.wire.exchanges[-1]
    assert request.url.path == "/v1/assistants"
    assert request.headers["authorization"] == "Bearer any"
    assert on_openai.sdk.beta.assistants.retrieve(made.id) == made
    for path in (f"//assistants/{made.id}", f"/assistants/{made.id}/"):
        assert on_openai.get(path)["id"] == made.id


@behaviour(4, "/openai/v1 works without api-version, with preview, and with a date")
@pytest.mark.parametrize("api_version", [None, "preview", "latest", "2024-05-01-preview", "2024-10-21"])
def test_the_azure_v1_paths_do_not_depend_on_an_api_version(on_openai: Api, api_version: str | None) -> None:
    with on_openai.speaking(surface="azure_v1") as api:
        query = {"params": {"api-version": api_version}} if api_version else {}
        made = api.post("/assistants", {"model": "m"}, **query)
        assert "tool_resources" in made
        assert api.sdk.beta.assistants.retrieve(made["id"]).id == made["id"]
        with openai.AzureOpenAI(
            base_url=f"{api.base}/",
            api_key="any",
            api_version=api_version or "",
            max_retries=0,
            http_client=api.wire.client(),
        ) as client:
            assert client.beta.assistants.retrieve(made["id"]).id == made["id"]


@behaviour(5, "Azure: without api-version the answer is 404 Resource not found, in the gateway's envelope")
def test_a_missing_api_version_is_not_found(on_azure: Api) -> None:
    response = on_azure.wire.client().get(f"{on_azure.base}/assistants", headers={"api-key": "any"})
    assert (response.status_code, response.json()) == (404, AZURE_404)


@behaviour(6, "Azure: an api-version that never was, or had no assistants, is the same 404")
@pytest.mark.parametrize(
    "api_version", ["1999-01-01", "1999-01-01-preview", "2024-06-01", "2023-12-01-preview", "x", ""]
)
def test_an_unknown_api_version_is_not_found(on_azure: Api, strict: str, api_version: str) -> None:
    response = on_azure.call("GET", "/assistants", params={"api-version": api_version})
    assert (response.status_code, response.json()) == (404, AZURE_404)
    for version, status in [("2025-04-01-preview", 200), ("2024-07-01-preview", 200), ("2026-01-01-preview", 404)]:
        path, query = f"{strict}/openai/assistants", {"api-version": version}
        response = on_azure.wire.client().get(path, params=query, headers={"api-key": "any"})
        assert response.status_code == status
        assert on_azure.call("GET", "/assistants", params=query).status_code == 200


@behaviour(7, "Azure: 2024-02-15-preview answers in v1 shapes whatever the OpenAI-Beta header says")
def test_the_first_preview_is_v1_whatever_the_header_says(on_azure: Api) -> None:
    with on_azure.speaking(version=1) as v1:
        made = v1.post("/assistants", {"model": "m"}, headers={"openai-beta": "assistants=v2"})
        assert made["file_ids"] == []
        assert "tool_resources" not in made
        assert v1.post("/threads", {}).get("tool_resources") is None


@behaviour(8, "Azure, strict: tool_resources under 2024-02-15-preview is an unknown parameter")
def test_strict_v1_refuses_tool_resources(strict: str, on_azure: Api) -> None:
    api = Api(strict, on_azure.wire, on_azure.upstream, "azure", version=1)
    body = {"model": "m", "tool_resources": {"code_interpreter": {"file_ids": []}}}
    error = api.refused("POST", "/assistants", body, code="unknown_parameter", param="tool_resources")
    assert error["message"] == "Unknown parameter: 'tool_resources'."
    api.close()


@behaviour(9, "OpenAI: assistants and threads need the OpenAI-Beta header; files and models do not")
def test_assistants_and_threads_need_the_beta_header(on_openai: Api) -> None:
    plain = {"headers": {"openai-beta": ""}}
    for method, path in [("GET", "/assistants"), ("POST", "/assistants"), ("POST", "/threads")]:
        error = on_openai.refused(method, path, code="invalid_beta", **plain)
        assert error["message"].startswith("You must provide the 'OpenAI-Beta' header to access the Assistants API.")
    for path in ("/files", "/models"):
        assert on_openai.call("GET", path, **plain).status_code == 200
    (model,) = on_openai.get("/models")["data"]
    assert on_openai.call("GET", f"/models/{model['id']}", **plain).json() == model
    assert on_openai.call("GET", "/assistants", headers={"openai-beta": "foo=v9, assistants=v2"}).status_code == 200


@behaviour(10, "OpenAI: OpenAI-Beta assistants=v1 answers in v1 shapes, assistants=v2 in v2")
def test_the_beta_header_chooses_the_version(on_openai: Api) -> None:
    body = {"model": "m"}
    first = on_openai.post("/assistants", body, headers={"openai-beta": "assistants=v1"})
    assert (first["file_ids"], "tool_resources" in first) == ([], False)
    second = on_openai.get(f"/assistants/{first['id']}")
    assert (second["tool_resources"], "file_ids" in second) == ({}, False)


@behaviour(11, "Without a key, or with a wrong one, the answer is 401 in the surface's envelope")
@pytest.mark.parametrize("surface", ["openai", "azure"])
def test_a_key_is_needed(keyed: Keyed, key: str, on_openai: Api, surface: str) -> None:
    wrong = Api(keyed.endpoint, on_openai.wire, on_openai.upstream, surface, key="sk-wrong")
    with pytest.raises(openai.AuthenticationError) as refused:
        wrong.sdk.beta.assistants.list()
    assert refused.value.code == ("401" if surface == "azure" else "invalid_api_key")
    for headers in ({"authorization": "", "api-key": ""}, {"authorization": "Basic x", "api-key": ""}):
        response = wrong.call("GET", "/assistants", headers=headers)
        assert response.status_code == 401
        keys = {"code", "message"} if surface == "azure" else {"message", "type", "param", "code"}
        assert response.json()["error"].keys() == keys
    with wrong.speaking(key=key) as right:
        assert right.call("GET", "/assistants").status_code == 200
    wrong.close()


@behaviour(12, "Azure: a bearer token is accepted in place of api-key")
def test_azure_accepts_a_bearer_token(keyed: Keyed, key: str, on_azure: Api) -> None:
    api = Api(keyed.endpoint, on_azure.wire, on_azure.upstream, "azure", key=key)
    bearer = {"authorization": f"Bearer {key}"}
    assert api.call("GET", "/assistants", headers={**bearer, "api-key": ""}).status_code == 200
    assert api.call("GET", "/assistants", headers=bearer).status_code == 200  # 1.x sends both
    with openai.AzureOpenAI(
        azure_endpoint=keyed.endpoint,
        azure_ad_token=key,
        api_version="2024-05-01-preview",
        max_retries=0,
        http_client=on_azure.wire.client(),
    ) as client:
        assert client.beta.assistants.list().object == "list"
    api.close()


@behaviour(13, "What belongs to another resource looks exactly like what does not exist")
@pytest.mark.parametrize("surface", ["openai", "azure"])
def test_resources_see_nothing_of_each_other(keyed: Keyed, key: str, on_openai: Api, surface: str) -> None:
    mine = Api(keyed.endpoint, on_openai.wire, on_openai.upstream, surface, key=key)
    file = mine.sdk.files.create(file=("a.txt", b"mine"), purpose="assistants")
    assistant, thread = mine.assistant(), mine.thread()
    message = mine.messages(thread)[0].id
    owned = [f"/assistants/{assistant}", f"/threads/{thread}", f"/threads/{thread}/messages/{message}"]
    owned += [f"/files/{file.id}", f"/files/{file.id}/content", f"/threads/{thread}/messages"]
    with mine.speaking(key=keyed.new_key()) as theirs:
        for path in owned:
            assert mine.call("GET", path).status_code == 200
            foreign = theirs.call("GET", path)
            for id_ in (assistant, message, file.id, thread):
                if id_ in path:
                    break
            absent = theirs.call("GET", path.replace(id_, id_[:-4] + "zzzz"))
            assert foreign.status_code == absent.status_code == 404
            assert foreign.text.replace(id_, id_[:-4] + "zzzz") == absent.text
        assert theirs.sdk.beta.assistants.list().data == []
        assert theirs.sdk.files.list().data == []
        assert theirs.call("POST", f"/threads/{thread}/messages", {"role": "user", "content": "x"}).status_code == 404
        assert theirs.call("POST", f"/threads/{thread}/runs", {"assistant_id": assistant}).status_code == 404
        assert theirs.call("DELETE", f"/assistants/{assistant}").status_code == 404
    assert mine.sdk.beta.assistants.retrieve(assistant).id == assistant
    mine.close()


@behaviour(14, "POST /threads/runs is no thread called runs")
def test_threads_runs_is_not_a_thread(api: Api) -> None:
    api.upstream.script([Text("Hi.")])
    made = api.post("/threads/runs", {"assistant_id": api.assistant()})
    assert made["object"] == "thread.run"
    assert api.get(f"/threads/{made['thread_id']}")["object"] == "thread"
    assert api.until(api.sdk.beta.threads.runs.retrieve(made["id"], thread_id=made["thread_id"]), "completed")


@behaviour(15, "An unknown path is 404 and a wrong method 405, both in JSON")
def test_unknown_paths_and_wrong_methods_are_answered_in_json(api: Api) -> None:
    for path in ("/nothing", "/beta/agents", "/threads/thread_x/nothing", "/chatkit/sessions"):
        response = api.call("GET", path)
        assert (response.status_code, response.headers["content-type"]) == (404, "application/json"), path
    for method, path in [
        ("PUT", "/assistants"),
        ("PATCH", "/threads"),
        ("DELETE", "/threads/runs/x/y"),
        ("DELETE", "/files"),
    ]:
        response = api.call(method, path)
        assert response.status_code in (404, 405), path
        assert response.headers["content-type"] == "application/json"
    assert api.call("PUT", "/assistants").status_code == 405
    outside = api.wire.client().get(f"{api.endpoint}/nothing/at/all")
    assert (outside.status_code, outside.headers["content-type"]) == (404, "application/json")
    assert outside.json()["error"]


@behaviour(16, "Every answer has an x-request-id of its own, on Azure an apim-request-id too")
def test_every_answer_has_a_request_id(api: Api) -> None:
    answers = [
        api.call("GET", "/assistants"),
        api.call("GET", "/assistants/asst_none"),
        api.call("GET", "/nothing"),
        api.call("POST", "/threads", {"nonsense": 1}),
    ]
    ids = [each.headers["x-request-id"] for each in answers]
    assert len(set(ids)) == len(ids)
    assert all(each.startswith("req_") for each in ids)
    assert all(("apim-request-id" in each.headers) == api.is_azure for each in answers)


@behaviour(17, "Errors have exactly an error object, and the SDK reads code, param and type from it")
def test_the_sdk_reads_errors(api: Api) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        api.sdk.beta.assistants.create(model="m", temperature=3)
    error = refused.value
    assert (error.code, error.param, error.type) == ("decimal_above_max_value", "temperature", "invalid_request_error")
    assert api.wire.exchanges[-1][1].json().keys() == {"error"}
    unknown = {"model": "m", "foo": 1}
    api.refused(
        "POST", "/assistants", unknown, code="unknown_parameter", param="foo", message="Unknown parameter: 'foo'."
    )
    nested = {"messages": [{"role": "user", "content": "x", "foo": 1}]}
    api.refused("POST", "/threads", nested, code="unknown_parameter", param="messages[0].foo")
    for body in (b"[]", b'"x"', b"1"):
        response = api.call("POST", "/assistants", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400
    broken = api.call("POST", "/assistants", content=b"{", headers={"content-type": "application/json"})
    assert broken.status_code == 400
    assert broken.json()["error"]["message"].startswith("We could not parse the JSON body of your request.")


@behaviour(18, "No state of a thread or run is answered with 409, which clients would retry")
def test_conflicts_are_400(api: Api) -> None:
    assistant, thread = api.assistant(), api.thread()
    run = api.run(Text("Hi."), assistant=assistant, thread=thread)
    path = f"/threads/{thread}/runs/{run.id}"
    assert api.call("POST", f"{path}/cancel").status_code == 400
    outputs = {"tool_outputs": [{"tool_call_id": "call_x", "output": "x"}]}
    assert api.call("POST", f"{path}/submit_tool_outputs", outputs).status_code == 400
    api.sdk.beta.assistants.delete(assistant)
    assert api.call("DELETE", f"/assistants/{assistant}").status_code == 404


@behaviour(19, "A run says in whole milliseconds when to ask again, and the poll helper honours it")
def test_the_poll_helper_is_told_when_to_ask_again(api: Api, wire: Wire) -> None:
    run = api.start(Text("Hi."))
    polled = api.sdk.beta.threads.runs.poll(run.id, thread_id=run.thread_id)
    assert polled.status == "completed"
    response = api.call("GET", f"/threads/{run.thread_id}/runs/{run.id}")
    wait = response.headers["openai-poll-after-ms"]
    assert re.fullmatch(r"\d+", wait)
    assert 1 <= int(wait) <= 1000
