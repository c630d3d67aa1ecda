"""What a strict server refuses, as the hosted service did, and what any other takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from locum.access.principals import Principal
from locum.api.dialect import Call, Version
from locum.api.strict import check
from locum.domain.files import Surface
from locum.errors import InvalidRequest
from tests.api.edge import EdgeServer

TYPE = {"content-type": "multipart/form-data; boundary=XX"}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    with EdgeServer(tmp_path_factory.mktemp("strict"), strict=True) as server:
        yield server


def upload(server: EdgeServer, purpose: str) -> str:
    body = (
        f'--XX\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
        '--XX\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\na,b\r\n--XX--\r\n'
    )
    file_id = server.request("POST", "/v1/files", body.encode(), TYPE).json["id"]
    assert isinstance(file_id, str)
    return file_id


def call(*, version: Version = 2, surface: Surface = "openai") -> Call:
    principal = Principal(resource="default")
    return Call(surface=surface, azure_v1=False, version=version, principal=principal, request_id="req_1", strict=True)


def test_a_preview_that_azure_never_had_is_a_404(strict: EdgeServer, edge: EdgeServer) -> None:
    for version, status in (("2024-05-01-preview", 200), ("2024-06-01-preview", 404), ("2027-01-01-preview", 404)):
        assert strict.request("GET", f"/openai/assistants?api-version={version}").status == status
    assert edge.request("GET", "/openai/assistants?api-version=2024-06-01-preview").status == 200


def test_uploaded_files_for_assistants_are_not_given_back_on_the_openai_surface(
    strict: EdgeServer, edge: EdgeServer
) -> None:
    file_id = upload(strict, "assistants")
    refused = strict.request("GET", f"/v1/files/{file_id}/content")
    assert refused.status == 400
    assert refused.error == {
        "message": "Not allowed to download files of purpose: assistants",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert strict.request("GET", f"/openai/files/{file_id}/content?api-version=2024-05-01-preview").body == b"a,b"
    assert edge.request("GET", f"/v1/files/{upload(edge, 'assistants')}/content").body == b"a,b"


def test_what_the_hosted_service_refused_in_bodies_is_refused_over_the_wire(
    strict: EdgeServer, edge: EdgeServer
) -> None:
    body = {"model": "m", "tools": [{"type": "code-interpreter"}]}
    refused = strict.request("POST", "/v1/assistants", body)
    assert (refused.status, refused.error["param"]) == (400, "tools[0].type")
    assert edge.request("POST", "/v1/assistants", body).status == 200


def test_other_files_are_given_back(strict: EdgeServer) -> None:
    assert strict.request("GET", f"/v1/files/{upload(strict, 'vision')}/content").body == b"a,b"


def test_the_sdk_works_with_a_strict_server(strict: EdgeServer) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=strict.azure_endpoint, api_key="any", api_version="2024-05-01-preview"
    ) as client:
        assistant = client.beta.assistants.create(model="m", tools=[{"type": "code_interpreter"}])
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "x"}])
        assert client.beta.threads.runs.create(thread.id, assistant_id=assistant.id).status == "queued"


FUNCTION = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"role": "user", "content": "x", "file_ids": ["file-1"]}, "file_ids", "unknown_parameter"),
        ({"messages": [{"role": "user", "file_ids": []}]}, "messages[0].file_ids", "unknown_parameter"),
        (
            {"assistant_id": "a", "additional_messages": [{"role": "user"}, {"role": "user", "file_ids": []}]},
            "additional_messages[1].file_ids",
            "unknown_parameter",
        ),
        (
            {"assistant_id": "a", "thread": {"messages": [{"role": "user", "file_ids": []}]}},
            "thread.messages[0].file_ids",
            "unknown_parameter",
        ),
        ({"assistant_id": "a", "tools": [FUNCTION] * 21}, "tools", "array_above_max_length"),
        ({"tools": [FUNCTION, {"type": "code-interpreter"}]}, "tools[1].type", "invalid_value"),
        ({"tool_choice": {"type": "code interpreter"}}, "tool_choice.type", "invalid_value"),
        (
            {"role": "user", "attachments": [{"file_id": "file-1", "tools": [{"type": "code-interpreter"}]}]},
            "attachments[0].tools[0].type",
            "invalid_value",
        ),
        (
            {"tool_resources": {"code interpreter": {"file_ids": []}}},
            "tool_resources.code interpreter",
            "unknown_parameter",
        ),
        (
            {"assistant_id": "a", "thread": {"tool_resources": {"code-interpreter": {}}}},
            "thread.tool_resources.code-interpreter",
            "unknown_parameter",
        ),
    ],
)
def test_what_the_hosted_service_refused_in_bodies(body: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(call(), body)
    assert (refused.value.param, refused.value.code) == (param, code)


def test_azure_refuses_retrieval_and_openai_does_not() -> None:
    body = {"tools": [{"type": "retrieval"}]}
    with pytest.raises(InvalidRequest, match="Please use `file_search` in the v2 api."):
        check(call(version=1, surface="azure"), body)
    check(call(version=1), body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tools": None, "tool_resources": None, "thread": None, "messages": None, "tool_choice": None},
        {"tools": [FUNCTION] * 128},
        {"assistant_id": "a", "tools": [FUNCTION] * 20, "tool_choice": "auto"},
        {"file_ids": ["file-1"], "name": "a vector store"},
        {"messages": [{"role": "user", "content": "x", "attachments": [{"file_id": "file-1", "tools": None}]}]},
        {"tool_resources": {"code_interpreter": {"file_ids": ["file-1"]}}, "tools": [{"type": "code_interpreter"}]},
    ],
)
def test_what_the_hosted_service_took_is_taken(body: dict[str, Any]) -> None:
    check(call(), body)


def test_in_v1_messages_have_file_ids() -> None:
    check(call(version=1), {"role": "user", "content": "x", "file_ids": ["file-1"]})
