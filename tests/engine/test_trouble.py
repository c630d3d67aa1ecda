"""What goes wrong around a run: callers that change things under it, processes that sleep, odd models."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import openai
import pytest

from tests.engine.test_runs import texts, wait_for
from tests.models.upstream import Call, Hang, Held, Raw, ScriptedUpstream, Text
from tests.serving import ServerProcess


def message_in_progress(api: openai.AzureOpenAI, thread: str) -> str:
    deadline = time.monotonic() + 20
    while True:
        newest = api.beta.threads.messages.list(thread).data[0]
        if newest.status == "in_progress":
            return newest.id
        assert time.monotonic() < deadline


def test_a_run_whose_open_message_was_deleted_can_still_be_cancelled(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Hang("so far")])
    run = api.beta.threads.runs.create(thread, assistant_id=assistant)
    api.beta.threads.messages.delete(message_in_progress(api, thread), thread_id=thread)
    api.beta.threads.runs.cancel(run.id, thread_id=thread)
    wait_for(api, run, "cancelled")
    api.beta.threads.messages.create(thread, role="user", content="free again")


def test_a_run_whose_open_message_was_deleted_completes_without_it(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    held = Held(Text("the rest"), after_text="so far ")
    upstream.script([held])
    run = api.beta.threads.runs.create(thread, assistant_id=assistant)
    api.beta.threads.messages.delete(message_in_progress(api, thread), thread_id=thread)
    held.release()
    wait_for(api, run, "completed")
    assert texts(api, thread) == [("user", "hello")]


def test_a_cut_answer_whose_open_message_was_deleted_is_asked_for_again_and_leaves_nothing_open(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    upstream.script([Hang("so far"), Text("Again.")])
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path / "data", env=env) as server:
        with server.azure(max_retries=0) as api:
            assistant = api.beta.assistants.create(model="m").id
            thread = api.beta.threads.create(messages=[{"role": "user", "content": "hello"}]).id
            run = api.beta.threads.runs.create(thread, assistant_id=assistant)
            api.beta.threads.messages.delete(message_in_progress(api, thread), thread_id=thread)
        server.kill()
        server.start()
        with server.azure(max_retries=0) as api:
            wait_for(api, run, "completed")
            assert texts(api, thread) == [("user", "hello"), ("assistant", "Again.")]
            steps = api.beta.threads.runs.steps.list(run.id, thread_id=thread).data
            assert [step.status for step in steps] == ["completed"]


def test_a_run_that_is_cancelled_while_its_budget_runs_out_is_cancelled(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str
) -> None:
    ends = set()
    for _ in range(20):
        thread = api.beta.threads.create(messages=[{"role": "user", "content": "hello"}]).id
        held = Held(Text("the rest", finish_reason="length"), after_text="so far ")
        upstream.script([held])
        run = api.beta.threads.runs.create(thread, assistant_id=assistant, max_completion_tokens=256)
        message_in_progress(api, thread)
        held.release()
        with suppress(openai.BadRequestError):  # it was over already
            api.beta.threads.runs.cancel(run.id, thread_id=thread)
        ends.add(wait_for(api, run, "cancelled", "incomplete", "failed").status)
    assert ends <= {"cancelled", "incomplete"}


def test_metadata_given_to_an_open_message_stays(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    held = Held(Text("the rest"), after_text="so far ")
    upstream.script([held])
    run = api.beta.threads.runs.create(thread, assistant_id=assistant)
    api.beta.threads.messages.update(message_in_progress(api, thread), thread_id=thread, metadata={"k": "v"})
    held.release()
    wait_for(api, run, "completed")
    newest = api.beta.threads.messages.list(thread).data[0]
    assert (newest.metadata, texts(api, thread)[-1][1]) == ({"k": "v"}, "so far the rest")


def test_a_run_that_waits_for_a_slot_can_be_cancelled_and_its_thread_deleted(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_RUN_SLOTS": "1", "LOCUM_SANDBOX": "off"}
        with ServerProcess(tmp_path / "data", env=env) as server, server.azure(max_retries=0) as api:
            upstream.script([Hang("busy")])
            assistant = api.beta.assistants.create(model="m").id
            threads = [api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id for _ in range(3)]
            api.beta.threads.runs.create(threads[0], assistant_id=assistant)
            upstream.wait(lambda: len(upstream.requests) == 1)
            names = []
            with api.beta.threads.runs.create(threads[1], assistant_id=assistant, stream=True) as stream:
                for event in stream:
                    names.append(event.event)
                    if event.event == "thread.run.queued":
                        api.beta.threads.runs.cancel(event.data.id, thread_id=threads[1])
            assert names[2:] == ["thread.run.cancelling", "thread.run.cancelled"]
            with (
                api.beta.threads.runs.create(threads[2], assistant_id=assistant, stream=True) as stream,
                pytest.raises(openai.APIError, match="deleted"),
            ):
                for event in stream:
                    if event.event == "thread.run.queued":
                        api.beta.threads.delete(threads[2])


def test_a_run_that_is_due_when_the_server_starts_expires_without_a_model_call(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.script([Hang("x")])
        env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_RUN_EXPIRY_SECONDS": "2", "LOCUM_SANDBOX": "off"}
        with ServerProcess(tmp_path / "data", env=env) as server:
            with server.azure() as api:
                assistant = api.beta.assistants.create(model="m").id
                thread = api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id
                run = api.beta.threads.runs.create(thread, assistant_id=assistant)
                upstream.wait(lambda: len(upstream.requests) == 1)
            server.kill()
            assert run.expires_at is not None
            while time.time() <= run.expires_at:
                os.sched_yield()
            server.start()
            with server.azure() as api:
                assert wait_for(api, run, "expired").last_error is None
            assert len(upstream.requests) == 1


@pytest.mark.long
def test_a_process_that_slept_longer_than_its_lease_goes_on_with_its_runs(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        held = Held(Text("the rest"), after_text="so far ")
        upstream.script([held])
        env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
        with ServerProcess(tmp_path / "data", env=env) as server, server.azure() as api:
            assistant = api.beta.assistants.create(model="m").id
            thread = api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id
            names = []
            with api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream:
                for event in stream:
                    names.append(event.event)
                    if event.event == "thread.message.delta" and not held._released:
                        os.kill(server.pid, signal.SIGSTOP)
                        deadline = time.monotonic() + 12
                        while time.monotonic() < deadline:
                            os.sched_yield()
                        os.kill(server.pid, signal.SIGCONT)
                        held.release()
            assert names[-1] == "thread.run.completed"
            assert names.count("thread.run.in_progress") == 1
            assert len(upstream.requests) == 1
            assert texts(api, thread) == [("user", "x"), ("assistant", "so far the rest")]


def test_a_run_that_wants_no_tools_runs_no_code_even_if_the_model_calls_for_it(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Call("code_interpreter", {"code": "1"})])
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant, tool_choice="none")
    assert run.status == "failed"
    assert run.last_error is not None
    assert "does not have" in run.last_error.message
    assert run.usage is not None
    assert run.usage.total_tokens == 15


def test_a_model_that_never_stops_calling_tools_is_stopped(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.answer = lambda body: Call("code_interpreter", {"code": "1"})
    asked = len(upstream.requests)
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    assert run.last_error is not None
    assert "kept calling tools" in run.last_error.message
    assert len(upstream.requests) - asked == 40
    assert upstream.requests[-1]["tool_choice"] == "none"


def test_a_cut_call_is_asked_again_and_keeps_the_words_that_now_come_first(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    cut = (
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function",'
        b'"function":{"name":"code_interpreter","arguments":"{\\"co"}}]}}]}\n\n'
    )
    upstream.script(
        [Raw([cut], whole=False), Call("code_interpreter", {"code": "'x'"}, text="Let me see."), Text("Done.")]
    )
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    assert texts(api, thread) == [("user", "hello"), ("assistant", "Let me see."), ("assistant", "Done.")]
    steps = api.beta.threads.runs.steps.list(run.id, thread_id=thread, order="asc").data
    assert [step.type for step in steps] == ["message_creation", "tool_calls", "message_creation"]
    said = [m["content"] for m in upstream.requests[-1]["messages"] if m["role"] == "assistant"]
    assert said == ["Let me see."]


@pytest.mark.parametrize("arguments", [r'{"code":"print(\'\ud83d\')"}', '{"code": "print(1)', "print(1)"])
def test_code_in_odd_arguments_is_shown_as_it_is_run(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str, arguments: str
) -> None:
    upstream.script([Call("code_interpreter", arguments), Text("Done.")])
    with api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream:
        events = list(stream)
    assert events[-1].event == "thread.run.completed"
    shown = "".join(
        event.data.delta.step_details.tool_calls[0].code_interpreter.input or ""
        for event in events
        if event.event == "thread.run.step.delta"
    )
    step = api.beta.threads.runs.steps.list(events[0].data.id, thread_id=thread, order="asc").data[0]
    assert step.step_details.tool_calls[0].code_interpreter.input == shown  # type: ignore[union-attr]
    assert shown.startswith("print(")


def test_what_people_say_is_not_in_the_log(scripted_server: ServerProcess) -> None:
    for words in ("hello", "Be brief.", "so far"):
        assert words not in scripted_server.output
