"""v1 through a real server: the unmodified clients of today, asking for v1 as clients of its time did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.models.upstream import Call, ScriptedUpstream, Text
from tests.serving import ServerProcess

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(params=["openai", "azure"])
def v1_client(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[openai.OpenAI]:
    """The SDK of today names v2 in every call: on the OpenAI surface each call has to name v1 instead (`BETA`), on
    Azure the api-version decides."""
    if request.param == "openai":
        with server.openai() as client:
            yield client
    else:
        with server.azure(api_version="2024-02-15-preview") as client:
            yield client


BETA = {"OpenAI-Beta": "assistants=v1"}


@pytest.fixture
def sales(v1_client: openai.OpenAI) -> str:
    """A file with figures."""
    file = v1_client.files.create(file=("sales.csv", b"region,revenue\nNorth,960\nSouth,640\n"), purpose="assistants")
    return file.id


def test_a_v1_run_streams_v1_objects_and_its_files_are_found_by_either_version(
    v1_client: openai.OpenAI, sales: str, client: openai.OpenAI
) -> None:
    assistant = v1_client.beta.assistants.create(
        model="gpt-4-1106-preview",
        tools=[{"type": "code_interpreter"}],
        extra_body={"file_ids": [sales]},
        extra_headers=BETA,
    )
    assert shown(assistant)["file_ids"] == [sales]
    question: dict[str, Any] = {
        "role": "user",
        "content": "Plot revenue by region as a bar chart.",
        "file_ids": [sales],
    }
    events = v1_client.beta.threads.create_and_run(
        assistant_id=assistant.id,
        thread={"messages": [question]},  # type: ignore[typeddict-item]
        stream=True,
        extra_headers=BETA,
    )
    heard = [(event.event, shown(event.data)) for event in events]
    names = [name for name, _ in heard]
    assert (names[0], names[-1]) == ("thread.created", "thread.run.completed")
    for name, data in heard:
        assert {"tool_resources", "attachments", "parallel_tool_calls"}.isdisjoint(data), name
        if data["object"] in ("thread.run", "thread.message"):
            assert isinstance(data["file_ids"], list), name
    thread_id = heard[0][1]["id"]
    run = heard[-1][1]
    assert run["file_ids"] == [sales]

    answer, asked = v1_client.beta.threads.messages.list(thread_id, extra_headers=BETA).data
    told = next(data for name, data in reversed(heard) if name == "thread.message.completed")
    assert shown(answer) == told
    assert shown(asked)["file_ids"] == [sales]
    step = v1_client.beta.threads.runs.steps.list(run["id"], thread_id=thread_id, order="asc", extra_headers=BETA).data[
        0
    ]
    assert step.step_details.type == "tool_calls"
    assert step.step_details.tool_calls[0].type == "code_interpreter"
    image = next(part for part in answer.content if part.type == "image_file")
    assert v1_client.files.content(image.image_file.file_id).read().startswith(b"\x89PNG")

    in_v2 = client.beta.threads.retrieve(thread_id)
    assert in_v2.tool_resources is not None
    assert in_v2.tool_resources.code_interpreter is not None
    assert in_v2.tool_resources.code_interpreter.file_ids == [sales]
    first = client.beta.threads.messages.list(thread_id, order="asc").data[0]
    assert first.attachments is not None
    assert [each.file_id for each in first.attachments] == [sales]
    assert client.beta.threads.runs.retrieve(run["id"], thread_id=thread_id).status == "completed"


def test_a_thread_made_under_v2_goes_on_under_v1(v1_client: openai.OpenAI, sales: str, client: openai.OpenAI) -> None:
    assistant = client.beta.assistants.create(
        model="m",
        tools=[{"type": "code_interpreter"}],
        tool_resources={"code_interpreter": {"file_ids": [sales]}},
    )
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Solve 3x + 11 = 14"}])
    run = v1_client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, extra_headers=BETA
    )
    assert (run.status, shown(run)["file_ids"]) == ("completed", [sales])
    answer = v1_client.beta.threads.messages.list(thread.id, run_id=run.id, extra_headers=BETA).data[0]
    assert answer.content[0].type == "text"
    assert "x = 1" in answer.content[0].text.value
    assert shown(answer)["file_ids"] == []


def test_files_of_assistants_and_messages_by_the_paths_of_v1(v1_client: openai.OpenAI, sales: str) -> None:
    headers: dict[str, Any] = {"headers": BETA}
    assistant = v1_client.beta.assistants.create(model="m", extra_headers=BETA)
    path = f"/assistants/{assistant.id}/files"
    linked: Any = v1_client.post(path, cast_to=object, body={"file_id": sales}, options=headers)
    assert (linked["id"], linked["object"], linked["assistant_id"]) == (sales, "assistant.file", assistant.id)
    listed: Any = v1_client.get(path, cast_to=object, options=headers)
    assert listed["data"] == [linked]
    gone: Any = v1_client.delete(f"{path}/{sales}", cast_to=object, options=headers)
    assert gone == {"id": sales, "object": "assistant.file.deleted", "deleted": True}
    with pytest.raises(openai.NotFoundError, match="No assistant file found"):
        v1_client.get(f"{path}/{sales}", cast_to=object, options=headers)

    thread = v1_client.beta.threads.create(extra_headers=BETA)
    message = v1_client.beta.threads.messages.create(
        thread.id, role="user", content="x", extra_body={"file_ids": [sales]}, extra_headers=BETA
    )
    files: Any = v1_client.get(f"/threads/{thread.id}/messages/{message.id}/files", cast_to=object, options=headers)
    assert [(each["id"], each["message_id"]) for each in files["data"]] == [(sales, message.id)]


def test_functions_and_budgets_under_v1(tmp_path: Path) -> None:
    with (
        ScriptedUpstream() as upstream,
        ServerProcess(tmp_path / "data", env={"LOCUM_MODEL_BASE_URL": upstream.base_url}) as scripted,
        scripted.azure(api_version="2024-02-15-preview") as v1_client,
    ):
        upstream.script([Call("clock", {}), Text("It is", finish_reason="length")])
        clock: Any = {"type": "function", "function": {"name": "clock"}}
        assistant = v1_client.beta.assistants.create(model="m", tools=[clock])
        runs, thread = v1_client.beta.threads.runs, v1_client.beta.threads.create()
        events = list(runs.create(thread.id, assistant_id=assistant.id, max_completion_tokens=256, stream=True))
        run = shown(events[-1].data)
        assert (events[-1].event, run["status"], run["file_ids"]) == (
            "thread.run.requires_action",
            "requires_action",
            [],
        )
        (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs: Any = [{"tool_call_id": call["id"], "output": "noon"}]
        events = list(runs.submit_tool_outputs(run["id"], thread_id=thread.id, tool_outputs=outputs, stream=True))
        step, ended = shown(events[0].data), shown(events[-1].data)
        assert step["step_details"]["tool_calls"][0]["function"]["output"] == "noon"
        assert (ended["status"], ended["incomplete_details"]) == ("incomplete", {"reason": "max_completion_tokens"})
        assert "parallel_tool_calls" not in ended
        (message,) = v1_client.beta.threads.messages.list(thread.id).data
        assert (shown(message)["status"], shown(message)["file_ids"]) == ("incomplete", [])


def test_v2s_words_are_refused_as_the_hosted_preview_refused_them(v1_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        v1_client.beta.assistants.create(model="m", tool_resources={}, extra_headers=BETA)
    assert (refused.value.param, refused.value.code) == ("tool_resources", "unknown_parameter")
    thread = v1_client.beta.threads.create(extra_headers=BETA)
    with pytest.raises(openai.BadRequestError, match="expected a string, but got an array"):
        v1_client.beta.threads.messages.create(
            thread.id, role="user", content=[{"type": "text", "text": "x"}], extra_headers=BETA
        )


def shown(value: Any) -> dict[str, Any]:
    """An object as it came, with the keys that the SDK of today does not know."""
    return dict(value.to_dict(mode="json"))
