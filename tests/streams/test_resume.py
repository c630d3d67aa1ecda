"""A run's stream can be read again: from its beginning, from where it broke, from rows alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AssistantEventHandler
from openai.types.beta.threads import Message, MessageDelta
from openai.types.beta.threads.runs import RunStep

from tests.databases import PostgresServer
from tests.models.upstream import Call, Calls, Held, Reply, ScriptedUpstream, Status, Text
from tests.serving import ServerProcess
from tests.streams.following import BETA, Event, following, handled, handled_async, names, read, said

ANSWER = [
    *("run.created", "run.queued", "run.in_progress"),
    *("run.step.created", "run.step.in_progress", "message.created", "message.in_progress"),
]
END = ["message.completed", "run.step.completed", "run.completed", "done"]
CODE = "open('/mnt/data/out.csv', 'w').write('a')\nprint(6 * 7)"


def start(api: openai.OpenAI, thread: str, assistant: str) -> tuple[str, str]:
    """A streamed run whose client has gone after the first delta: the run, and the last id it saw."""
    with api.beta.threads.runs.with_streaming_response.create(thread, assistant_id=assistant, stream=True) as response:
        run, seen = "", False
        for line in response.iter_lines():
            if line.startswith("data: ") and not run:
                run = json.loads(line.removeprefix("data: "))["id"]
            seen |= line == "event: thread.message.delta"
            if seen and line.startswith("id: "):
                return run, line.removeprefix("id: ")
    raise AssertionError("there was no delta")


def script(upstream: ScriptedUpstream, *replies: Reply) -> None:
    upstream.script(replies)


def finished(api: openai.OpenAI, thread: str, assistant: str, **options: Any) -> str:
    """A run that is over and was never streamed: nothing of it is kept but its rows."""
    return api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant, **options).id


def without_index(value: Any) -> Any:
    """What an SDK has accumulated, but for the indexes it was accumulated by."""
    if isinstance(value, dict):
        return {key: without_index(each) for key, each in value.items() if key != "index"}
    return [without_index(each) for each in value] if isinstance(value, list) else value


def assert_same(api: openai.OpenAI, thread: str, run: str, steps: list[RunStep], messages: list[Message]) -> None:
    """What the SDK has accumulated is what is stored."""
    stored = api.beta.threads.runs.steps.list(run, thread_id=thread, order="asc").data
    assert [step.id for step in steps] == [step.id for step in stored]
    for accumulated, step in zip(steps, stored, strict=True):
        assert without_index(accumulated.step_details.to_dict()) == step.step_details.to_dict()
    kept = api.beta.threads.messages.list(thread, run_id=run, order="asc").data
    assert [each.to_dict() for each in messages] == [each.to_dict() for each in kept]


class Snapshots(AssistantEventHandler):
    """Keeps what was accumulated of each message before its end replaced it."""

    def __init__(self) -> None:
        super().__init__()
        self.contents: dict[str, Any] = {}

    def on_message_delta(self, delta: MessageDelta, snapshot: Message) -> None:
        self.contents[snapshot.id] = without_index([part.to_dict() for part in snapshot.content])


SCENARIOS: dict[str, tuple[list[Reply], str]] = {
    "text": ([Text("Hello to you.")], "completed"),
    "code": (
        [Call("code_interpreter", {"code": CODE}, text="Let me see."), Text("[f](sandbox:/mnt/data/out.csv)")],
        "completed",
    ),
    "nothing said": ([Text("")], "completed"),
    "failed": ([Status(400, body="no")], "failed"),
    "functions": ([Calls([Call("weather", {"a": 1}), Call("weather", {"a": 2})])], "requires_action"),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_run_told_again_is_accumulated_by_the_sdk_to_what_is_stored(
    scenario: str, streamed: bool, api: openai.OpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    replies, status = SCENARIOS[scenario]
    script(upstream, *replies)
    if streamed:
        with api.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant) as live:
            run = live.get_final_run().id
    else:
        run = finished(api, thread, assistant)
    handler = handled(api, thread, run, Snapshots())
    assert handler.get_final_run() == api.beta.threads.runs.retrieve(run, thread_id=thread)
    assert handler.get_final_run().status == status
    steps = list(handler._AssistantEventHandler__run_step_snapshots.values())  # type: ignore[attr-defined]
    messages = list(handler._AssistantEventHandler__message_snapshots.values())  # type: ignore[attr-defined]
    assert_same(api, thread, run, steps, messages)
    assert handler.contents == {each.id: [part.to_dict() for part in each.content] for each in messages}

    async def run_async() -> None:
        async with openai.AsyncOpenAI(base_url=str(api.base_url), api_key="any") as client:
            other = await handled_async(client, thread, run)
            assert await other.get_final_run() == handler.get_final_run()
            if messages:
                assert await other.get_final_messages() == messages

    asyncio.run(run_async())
    if status == "requires_action":
        api.beta.threads.runs.cancel(run, thread_id=thread)


def test_rows_tell_a_run_in_the_order_of_its_stream(
    api: openai.OpenAI, upstream: ScriptedUpstream, assistant: str, thread: str, scripted: ServerProcess
) -> None:
    script(upstream, Text("Hello to you."))
    events = read(scripted.base_url, thread, finished(api, thread, assistant))
    assert names(events) == [*ANSWER, "message.delta", *END]
    assert said(events) == "Hello to you."
    assert [event.id is None for event in events] == [*[False] * (len(events) - 1), True]
    places = [tuple(map(int, event.id.split("."))) for event in events if event.id]
    assert places == sorted(set(places))


def test_a_client_goes_on_exactly_where_its_connection_broke(
    api: openai.OpenAI, upstream: ScriptedUpstream, assistant: str, thread: str, scripted: ServerProcess
) -> None:
    held = Held(Text("then the rest."), after_text="First this, ")
    script(upstream, held)
    run, last = start(api, thread, assistant)
    with (
        following(scripted.base_url, thread, run, after=last) as resumed,
        following(scripted.base_url, thread, run) as late,
    ):
        held.release()
        behind, whole = list(resumed), list(late)
    assert said(whole) == "First this, then the rest."
    assert names(whole)[: len(ANSWER)] == ANSWER
    position = [event.id for event in whole].index(last) + 1
    assert [(each.name, each.raw, each.id) for each in behind] == [
        (each.name, each.raw, each.id) for each in whole[position:]
    ]
    assert names(behind)[-4:] == END


def test_the_id_can_be_given_in_the_query(
    api: openai.OpenAI, upstream: ScriptedUpstream, assistant: str, thread: str, scripted: ServerProcess
) -> None:
    held = Held(Text("b"), after_text="a ")
    script(upstream, held)
    run, last = start(api, thread, assistant)
    held.release()
    assert said(read(scripted.base_url, thread, run, query=f"?last_event_id={last}")) == "b"


@pytest.mark.parametrize("after", ["1.1", "nonsense", "99999999999999.3"])
def test_an_unknown_id_means_the_whole_run(
    after: str, api: openai.OpenAI, upstream: ScriptedUpstream, assistant: str, thread: str, scripted: ServerProcess
) -> None:
    script(upstream, Text("Hello."))
    run = finished(api, thread, assistant)
    assert names(read(scripted.base_url, thread, run, after=after))[0] == "run.created"


def test_a_run_that_is_not_streamed_can_be_joined_in_the_middle_of_its_answer(
    api: openai.OpenAI, upstream: ScriptedUpstream, assistant: str, thread: str, scripted: ServerProcess
) -> None:
    held = Held(Text("end."), after_text="The ")
    script(upstream, held)
    run = api.beta.threads.runs.create(thread, assistant_id=assistant).id
    upstream.wait(lambda: bool(api.beta.threads.messages.list(thread, run_id=run).data))
    with following(scripted.base_url, thread, run) as events:
        first = next(events)
        held.release()
        whole = [first, *events]
    assert [each for each in names(whole) if each != "message.delta"] == [*ANSWER, *END]
    assert said(whole) == "The end."


def test_a_run_waits_for_its_caller_and_is_told_on_after_the_submit(
    api: openai.OpenAI, upstream: ScriptedUpstream, assistant: str, thread: str, scripted: ServerProcess
) -> None:
    held = Held(Text("Sunny."))
    script(upstream, Call("weather", {}), held)
    with api.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant) as live:
        run = live.get_final_run()
    asked = read(scripted.base_url, thread, run.id)
    assert names(asked)[-2:] == ["run.requires_action", "done"]
    assert run.required_action is not None
    call = run.required_action.submit_tool_outputs.tool_calls[0].id
    api.beta.threads.runs.submit_tool_outputs(
        run.id, thread_id=thread, tool_outputs=[{"tool_call_id": call, "output": "x"}]
    )
    with following(scripted.base_url, thread, run.id, after=asked[-2].id) as events:
        held.release()
        rest = list(events)
    assert names(rest)[:3] == ["run.step.completed", "run.queued", "run.in_progress"]
    assert names(rest)[-1] == "done"
    assert said(rest) == "Sunny."
    whole = names(read(scripted.base_url, thread, run.id))
    assert "run.requires_action" not in whole
    assert whole[-2:] == ["run.completed", "done"]


def test_the_stream_of_a_cancelled_run_ends(
    api: openai.OpenAI, upstream: ScriptedUpstream, assistant: str, thread: str, scripted: ServerProcess
) -> None:
    script(upstream, Held(Text("never"), after_text="sofar"))
    run, last = start(api, thread, assistant)
    with following(scripted.base_url, thread, run, after=last) as events:
        api.beta.threads.runs.cancel(run, thread_id=thread)
        rest = names(list(events))
    assert rest == ["run.cancelling", "message.incomplete", "run.step.cancelled", "run.cancelled", "done"]
    whole = read(scripted.base_url, thread, run)
    assert names(whole)[-5:] == rest
    assert said(whole) == "sofar"


def test_a_stream_goes_on_after_the_server_was_killed_in_the_middle(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path / "data", env=env) as server:
        held = Held(Text("never"), after_text="Half of ")
        script(upstream, held)
        with server.openai(max_retries=0) as api:
            assistant = api.beta.assistants.create(model="m").id
            thread = api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id
            run, last = start(api, thread, assistant)
        server.kill()
        again = Held(Text("thing."), after_text="The whole ")
        script(upstream, again)
        server.start()
        with following(server.base_url, thread, run, after=last) as events:
            told = [next(events)]
            again.release()
            told += events
        assert said(told) == "The whole thing."
        assert names(told)[-4:] == END
        assert tuple(map(int, (told[-2].id or "").split("."))) > tuple(map(int, last.split(".")))
        with server.openai() as api:
            handler = handled(api, thread, run, Snapshots())
            assert handler.get_final_messages()[0] == api.beta.threads.messages.list(thread, run_id=run).data[0]
            assert api.beta.threads.runs.retrieve(run, thread_id=thread).status == "completed"


def test_a_stream_ends_cleanly_when_the_server_stops_and_is_resumed_at_the_next(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path / "data", env=env) as server:
        script(upstream, Held(Text("never"), after_text="Half "))
        with server.openai(max_retries=0) as api:
            assistant = api.beta.assistants.create(model="m").id
            thread = api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id
            run, last = start(api, thread, assistant)
        with following(server.base_url, thread, run, after=last) as events:
            assert server.stop() == 0
            rest = list(events)
        assert names(rest) == ["error", "done"]
        error = rest[0].data
        assert error["message"] == error["error"]["message"]
        assert "the server is stopping" in error["message"]
        script(upstream, Text("All of it."))
        server.start()
        assert said(read(server.base_url, thread, run, after=last)) == "All of it."


def test_a_run_of_another_server_is_followed_by_its_rows(
    tmp_path: Path, upstream: ScriptedUpstream, postgres: PostgresServer
) -> None:
    env = {
        "LOCUM_MODEL_BASE_URL": upstream.base_url,
        "LOCUM_DATABASE_URL": postgres.create(),
        "LOCUM_SANDBOX": "off",
    }
    with ServerProcess(tmp_path / "a", env=env) as worker, ServerProcess(tmp_path / "b", env=env) as other:
        held = Held(Text("answer."), after_text="The ")
        script(upstream, held)
        with worker.openai(max_retries=0) as api:
            assistant = api.beta.assistants.create(model="m").id
            thread = api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id
            run, last = start(api, thread, assistant)
            with following(other.base_url, thread, run, after=last) as events:
                told: list[Event] = [next(events)]
                held.release()
                told += events
            assert [each for each in names(told) if each != "message.delta"] == [*ANSWER, *END]
            assert said(told) == "The answer."
            assert told[-2].data == api.beta.threads.runs.retrieve(run, thread_id=thread).to_dict()
            assert names(read(other.base_url, thread, run)) == names(told)


def test_every_mount_has_the_events(
    api: openai.OpenAI, upstream: ScriptedUpstream, assistant: str, thread: str, scripted: ServerProcess
) -> None:
    script(upstream, Text("Hello."))
    run = finished(api, thread, assistant)
    with openai.OpenAI(base_url=scripted.azure_endpoint, api_key="any") as raw:
        for path in (
            f"/v1/threads/{thread}/runs/{run}/events",
            f"/openai/v1/threads/{thread}/runs/{run}/events",
            f"/openai/threads/{thread}/runs/{run}/events?api-version=2024-05-01-preview",
            f"/openai/threads/{thread}/runs/{run}/events?api-version=2024-02-15-preview",
            f"/openai/deployments/d/threads/{thread}/runs/{run}/events?api-version=2024-05-01-preview",
        ):
            body = raw.get(path, cast_to=str, options={"headers": BETA})
            assert body.endswith("event: done\ndata: [DONE]\n\n"), path


def test_the_events_of_an_unknown_run_are_not_found(api: openai.OpenAI, thread: str) -> None:
    for path, message in (
        (f"/threads/{thread}/runs/run_x/events", "No run found with id 'run_x'."),
        ("/threads/thread_x/runs/run_x/events", "No thread found with id 'thread_x'."),
    ):
        with pytest.raises(openai.NotFoundError, match=message):
            api.get(path, cast_to=str, options={"headers": BETA})
