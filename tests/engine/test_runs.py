"""The life of a run, seen through the unmodified SDK, with a scripted model behind the server."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from openai.types.beta.threads import Run

from tests.models.upstream import Call, Cut, Hang, Held, Raw, ScriptedUpstream, Status, Text, Usage
from tests.serving import ServerProcess


def texts(api: openai.AzureOpenAI, thread: str) -> list[tuple[str, str]]:
    """(role, text) of the thread's messages, oldest first."""
    listed = api.beta.threads.messages.list(thread, order="asc", limit=100).data
    return [(m.role, "".join(part.text.value for part in m.content if part.type == "text")) for m in listed]


def wait_for(api: openai.AzureOpenAI, run: Run, *statuses: str) -> Run:
    deadline = time.monotonic() + 30
    while run.status not in statuses:
        assert time.monotonic() < deadline, f"still {run.status}"
        run = api.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)
    return run


def test_a_created_run_is_queued_with_everything_unset_that_is_to_come(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Text("Hi.")])
    run = api.beta.threads.runs.create(thread, assistant_id=assistant)
    assert (run.status, run.started_at, run.completed_at, run.usage) == ("queued", None, None, None)
    assert run.expires_at == run.created_at + 60
    assert run.instructions == "Be brief."
    wait_for(api, run, "completed")


def test_a_run_completes_with_one_message_one_step_and_the_usage_reported(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Text("Hi there.", usage=Usage(11, 7))])
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    assert run.status == "completed"
    assert run.usage is not None
    assert (run.usage.prompt_tokens, run.usage.completion_tokens, run.usage.total_tokens) == (11, 7, 18)
    assert run.expires_at is None
    (step,) = api.beta.threads.runs.steps.list(run.id, thread_id=thread).data
    assert step.status == "completed"
    assert step.usage is not None
    assert step.usage.model_dump() == run.usage.model_dump()
    message = api.beta.threads.messages.list(thread).data[0]
    assert step.step_details.type == "message_creation"
    assert step.step_details.message_creation.message_id == message.id
    assert (message.run_id, message.assistant_id, message.status) == (run.id, assistant, "completed")
    assert texts(api, thread) == [("user", "hello"), ("assistant", "Hi there.")]


def test_the_model_sees_instructions_thread_and_tools(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Text("Hi.")])
    before = len(upstream.requests)
    api.beta.threads.runs.create_and_poll(
        thread_id=thread,
        assistant_id=assistant,
        additional_instructions="Be kind.",
        additional_messages=[{"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Go."}],
        temperature=0,
    )
    body = upstream.requests[before]
    assert [(m["role"], m["content"]) for m in body["messages"]] == [
        ("system", "Be brief.\n\nBe kind."),
        ("user", "hello"),
        ("assistant", "Yes?"),
        ("user", "Go."),
    ]
    assert body["temperature"] == 0
    assert [tool["function"]["name"] for tool in body["tools"]] == ["code_interpreter"]


def test_only_the_newest_messages_are_seen_where_the_run_says_so(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str
) -> None:
    upstream.script([Text("Hi.")])
    before = len(upstream.requests)
    thread = api.beta.threads.create(messages=[{"role": "user", "content": str(n)} for n in range(5)]).id
    api.beta.threads.runs.create_and_poll(
        thread_id=thread, assistant_id=assistant, truncation_strategy={"type": "last_messages", "last_messages": 2}
    )
    assert [m["content"] for m in upstream.requests[before]["messages"]] == ["Be brief.", "3", "4"]


def test_a_streamed_text_run_tells_its_events_in_the_hosted_order(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Text("one two three")])
    with api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream:
        events = list(stream)
    names = [event.event for event in events]
    assert names == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.delta",
        "thread.message.delta",
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
    ]
    assert events[0].data.status == events[1].data.status == "queued"
    assert events[5].data.content == []
    assert events[-1].data.usage is not None
    final = api.beta.threads.runs.retrieve(events[0].data.id, thread_id=thread)
    assert events[-1].data == final


def test_what_the_sdk_gathers_from_deltas_is_the_message(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Text("café 한국어 😀 end")])
    with api.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant) as stream:
        stream.until_done()
        (message,) = stream.get_final_messages()
    assert message.content[0].text.value == "café 한국어 😀 end"  # type: ignore[union-attr]
    assert texts(api, thread)[-1] == ("assistant", "café 한국어 😀 end")


def test_a_stream_with_its_thread_begins_with_the_thread(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str
) -> None:
    upstream.script([Text("Hi.")])
    with api.beta.threads.create_and_run(
        assistant_id=assistant, thread={"messages": [{"role": "user", "content": "x"}]}, stream=True
    ) as stream:
        names = [event.event for event in stream]
    assert names[:2] == ["thread.created", "thread.run.created"]
    assert names[-1] == "thread.run.completed"


def test_a_busy_thread_takes_no_message_and_no_run_and_is_free_afterwards(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    held = Held(Text("done"))
    upstream.script([held])
    run = api.beta.threads.runs.create(thread, assistant_id=assistant)
    with pytest.raises(openai.BadRequestError, match=f"Can't add messages to {thread} while a run {run.id} is active."):
        api.beta.threads.messages.create(thread, role="user", content="more")
    with pytest.raises(openai.BadRequestError, match=f"Thread {thread} already has an active run {run.id}."):
        api.beta.threads.runs.create(thread, assistant_id=assistant)
    api.beta.threads.update(thread, metadata={"still": "allowed"})
    held.release()
    wait_for(api, run, "completed")
    api.beta.threads.messages.create(thread, role="user", content="more")


def test_of_runs_that_race_for_a_thread_exactly_one_wins(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    held = Held(Text("won"))
    upstream.script([held])

    def create(_: int) -> Run | None:
        try:
            return api.beta.threads.runs.create(thread, assistant_id=assistant)
        except openai.BadRequestError:
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [run for run in pool.map(create, range(8)) if run]
    assert len(won) == 1
    held.release()
    wait_for(api, won[0], "completed")


def test_a_message_and_a_run_that_race_never_leave_a_message_the_run_did_not_see(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str
) -> None:
    upstream.answer = lambda body: Text("saw " + body["messages"][-1]["content"])
    for _ in range(5):
        thread = api.beta.threads.create(messages=[{"role": "user", "content": "first"}]).id
        barrier = threading.Barrier(2)

        def say(thread: str = thread, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            try:
                api.beta.threads.messages.create(thread, role="user", content="second")
            except openai.BadRequestError:
                return False
            return True

        def go(thread: str = thread, barrier: threading.Barrier = barrier) -> Run:
            barrier.wait()
            return api.beta.threads.runs.create(thread, assistant_id=assistant)

        with ThreadPoolExecutor(2) as pool:
            said, run = pool.submit(say), pool.submit(go)
            wait_for(api, run.result(), "completed")
            expected = "second" if said.result() else "first"
        answer = next(text for role, text in texts(api, thread) if role == "assistant")
        # A message that was accepted came before the run, or after its end.
        assert answer == f"saw {expected}" or texts(api, thread)[-1] == ("user", "second")


def test_runs_of_different_threads_are_worked_on_at_once(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str
) -> None:
    held = [Held(Text("a")), Held(Text("b"))]
    upstream.script(held)
    before = len(upstream.requests)
    runs = [
        api.beta.threads.create_and_run(assistant_id=assistant, thread={"messages": [{"role": "user", "content": "x"}]})
        for _ in held
    ]
    upstream.wait(lambda: len(upstream.requests) == before + 2)
    for each in held:
        each.release()
    assert [wait_for(api, run, "completed").status for run in runs] == ["completed", "completed"]


def test_cancelling_closes_the_upstream_and_keeps_what_was_said(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Hang(after_text="so far")])
    disconnects = upstream.disconnects
    run = api.beta.threads.runs.create(thread, assistant_id=assistant)
    deadline = time.monotonic() + 20
    while len(texts(api, thread)) < 2:
        assert time.monotonic() < deadline
    cancelling = api.beta.threads.runs.cancel(run.id, thread_id=thread)
    assert (cancelling.status, cancelling.expires_at) == ("cancelling", run.expires_at)
    ended = wait_for(api, run, "cancelled")
    assert ended.cancelled_at is not None
    upstream.wait(lambda: upstream.disconnects > disconnects)
    message = api.beta.threads.messages.list(thread).data[0]
    assert message.status == "incomplete"
    assert message.incomplete_details is not None
    assert message.incomplete_details.reason == "run_cancelled"
    assert message.content[0].text.value == "so far"  # type: ignore[union-attr]
    (step,) = api.beta.threads.runs.steps.list(run.id, thread_id=thread).data
    assert step.status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status 'cancelled'."):
        api.beta.threads.runs.cancel(run.id, thread_id=thread)


def test_a_stream_of_a_run_that_is_cancelled_ends_with_its_end(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Hang(after_text="so far")])
    names = []
    with api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream:
        for event in stream:
            names.append(event.event)
            if event.event == "thread.message.delta" and names.count(event.event) == 1:
                run = api.beta.threads.runs.list(thread).data[0]
                api.beta.threads.runs.cancel(run.id, thread_id=thread)
    assert names[-4:] == [
        "thread.run.cancelling",
        "thread.message.incomplete",
        "thread.run.step.cancelled",
        "thread.run.cancelled",
    ]


def test_a_client_that_leaves_its_stream_does_not_stop_the_run(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    held = Held(Text("all of it"), after_text="part, ")
    upstream.script([held])
    with api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream:
        run = next(iter(stream)).data
    held.release()
    assert wait_for(api, run, "completed").status == "completed"  # type: ignore[arg-type]
    assert texts(api, thread)[-1] == ("assistant", "part, all of it")


@pytest.mark.parametrize(
    ("replies", "code", "words"),
    [
        ([Status(500)] * 3, "server_error", "500"),
        ([Status(429, {"Retry-After": "0"})] * 3, "rate_limit_exceeded", "429"),
        ([Status(401)], "server_error", "LOCUM_MODEL_API_KEY"),
        ([Status(404)], "server_error", "LOCUM_MODEL"),
        ([Status(400, body={"error": {"message": "bad words"}})], "invalid_prompt", "bad words"),
        ([Raw(b"<html>", content_type="text/html")], "server_error", "LOCUM_MODEL_BASE_URL"),
        ([Call("browser", {"url": "x"})], "server_error", "browser"),
    ],
)
def test_a_model_that_gives_no_answer_fails_the_run_in_words_and_frees_the_thread(
    api: openai.AzureOpenAI,
    upstream: ScriptedUpstream,
    assistant: str,
    thread: str,
    replies: list[Status],
    code: str,
    words: str,
) -> None:
    upstream.script(replies)
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    assert run.status == "failed"
    assert run.failed_at is not None
    assert run.expires_at is None
    assert run.last_error is not None
    assert run.last_error.code == code
    assert words in run.last_error.message
    api.beta.threads.messages.create(thread, role="user", content="again")
    upstream.script([Text("now")])
    assert api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant).status == "completed"


def test_an_answer_that_was_cut_is_asked_for_again_when_nobody_has_seen_it(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Cut("half an ans"), Text("The whole answer.")])
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    assert run.status == "completed"
    assert texts(api, thread) == [("user", "hello"), ("assistant", "The whole answer.")]
    assert len(api.beta.threads.runs.steps.list(run.id, thread_id=thread).data) == 1


def test_an_answer_that_was_cut_in_front_of_a_streaming_client_fails_the_run(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Cut("half an ans"), Text("never asked for")])
    with api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream:
        events = list(stream)
    assert [event.event for event in events[-3:]] == [
        "thread.message.incomplete",
        "thread.run.step.failed",
        "thread.run.failed",
    ]
    assert events[-1].data.last_error is not None
    message = api.beta.threads.messages.list(thread).data[0]
    said = message.content[0].text.value  # type: ignore[union-attr]
    assert said
    assert "half an ans".startswith(said)  # the last word may be lost with the connection


def test_a_call_that_was_cut_after_words_leaves_only_the_answer(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    begun = b'data: {"choices":[{"index":0,"delta":{"content":"Let me see. "}}]}\n\n'
    call = (
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function",'
        b'"function":{"name":"code_interpreter","arguments":"{\\"co"}}]}}]}\n\n'
    )
    upstream.script([Raw([begun, call], whole=False), Text("Done.")])
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    assert run.status == "completed"
    assert texts(api, thread) == [("user", "hello"), ("assistant", "Done.")]
    assert [s.type for s in api.beta.threads.runs.steps.list(run.id, thread_id=thread).data] == ["message_creation"]


def test_deleting_a_thread_stops_its_run(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Hang("x")])
    disconnects, asked = upstream.disconnects, len(upstream.requests)
    run = api.beta.threads.runs.create(thread, assistant_id=assistant)
    upstream.wait(lambda: len(upstream.requests) > asked)
    api.beta.threads.delete(thread)
    upstream.wait(lambda: upstream.disconnects > disconnects)
    with pytest.raises(openai.NotFoundError):
        api.beta.threads.runs.retrieve(run.id, thread_id=thread)


def test_a_run_keeps_what_it_began_with_when_its_assistant_changes_or_goes(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    held = Held(Text("ok"))
    upstream.script([held])
    run = api.beta.threads.runs.create(thread, assistant_id=assistant)
    api.beta.assistants.update(assistant, instructions="Be long.", model="other")
    api.beta.assistants.delete(assistant)
    held.release()
    ended = wait_for(api, run, "completed")
    assert (ended.instructions, ended.model) == ("Be brief.", "gpt-4o")


def test_a_run_that_takes_too_long_expires_with_its_step_and_message(
    upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    upstream.script([Hang("slow")])
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_RUN_EXPIRY_SECONDS": "1", "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path_factory.mktemp("expiry") / "data", env=env) as server, server.openai() as api:
        assistant = api.beta.assistants.create(model="m").id
        thread = api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id
        with api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream:
            names = [event.event for event in stream]
        assert names[-3:] == ["thread.message.incomplete", "thread.run.step.expired", "thread.run.expired"]
        run = api.beta.threads.runs.list(thread).data[0]
        (step,) = api.beta.threads.runs.steps.list(run.id, thread_id=thread).data
        assert (run.status, step.status) == ("expired", "expired")
        assert step.expired_at is not None
        api.beta.threads.messages.create(thread, role="user", content="the thread is free")


def test_a_polling_sdk_learns_of_the_end_at_once(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Text("Hi.")])
    run = api.beta.threads.runs.create(thread, assistant_id=assistant)
    raw = api.beta.threads.runs.with_raw_response.retrieve(
        run.id, thread_id=thread, extra_headers={"X-Stainless-Poll-Helper": "true"}
    )
    assert raw.parse().status == "completed"
    assert int(raw.headers["openai-poll-after-ms"]) <= 100


def test_a_server_that_is_stopped_ends_its_streams_and_goes_on_with_the_run_when_it_is_back(
    upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    held = Held(Text("never finished"), after_text="Begun, ")
    upstream.script([held, Text("Finished.")])
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path_factory.mktemp("stopped") / "data", env=env) as server:
        with server.openai(max_retries=0) as api:
            assistant = api.beta.assistants.create(model="m").id
            thread = api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id
            seen = []
            with (
                api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream,
                pytest.raises(openai.APIError, match="the server is stopping"),
            ):
                for event in stream:
                    seen.append(event.event)
                    if event.event == "thread.message.delta":
                        assert server.stop() == 0
        assert "thread.run.completed" not in seen
        server.start()
        with server.openai() as api:
            wait_for(api, api.beta.threads.runs.list(thread).data[0], "completed")  # type: ignore[arg-type]
            assert texts(api, thread) == [("user", "x"), ("assistant", "Finished.")]  # type: ignore[arg-type]
