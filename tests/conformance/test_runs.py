"""Behaviours 62-85: runs from queued to their end, and the threads they hold."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conformance.api import WEATHER, Api, seen
from tests.conformance.behaviours import behaviour
from tests.conformance.conftest import Servers
from tests.conformance.searching import ASKED, CONTENT, HANDBOOK, results, searching
from tests.conformance.test_streaming import streamed
from tests.models.upstream import Call, Hang, Held, Status, Text, Usage


@pytest.fixture(params=["openai", "azure"])
def hasty_api(request: pytest.FixtureRequest, hasty: str, on_openai: Api) -> Iterator[Api]:
    """A server whose runs expire after three seconds."""
    api = Api(hasty, on_openai.wire, on_openai.upstream, request.param)
    yield api
    api.close()


OPTIONAL = (
    *("model", "instructions", "additional_instructions", "additional_messages", "tools", "metadata", "temperature"),
    *("top_p", "stream", "max_prompt_tokens", "max_completion_tokens", "truncation_strategy", "tool_choice"),
    *("response_format", "parallel_tool_calls"),
)


@behaviour(62, "A new run is queued and expires in ten minutes; what it was not told has its default")
def test_a_new_run_is_queued_with_the_defaults(api: Api) -> None:
    assistant, thread = api.assistant(instructions="Be brief."), api.thread()
    api.upstream.script([Text("Hi.")])
    run = api.post(f"/threads/{thread}/runs", {"assistant_id": assistant})
    assert (run["status"], run["started_at"], run["usage"]) == ("queued", None, None)
    assert run["expires_at"] == run["created_at"] + 600
    assert (run["model"], run["instructions"], run["tools"], run["metadata"]) == ("gpt-4o", "Be brief.", [], {})
    assert run["truncation_strategy"] == {"type": "auto", "last_messages": None}
    assert (run["tool_choice"], run["parallel_tool_calls"], run["response_format"]) == ("auto", True, "auto")
    assert (run["temperature"], run["top_p"]) == (1.0, 1.0)
    assert (run["max_prompt_tokens"], run["max_completion_tokens"]) == (None, None)
    assert (run["assistant_id"], run["thread_id"]) == (assistant, thread)
    api.upstream.script([Text("Hi.")])
    empty = api.post("/threads", {})["id"]
    nulls = dict.fromkeys(OPTIONAL)
    same = api.post(f"/threads/{empty}/runs", {"assistant_id": assistant, **nulls})
    own = ("id", "thread_id", "created_at", "expires_at")
    assert {k: v for k, v in same.items() if k not in own} == {k: v for k, v in run.items() if k not in own}
    assert api.until(api.sdk.beta.threads.runs.retrieve(same["id"], thread_id=empty), "completed")
    assert api.until(api.sdk.beta.threads.runs.retrieve(run["id"], thread_id=thread), "completed")


@behaviour(63, "A run completes: completed_at is set, expires_at is not, and its usage is the sum of its steps'")
def test_a_run_completes_with_the_usage_of_its_steps(api: Api) -> None:
    run = api.run(
        Call("get_weather", {"city": "Seoul"}, usage=Usage(100, 20)),
        Text("It rains.", usage=Usage(150, 30)),
        assistant=api.assistant(tools=[WEATHER]),
    )
    assert run.required_action is not None
    outputs = [{"tool_call_id": run.required_action.submit_tool_outputs.tool_calls[0].id, "output": "rain"}]
    run = api.sdk.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=run.thread_id,
        tool_outputs=outputs,  # type: ignore[arg-type]
    )
    assert run.status == "completed"
    assert run.completed_at is not None
    assert run.created_at <= (run.started_at or 0) <= run.completed_at
    assert run.expires_at is None
    assert run.usage is not None
    assert (run.usage.prompt_tokens, run.usage.completion_tokens, run.usage.total_tokens) == (250, 50, 300)
    steps = api.steps(run)
    assert [(step.type, step.usage and step.usage.total_tokens) for step in steps] == [
        ("tool_calls", 120),
        ("message_creation", 180),
    ]


@behaviour(64, "A run needs an assistant_id, and the assistant must exist")
def test_a_run_needs_an_assistant(api: Api) -> None:
    path = f"/threads/{api.thread()}/runs"
    api.refused("POST", path, {}, code="missing_required_parameter", param="assistant_id")
    api.refused("POST", "/threads/runs", {}, code="missing_required_parameter", param="assistant_id")
    for each in (path, "/threads/runs"):
        error = api.refused("POST", each, {"assistant_id": "asst_unknown"}, status=404)
        assert error["message"] == "No assistant found with id 'asst_unknown'."
    assert api.get(path)["data"] == []


@behaviour(65, "A run may have its own model, instructions and tools; the assistant keeps its own")
def test_a_run_overrides_its_assistant(api: Api) -> None:
    assistant = api.assistant(instructions="Old.", tools=[{"type": "code_interpreter"}])
    before = api.get(f"/assistants/{assistant}")
    run = api.run(
        Text("Hi."), assistant=assistant, model="other-model", instructions="New.", tools=[WEATHER], metadata={"a": "b"}
    )
    assert (run.model, run.instructions, run.metadata) == ("other-model", "New.", {"a": "b"})
    assert [tool.type for tool in run.tools] == ["function"]
    (asked,) = api.asked()
    assert seen(asked) == [("system", "New."), ("user", "hello")]
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["get_weather"]
    bare = api.run(Text("Hi."), assistant=assistant, instructions="", tools=[])
    assert (bare.instructions, bare.tools) == ("", [])
    assert not api.asked()[-1].get("tools")
    assert seen(api.asked()[-1]) == [("user", "hello")]
    assert api.get(f"/assistants/{assistant}") == before


@behaviour(66, "additional_instructions reach the model after the instructions; additional_messages are stored first")
def test_additional_instructions_and_messages_reach_the_model(api: Api) -> None:
    run = api.run(
        Text("Hi."),
        assistant=api.assistant(instructions="First."),
        additional_instructions="Second.",
        additional_messages=[
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "Go.", "metadata": {"k": "v"}},
        ],
    )
    (system, hello, yes, go) = seen(api.asked()[0])
    assert system[0] == "system"
    assert system[1].index("First.") < system[1].index("Second.")
    assert [hello, yes, go] == [("user", "hello"), ("assistant", "Yes?"), ("user", "Go.")]
    assert run.instructions == system[1]
    assert api.texts(run.thread_id) == [("user", "hello"), ("assistant", "Yes?"), ("user", "Go."), ("assistant", "Hi.")]
    stored = api.messages(run.thread_id)[2]
    assert (stored.run_id, stored.metadata) == (None, {"k": "v"})


@behaviour(67, "Creating a thread and running it answers the run with the new thread, which has its messages and files")
def test_a_thread_is_created_and_run_at_once(api: Api) -> None:
    file = api.sdk.files.create(file=("a.csv", b"a\n1\n"), purpose="assistants").id
    resources = {"code_interpreter": {"file_ids": [file]}}
    api.upstream.script([Text("Hi.")])
    body = {
        "assistant_id": api.assistant(),
        "thread": {
            "messages": [{"role": "user", "content": "x"}],
            "metadata": {"t": "1"},
            "tool_resources": resources,
        },
        "instructions": "Be kind.",
        "metadata": {"r": "2"},
    }
    made = api.post("/threads/runs", body)
    assert (made["status"], made["instructions"], made["metadata"]) == ("queued", "Be kind.", {"r": "2"})
    thread = api.get(f"/threads/{made['thread_id']}")
    assert (thread["metadata"], thread["tool_resources"]) == ({"t": "1"}, resources)
    run = api.stopped(api.sdk.beta.threads.runs.retrieve(made["id"], thread_id=thread["id"]))
    assert run.status == "completed"
    assert api.texts(thread["id"]) == [("user", "x"), ("assistant", "Hi.")]
    for key in ("additional_messages", "additional_instructions"):
        api.refused("POST", "/threads/runs", {**body, key: "x"}, param=key, code="unknown_parameter")


@behaviour(68, "A thread takes no second run: 400 Thread … already has an active run ….")
def test_a_busy_thread_takes_no_second_run(api: Api) -> None:
    held = Held(Text("done"))
    assistant, thread = api.assistant(), api.thread()
    run = api.start(held, assistant=assistant, thread=thread)
    path, message = f"/threads/{thread}/runs", f"Thread {thread} already has an active run {run.id}."
    error = api.refused("POST", path, {"assistant_id": assistant})
    assert error == {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    more = {"assistant_id": assistant, "additional_messages": [{"role": "user", "content": "x"}]}
    api.refused("POST", path, more)
    api.refused("POST", path, {"assistant_id": assistant, "stream": True})
    held.release()
    assert api.stopped(run).status == "completed"
    assert api.texts(thread) == [("user", "hello"), ("assistant", "done")]
    assert len(api.get(path)["data"]) == 1


@behaviour(69, "A busy thread takes no message, but is still read, and its metadata changed")
def test_a_busy_thread_takes_no_message(api: Api) -> None:
    held = Held(Text("done"))
    run = api.start(held)
    thread = run.thread_id
    error = api.refused("POST", f"/threads/{thread}/messages", {"role": "user", "content": "more"})
    assert error["message"] == f"Can't add messages to {thread} while a run {run.id} is active."
    assert (error["param"], error["code"], error["type"]) == (None, None, "invalid_request_error")
    assert api.post(f"/threads/{thread}", {"metadata": {"a": "b"}})["metadata"] == {"a": "b"}
    message = api.messages(thread)[0].id
    assert api.post(f"/threads/{thread}/messages/{message}", {"metadata": {"c": "d"}})["metadata"] == {"c": "d"}
    held.release()
    api.stopped(run)
    assert api.post(f"/threads/{thread}/messages", {"role": "user", "content": "more"})["role"] == "user"


@behaviour(70, "A thread is free again however its run ended, and after the server was killed and started anew")
@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "incomplete", "expired", "killed"])
def test_a_thread_is_free_after_its_run(on_openai: Api, hasty: str, servers: Servers, end: str) -> None:
    if end == "killed":
        _is_free_after_a_restart(on_openai, servers)
        return
    api = Api(hasty, on_openai.wire, on_openai.upstream) if end == "expired" else on_openai
    replies: dict[str, list[Any]] = {"failed": [Status(401)], "cancelled": [Hang("a")], "expired": [Hang("a")]}
    replies["incomplete"] = [Text("cut", finish_reason="length")]
    run = api.start(*replies.get(end, [Text("Hi.")]), **({"max_completion_tokens": 256} if end == "incomplete" else {}))
    if end == "cancelled":
        api.upstream.wait(lambda: len(api.upstream.requests) == 1)
        api.sdk.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
    assert api.stopped(run).status == end
    api.sdk.beta.threads.messages.create(run.thread_id, role="user", content="again")
    assert api.run(Text("Hi."), thread=run.thread_id).status == "completed"


def _is_free_after_a_restart(api: Api, servers: Servers) -> None:
    server = servers.start(LOCUM_SANDBOX="off")
    before = Api(server.azure_endpoint, api.wire, api.upstream)
    run = before.start(Hang("so far"))
    api.upstream.wait(lambda: len(api.upstream.requests) == 1)
    server.kill()
    before.close()
    api.upstream.answer = lambda _: Text("after all")
    server.start()
    after = Api(server.azure_endpoint, api.wire, api.upstream)
    assert after.stopped(run).status in ("completed", "failed")
    assert after.run(thread=run.thread_id).status == "completed"
    after.close()


@behaviour(71, "Of runs created at once on one thread exactly one is made; the others are 400")
def test_of_runs_created_at_once_one_is_made(api: Api) -> None:
    held = Held(Text("won"))
    api.upstream.script([held])
    assistant, thread = api.assistant(), api.thread()

    def create(_: int) -> int:
        return api.call("POST", f"/threads/{thread}/runs", {"assistant_id": assistant}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(create, range(8))) == [200] + [400] * 7
    held.release()
    (run,) = api.sdk.beta.threads.runs.list(thread).data
    assert api.stopped(run).status == "completed"


@behaviour(72, "Runs of different threads are worked on at the same time")
def test_runs_of_different_threads_do_not_wait_for_each_other(api: Api) -> None:
    held = [Held(Text(name)) for name in "abc"]
    runs = [api.start(each) for each in held]
    api.upstream.wait(lambda: len(api.upstream.requests) == 3)
    for each in held[::-1]:
        each.release()
    assert [api.stopped(run).status for run in runs] == ["completed"] * 3


@behaviour(73, "Cancelling: first cancelling, then cancelled; the open message is incomplete, the open step cancelled")
def test_a_run_in_progress_is_cancelled(api: Api) -> None:
    run = api.start(Hang("so far"))
    while len(api.messages(run.thread_id)) < 2:
        assert api.sdk.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status in ("queued", "in_progress")
    cancelling = api.post(f"/threads/{run.thread_id}/runs/{run.id}/cancel")
    assert (cancelling["status"], cancelling["expires_at"]) == ("cancelling", run.expires_at)
    cancelled = api.stopped(run)
    assert cancelled.status == "cancelled"
    assert cancelled.cancelled_at is not None
    message = api.messages(run.thread_id)[-1]
    assert (message.status, message.role) == ("incomplete", "assistant")
    assert message.incomplete_details is not None
    assert message.incomplete_details.reason == "run_cancelled"
    (step,) = api.steps(run)
    assert step.status == "cancelled"


@behaviour(
    74, "A run that waits for outputs can be cancelled; one that has ended cannot: Cannot cancel run with status …"
)
def test_a_waiting_run_is_cancelled_and_an_ended_one_is_not(api: Api) -> None:
    run = api.run(Call("get_weather", {"city": "Seoul"}), assistant=api.assistant(tools=[WEATHER]))
    assert run.status == "requires_action"
    path = f"/threads/{run.thread_id}/runs/{run.id}"
    api.post(f"{path}/cancel")
    assert api.until(run, "cancelled").required_action is None
    assert [step.status for step in api.steps(run)] == ["cancelled"]
    done = api.run(Text("Hi."))
    for each, status in [(run, "cancelled"), (done, "completed")]:
        error = api.refused("POST", f"/threads/{each.thread_id}/runs/{each.id}/cancel")
        assert error["message"] == f"Cannot cancel run with status '{status}'."


@behaviour(75, "A model server that fails makes the run failed: failed_at, last_error server_error, nothing left open")
def test_a_failing_model_fails_the_run(api: Api) -> None:
    api.upstream.answer = lambda _: Status(500)
    run = api.run()
    assert (run.status, run.expires_at) == ("failed", None)
    assert run.failed_at is not None
    assert run.last_error is not None
    assert run.last_error.code == "server_error"
    assert all(step.status == "failed" for step in api.steps(run))
    assert all(message.status != "in_progress" for message in api.messages(run.thread_id))


@behaviour(76, "A model server that answers 429 makes the run failed with rate_limit_exceeded")
def test_a_model_over_its_quota_fails_the_run(api: Api) -> None:
    api.upstream.answer = lambda _: Status(429, {"Retry-After": "0"})
    run = api.run()
    assert run.status == "failed"
    assert run.last_error is not None
    assert run.last_error.code == "rate_limit_exceeded"


@behaviour(77, "A run that has not ended by expires_at is expired: its step too, its message incomplete")
def test_a_run_expires(hasty_api: Api) -> None:
    run = hasty_api.start(Hang("so far"))
    hasty_api.upstream.wait(lambda: len(hasty_api.upstream.requests) == 1)
    assert run.expires_at == run.created_at + 3
    told = streamed(hasty_api, Hang("so far"))
    assert [event.name for event in told][-4:] == [
        *("thread.message.incomplete", "thread.run.step.expired", "thread.run.expired", "done")
    ]
    expired = hasty_api.stopped(run)
    assert (expired.status, expired.required_action) == ("expired", None)
    (step,) = hasty_api.steps(run)
    assert step.status == "expired"
    assert (step.expired_at or 0) >= run.expires_at
    message = hasty_api.messages(run.thread_id)[-1]
    assert message.incomplete_details is not None
    assert message.incomplete_details.reason == "run_expired"


@behaviour(78, "An update of a run changes its metadata and nothing else")
def test_only_the_metadata_of_a_run_changes(api: Api) -> None:
    run = api.run(Text("Hi."), metadata={"a": "1"})
    path = f"/threads/{run.thread_id}/runs/{run.id}"
    before = api.get(path)
    assert api.post(path, {"metadata": {"b": "2"}}) == {**before, "metadata": {"b": "2"}}
    for key, value in [("status", "failed"), ("instructions", "x"), ("model", "x")]:
        api.refused("POST", path, {key: value}, code="unknown_parameter", param=key)
    assert api.get(path) == {**before, "metadata": {"b": "2"}}


@behaviour(79, "Runs are listed in pages; an unknown one is 404")
def test_runs_are_listed(api: Api) -> None:
    assistant, thread = api.assistant(), api.thread()
    runs = [api.run(Text(str(n)), assistant=assistant, thread=thread).id for n in range(5)]
    path = f"/threads/{thread}/runs"
    page = api.get(path, limit=2)
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (runs[:2:-1], True)
    assert [each.id for each in api.sdk.beta.threads.runs.list(thread, limit=2)] == runs[::-1]
    assert [each.id for each in api.sdk.beta.threads.runs.list(thread, limit=2, order="asc")] == runs
    error = api.refused("GET", f"{path}/run_unknown", status=404)
    assert error["message"] == "No run found with id 'run_unknown'."
    api.refused("GET", f"/threads/{api.thread()}/runs/{runs[0]}", status=404)


@behaviour(80, "A step names the message it made and its usage; steps are listed newest first")
def test_steps_tell_what_a_run_did(api: Api) -> None:
    run = api.run(Call("get_weather", {"city": "Seoul"}), Text("It rains."), assistant=api.assistant(tools=[WEATHER]))
    assert run.required_action is not None
    call = run.required_action.submit_tool_outputs.tool_calls[0].id
    api.sdk.beta.threads.runs.submit_tool_outputs(
        run.id, thread_id=run.thread_id, tool_outputs=[{"tool_call_id": call, "output": "rain"}]
    )
    api.stopped(run)
    path = f"/threads/{run.thread_id}/runs/{run.id}/steps"
    newest, oldest = api.get(path)["data"]
    assert (newest["type"], oldest["type"]) == ("message_creation", "tool_calls")
    message = newest["step_details"]["message_creation"]["message_id"]
    assert api.get(f"/threads/{run.thread_id}/messages/{message}")["run_id"] == run.id
    assert oldest["step_details"]["tool_calls"][0]["id"] == call
    for step in (newest, oldest):
        assert (step["run_id"], step["thread_id"], step["assistant_id"]) == (run.id, run.thread_id, run.assistant_id)
        assert (step["status"], step["usage"]["total_tokens"]) == ("completed", 15)
        assert api.get(f"{path}/{step['id']}") == step
    assert [each["id"] for each in api.get(path, limit=1, order="asc")["data"]] == [oldest["id"]]
    assert [each["id"] for each in api.get(path, after=newest["id"])["data"]] == [oldest["id"]]
    include = {"include[]": "step_details.tool_calls[*].file_search.results[*].content"}
    assert api.get(path, **include)["data"] == [newest, oldest]
    error = api.refused("GET", f"{path}/step_unknown", status=404)
    assert error["message"] == "No run step found with id 'step_unknown'."


@behaviour(81, "include[] adds what file_search found to steps")
def test_steps_include_what_was_found(api: Api) -> None:
    assistant, _ = searching(api, {"handbook.txt": HANDBOOK})
    run = api.run(ASKED, Text("25."), assistant=assistant)
    (result,) = results(api, run)
    assert result.content is None
    (result,) = results(api, run, include=[CONTENT])
    (content,) = result.content
    assert (content.type, content.text.strip()) == ("text", HANDBOOK.decode().strip())
    path = f"/threads/{run.thread_id}/runs/{run.id}/steps"
    step = api.steps(run)[0].id
    assert "content" not in api.get(f"{path}/{step}")["step_details"]["tool_calls"][0]["file_search"]["results"][0]
    shown = api.get(f"{path}/{step}", **{"include[]": CONTENT})["step_details"]["tool_calls"][0]["file_search"]
    assert shown["results"][0]["content"][0]["text"] == content.text


@behaviour(82, "A run takes up to 128 tools of its own, not 129")
def test_a_run_takes_at_most_128_tools(api: Api) -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": f"f{n}"}} for n in range(129)]
    body = {"assistant_id": api.assistant(), "tools": tools}
    api.refused("POST", f"/threads/{api.thread()}/runs", body, code="array_above_max_length", param="tools")
    run = api.run(Text("Hi."), tools=tools[:128])
    assert (run.status, len(run.tools), len(api.asked()[0]["tools"])) == ("completed", 128, 128)


@behaviour(83, "The SDK's poll helpers return runs that have ended")
def test_the_poll_helpers_return_ended_runs(api: Api) -> None:
    runs = api.sdk.beta.threads.runs
    assistant = api.assistant(tools=[WEATHER])
    api.upstream.script([Text("one"), Text("two"), Call("get_weather", {}), Text("three")])
    done = api.sdk.beta.threads.create_and_run_poll(assistant_id=assistant)
    assert done.status == "completed"
    assert runs.create_and_poll(thread_id=done.thread_id, assistant_id=assistant).status == "completed"
    waiting = runs.create_and_poll(thread_id=done.thread_id, assistant_id=assistant)
    assert waiting.status == "requires_action"
    assert waiting.required_action is not None
    ended = runs.submit_tool_outputs_and_poll(
        run_id=waiting.id,
        thread_id=done.thread_id,
        tool_outputs=[
            {"tool_call_id": call.id, "output": "x"} for call in waiting.required_action.submit_tool_outputs.tool_calls
        ],
    )
    assert ended.status == "completed"
    assert runs.poll(ended.id, thread_id=done.thread_id) == ended


@behaviour(84, "A run keeps the model, instructions and tools it began with when its assistant changes or is deleted")
def test_a_run_keeps_what_it_began_with(api: Api) -> None:
    assistant = api.assistant(instructions="Old.", tools=[WEATHER])
    held = Held(Text("Hi."))
    run = api.start(held, assistant=assistant)
    api.upstream.wait(lambda: len(api.upstream.requests) == 1)
    api.sdk.beta.assistants.update(assistant, model="new-model", instructions="New.", tools=[])
    api.sdk.beta.assistants.delete(assistant)
    held.release()
    ended = api.stopped(run)
    assert (ended.status, ended.model, ended.instructions) == ("completed", "gpt-4o", "Old.")
    assert [tool.type for tool in ended.tools] == ["function"]


@behaviour(85, "v1: a run shows its assistant's files, and may end incomplete")
@pytest.mark.parametrize("surface", ["openai", "azure"])
def test_v1_runs_have_files(on_openai: Api, surface: str) -> None:
    with on_openai.speaking(surface=surface, version=1) as v1:
        file = v1.sdk.files.create(file=("a.txt", b"x"), purpose="assistants").id
        body = {"model": "m", "tools": [{"type": "code_interpreter"}], "file_ids": [file]}
        assistant = v1.post("/assistants", body)["id"]
        thread = v1.post("/threads", {"messages": [{"role": "user", "content": "x"}]})["id"]
        v1.upstream.script([Text("cut", finish_reason="length")])
        made = v1.post(f"/threads/{thread}/runs", {"assistant_id": assistant, "max_completion_tokens": 256})
        assert (made["file_ids"], made["status"]) == ([file], "queued")
        run = v1.sdk.beta.threads.runs.retrieve(made["id"], thread_id=thread)
        ended = v1.until(run, "incomplete", "completed", "failed")
        assert ended.status == "incomplete"
        message = v1.get(f"/threads/{thread}/messages")["data"][0]
        assert (message["file_ids"], message["status"]) == ([], "incomplete")
        assert v1.get(f"/threads/{thread}/runs/{made['id']}/steps")["data"][0]["type"] == "message_creation"
