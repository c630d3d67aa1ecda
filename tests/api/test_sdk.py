"""The unmodified SDK against the edge; nothing here moves a run but the test."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import openai
import pytest

from locum.domain.events import (
    Done,
    MessageDelta,
    MessageEvent,
    RunEvent,
    StepEvent,
    StreamError,
    TextDelta,
    TextPartDelta,
)
from locum.domain.messages import Message, Text, TextPart
from locum.domain.runs import Run
from locum.domain.steps import MessageCreation, MessageCreationDetails, Step
from tests.api.edge import EdgeServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(params=["openai", "azure"])
def client(request: pytest.FixtureRequest, sdk: openai.OpenAI, azure_sdk: openai.AzureOpenAI) -> openai.OpenAI:
    return sdk if request.param == "openai" else azure_sdk


def test_an_assistant_from_create_to_delete(client: openai.OpenAI) -> None:
    assistants = client.beta.assistants
    made = assistants.create(
        model="gpt-4o",
        name="수학",
        instructions="Solve.",
        tools=[{"type": "code_interpreter"}],
        metadata={"a": "b"},
        temperature=0,
        response_format={"type": "json_object"},
    )
    assert (made.name, made.temperature, made.metadata) == ("수학", 0, {"a": "b"})
    assert assistants.retrieve(made.id) == made
    changed = assistants.update(made.id, name=None, metadata={})  # type: ignore[arg-type]
    assert (changed.name, changed.metadata, changed.instructions) == (None, {}, "Solve.")
    assert made.id in [each.id for each in assistants.list(limit=100)]
    assert assistants.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError, match=f"No assistant found with id '{made.id}'"):
        assistants.retrieve(made.id)


def test_pages_follow_one_another(client: openai.OpenAI) -> None:
    thread = client.beta.threads.create()
    sent = [client.beta.threads.messages.create(thread.id, role="user", content=str(n)).id for n in range(25)]
    pages = client.beta.threads.messages.list(thread.id, limit="10", order="asc")  # type: ignore[arg-type]
    assert [message.id for message in pages] == sent
    newest = client.beta.threads.messages.list(thread.id)
    assert [message.id for message in newest.data] == sent[:4:-1]
    assert newest.has_more


def test_messages_of_a_thread(client: openai.OpenAI) -> None:
    uploaded = client.files.create(file=("데이터.csv", io.BytesIO(b"a\n1\n")), purpose="assistants")
    thread = client.beta.threads.create(
        messages=[
            {"role": "user", "content": "안녕 🙂", "file_ids": [uploaded.id]},  # type: ignore[typeddict-unknown-key]
            {"role": "assistant", "content": [{"type": "text", "text": "hello"}]},
        ]
    )
    assert thread.tool_resources is not None
    assert thread.tool_resources.code_interpreter is not None
    assert thread.tool_resources.code_interpreter.file_ids == [uploaded.id]
    second, first = client.beta.threads.messages.list(thread.id).data
    assert (first.role, second.role) == ("user", "assistant")
    assert first.content[0].text.value == "안녕 🙂"  # type: ignore[union-attr]
    assert first.attachments is not None
    assert first.attachments[0].file_id == uploaded.id
    updated = client.beta.threads.messages.update(first.id, thread_id=thread.id, metadata={"k": "v"})
    assert updated.metadata == {"k": "v"}
    assert client.beta.threads.messages.delete(second.id, thread_id=thread.id).deleted
    assert client.files.content(uploaded.id).read() == b"a\n1\n"
    assert client.beta.threads.delete(thread.id).deleted


def test_errors_are_what_the_sdk_expects(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.beta.assistants.create(model="m", tools=[{"type": "function", "function": {"name": "a b"}}])
    error = refused.value
    assert (error.param, error.code) == ("tools[0].function.name", "invalid_value")
    assert error.type == "invalid_request_error"
    assert error.request_id is not None


def test_one_run_at_a_time_and_cancel(client: openai.OpenAI) -> None:
    assistant = client.beta.assistants.create(model="m")
    thread = client.beta.threads.create()
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, additional_instructions="more")
    assert (run.status, run.instructions) == ("queued", "more")
    with pytest.raises(openai.BadRequestError, match="already has an active run"):
        client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    with pytest.raises(openai.BadRequestError, match="while a run"):
        client.beta.threads.messages.create(thread.id, role="user", content="x")
    assert client.beta.threads.runs.cancel(run.id, thread_id=thread.id).status == "cancelling"
    assert client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data == []


def test_the_poll_helper_returns_when_the_run_has_ended(client: openai.OpenAI, edge: EdgeServer) -> None:
    assistant = client.beta.assistants.create(model="m")
    run = client.beta.threads.create_and_run(assistant_id=assistant.id)
    edge.change_run(run.id, thread_id=run.thread_id, status="failed")
    assert client.beta.threads.runs.poll(run.id, thread_id=run.thread_id).status == "failed"


class Heard(openai.AssistantEventHandler):
    """What the handler's callbacks said."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.said = ""

    def on_event(self, event: Any) -> None:
        self.events.append(event.event)

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self.said += delta.value or ""


def play(edge: EdgeServer, run: Run) -> Message:
    """A text run, as the engine would tell it."""
    step = Step(
        id="step_1",
        created_at=1,
        assistant_id=run.assistant_id,
        thread_id=run.thread_id,
        run_id=run.id,
        step_details=MessageCreationDetails(MessageCreation("msg_1")),
    )
    empty = Message(
        id="msg_1", created_at=1, thread_id=run.thread_id, role="assistant", content=(), status="in_progress"
    )
    message = msgspec.structs.replace(empty, content=(TextPart(Text(value="안녕 there")),), status="completed")
    edge.publish(
        run.id,
        RunEvent("in_progress", run),
        StepEvent("created", step),
        MessageEvent("created", empty),
        MessageDelta("msg_1", (TextPartDelta(index=0, text=TextDelta(value="안녕 ", annotations=())),)),
        MessageDelta("msg_1", (TextPartDelta(index=0, text=TextDelta(value="there")),)),
        MessageEvent("completed", message),
        StepEvent("completed", msgspec.structs.replace(step, status="completed")),
        RunEvent("completed", msgspec.structs.replace(run, status="completed")),
        Done(),
    )
    return message


def test_a_streamed_run(client: openai.OpenAI, edge: EdgeServer) -> None:
    assistant = client.beta.assistants.create(model="m")
    with client.beta.threads.create_and_run_stream(assistant_id=assistant.id, event_handler=Heard()) as stream:
        events = iter(stream)
        opening = [next(events) for _ in range(3)]
        run = opening[1].data
        play(
            edge,
            Run(
                id=run.id,  # type: ignore[union-attr]
                created_at=1,
                thread_id=run.thread_id,  # type: ignore[union-attr]
                assistant_id=assistant.id,
                status="in_progress",
                model="m",
                instructions="",
                tools=(),
                expires_at=None,
            ),
        )
        stream.until_done()
        assert stream.get_final_run().status == "completed"
        assert stream.get_final_messages()[0].content[0].text.value == "안녕 there"  # type: ignore[union-attr]
        assert stream.said == "안녕 there"
        assert stream.events[:3] == ["thread.created", "thread.run.created", "thread.run.queued"]


def test_a_broken_stream_raises_in_the_sdk(client: openai.OpenAI, edge: EdgeServer) -> None:
    assistant = client.beta.assistants.create(model="m")
    events = client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True)
    run_id = [next(events) for _ in range(3)][1].data.id  # type: ignore[union-attr]
    edge.publish(run_id, StreamError(message="It broke."), Done())
    with pytest.raises(openai.APIError, match=r"It broke\."):
        list(events)
