"""Function calling, seen through the unmodified SDK, with a scripted model behind the server."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.lib.streaming import AssistantEventHandler
from openai.types.beta.threads import Run

from tests.engine.test_runs import texts, wait_for
from tests.models.upstream import Call, Calls, ScriptedUpstream, Text, Usage
from tests.serving import ServerProcess

RUNS_CODE = True

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": True,
    },
}
CLOCK: Any = {"type": "function", "function": {"name": "clock"}}


@pytest.fixture
def assistant(api: openai.AzureOpenAI) -> str:
    return api.beta.assistants.create(model="gpt-4o", tools=[{"type": "code_interpreter"}, WEATHER, CLOCK]).id


def asked(run: Run) -> list[Any]:
    assert run.required_action is not None
    return run.required_action.submit_tool_outputs.tool_calls


def outputs(run: Run, *values: str) -> Any:
    return [{"tool_call_id": call.id, "output": value} for call, value in zip(asked(run), values, strict=True)]


def test_a_function_call_waits_for_its_caller_and_then_goes_on(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Call("weather", {"city": "Seoul"}, usage=Usage(10, 5)), Text("Sunny.", usage=Usage(20, 3))])
    before = len(upstream.requests)
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    assert run.status == "requires_action"
    (call,) = asked(run)
    assert call.id.startswith("call_")
    assert (call.type, call.function.name, json.loads(call.function.arguments)) == (
        "function",
        "weather",
        {"city": "Seoul"},
    )
    (step,) = api.beta.threads.runs.steps.list(run.id, thread_id=thread).data
    assert (step.status, step.usage, step.step_details.tool_calls[0].function.output) == ("in_progress", None, None)

    resumed = api.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread, tool_outputs=outputs(run, "sun"))
    assert (resumed.status, resumed.required_action, resumed.expires_at) == ("queued", None, run.expires_at)
    done = wait_for(api, resumed, "completed")
    assert done.usage is not None
    assert done.usage.total_tokens == 38
    assert texts(api, thread)[-1] == ("assistant", "Sunny.")
    function = api.beta.threads.runs.steps.list(run.id, thread_id=thread, order="asc").data[0]
    assert (function.status, function.step_details.tool_calls[0].function.output) == ("completed", "sun")
    told = upstream.requests[before + 1]["messages"]
    assert told[-2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": call.function.arguments}
    assert (told[-1]["role"], told[-1]["content"]) == ("tool", "sun")
    offered = upstream.requests[before]["tools"]
    assert [each["function"]["name"] for each in offered] == ["code_interpreter", "weather", "clock"]
    assert offered[1]["function"] == WEATHER["function"]


def test_all_calls_of_a_turn_are_submitted_together_and_exactly(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Calls([Call("weather", {"city": "Seoul"}), Call("clock", {})]), Text("Done.")])
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    first, second = (call.id for call in asked(run))
    wrong: list[Any] = [
        [first],
        [],
        [first, "call_unknown"],
        [first, first],
        [first, second, second],
        [first, second, "call_x"],
    ]
    for ids in wrong:
        with pytest.raises(openai.BadRequestError) as refused:
            api.beta.threads.runs.submit_tool_outputs(
                run.id, thread_id=thread, tool_outputs=[{"tool_call_id": each, "output": "x"} for each in ids]
            )
        assert refused.value.body == {
            "message": f"Expected tool outputs for call_ids ['{first}', '{second}'], got {ids}",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
        assert api.beta.threads.runs.retrieve(run.id, thread_id=thread).status == "requires_action"
    done = api.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=thread,
        tool_outputs=[{"tool_call_id": second, "output": ""}, {"tool_call_id": first, "output": "sun"}],
    )
    assert done.status == "completed"
    (_, step) = api.beta.threads.runs.steps.list(run.id, thread_id=thread).data
    assert [call.function.output for call in step.step_details.tool_calls] == ["sun", ""]


def test_outputs_that_nobody_waits_for_are_refused_in_the_hosted_words(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Text("Hi.")])
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    with pytest.raises(openai.BadRequestError) as refused:
        api.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=thread, tool_outputs=[{"tool_call_id": "call_1", "output": "x"}]
        )
    assert refused.value.body["message"] == 'Runs in status "completed" do not accept tool outputs.'  # type: ignore[index]


def test_a_run_may_ask_several_times_and_hosted_tools_run_first(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script(
        [
            Calls([Call("weather", {"city": "Seoul"}), Call("code_interpreter", {"code": "print(6 * 7)"})]),
            Call("clock", "{not json"),
            Text("Both."),
        ]
    )
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    assert [call.function.name for call in asked(run)] == ["weather"]
    (step,) = api.beta.threads.runs.steps.list(run.id, thread_id=thread).data
    assert step.step_details.tool_calls[1].code_interpreter.outputs[0].logs == "42\n"
    run = api.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread, tool_outputs=outputs(run, "sun")
    )
    assert [call.function.arguments for call in asked(run)] == ["{not json"]
    run = api.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread, tool_outputs=outputs(run, "noon")
    )
    assert run.status == "completed"


def test_one_call_at_a_time_where_the_run_says_so_even_from_a_model_that_does_not_keep_to_it(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Calls([Call("weather", {"city": "Seoul"}), Call("clock", {})]), Text("Done.")])
    before = len(upstream.requests)
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant, parallel_tool_calls=False)
    assert upstream.requests[before]["parallel_tool_calls"] is False
    assert [call.function.name for call in asked(run)] == ["weather"]
    api.beta.threads.runs.cancel(run.id, thread_id=thread)


def test_a_run_that_waits_can_be_cancelled_and_frees_its_thread(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Call("clock", {})])
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    cancelling = api.beta.threads.runs.cancel(run.id, thread_id=thread)
    assert (cancelling.status, cancelling.required_action) == ("cancelling", None)
    wait_for(api, cancelling, "cancelled")
    (step,) = api.beta.threads.runs.steps.list(run.id, thread_id=thread).data
    assert step.status == "cancelled"
    api.beta.threads.messages.create(thread, role="user", content="again")


def test_a_stream_ends_where_the_caller_must_act_and_another_goes_on_from_there(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Calls([Call("weather", {"city": "Seoul"}), Call("clock", {})]), Text("Sunny at noon.")])
    with api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream:
        events = list(stream)
    names = [event.event for event in events]
    assert names[3:5] == ["thread.run.step.created", "thread.run.step.in_progress"]
    assert events[3].data.step_details.tool_calls == []
    assert set(names[5:-1]) == {"thread.run.step.delta"}
    assert names[-1] == "thread.run.requires_action"
    deltas = [event.data.delta.step_details.tool_calls[0] for event in events[5:-1]]
    assert [delta.index for delta in deltas] == sorted(delta.index for delta in deltas)
    for opening in (next(delta for delta in deltas if delta.index == index) for index in (0, 1)):
        assert (opening.type, opening.function.arguments, opening.function.output) == ("function", "", None)
        assert opening.id.startswith("call_")
    run = events[-1].data
    assert [json.loads(call.function.arguments) for call in asked(run)] == [{"city": "Seoul"}, {}]

    class Collected(AssistantEventHandler):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def on_event(self, event: Any) -> None:
            self.names.append(event.event)

    handler = Collected()
    with api.beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=thread, tool_outputs=outputs(run, "sun", "noon"), event_handler=handler
    ) as resumed:
        resumed.until_done()
    assert handler.names[:4] == [
        "thread.run.step.completed",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
    ]
    assert handler.names[-1] == "thread.run.completed"


def test_calls_are_told_one_after_the_other_with_the_outputs_of_code_before_the_next_call(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    codes = [Call("code_interpreter", {"code": f"print({n})"}) for n in (1, 2)]
    upstream.script([Calls([Call("clock", {}), *codes, Call("weather", {"city": "Seoul"})])])
    with api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream:
        events = list(stream)
    deltas = [event.data.delta.step_details.tool_calls[0] for event in events if event.event == "thread.run.step.delta"]
    assert [delta.index for delta in deltas] == sorted(delta.index for delta in deltas)
    assert {delta.index for delta in deltas} == {0, 1, 2, 3}
    for index, printed in ((1, "1\n"), (2, "2\n")):
        last = [delta for delta in deltas if delta.index == index][-1]
        assert last.code_interpreter.outputs[0].logs == printed
    assert [call.function.name for call in asked(events[-1].data)] == ["clock", "weather"]
    api.beta.threads.runs.cancel(events[-1].data.id, thread_id=thread)


def test_what_the_sdk_gathers_from_a_stream_of_calls_is_the_step(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Calls([Call("weather", {"city": "서울"}), Call("clock", "")], text="Let me see.")])
    with api.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant) as stream:
        stream.until_done()
        gathered = stream.get_final_run_steps()
    stored = api.beta.threads.runs.steps.list(gathered[0].run_id, thread_id=thread, order="asc").data
    calls = gathered[-1].step_details.tool_calls
    assert [call.function.arguments for call in calls] == [
        call.function.arguments for call in stored[-1].step_details.tool_calls
    ]
    assert [call.id for call in calls] == [call.id for call in stored[-1].step_details.tool_calls]
    api.beta.threads.runs.cancel(gathered[0].run_id, thread_id=thread)


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "function": {"name": "absent"}},
        {"type": "code_interpreter"},
        "required",
    ],
)
def test_a_tool_that_is_not_there_cannot_be_chosen(
    api: openai.AzureOpenAI, assistant: str, thread: str, choice: Any
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        api.beta.threads.runs.create(thread, assistant_id=assistant, tools=[], tool_choice=choice)
    assert refused.value.param == "tool_choice"


def test_file_search_is_not_chosen_by_way_of_the_code_interpreter(
    api: openai.AzureOpenAI, assistant: str, thread: str
) -> None:
    with pytest.raises(openai.BadRequestError, match="'file_search' is not in 'tools'"):
        api.beta.threads.runs.create(thread, assistant_id=assistant, tool_choice={"type": "file_search"})


def test_a_function_called_without_arguments_is_given_none_that_can_be_read(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Calls([Call("clock", ""), Call("weather", {"city": "Seoul"}), Call("clock", "")])])
    with api.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant) as stream:
        events = list(stream)
        (step,) = stream.get_final_run_steps()
    (run,) = api.beta.threads.runs.list(thread).data
    assert [call.function.arguments for call in asked(run)] == ["{}", '{"city": "Seoul"}', "{}"]
    assert [call.function.arguments for call in step.step_details.tool_calls] == ["{}", '{"city": "Seoul"}', "{}"]
    deltas = [event.data for event in events if event.event == "thread.run.step.delta"]
    indexes = [delta.delta.step_details.tool_calls[0].index for delta in deltas]
    assert indexes == sorted(indexes)
    api.beta.threads.runs.cancel(run.id, thread_id=thread)


def test_a_forced_function_is_forced_once(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Call("clock", {}), Text("Noon.")])
    before = len(upstream.requests)
    choice: Any = {"type": "function", "function": {"name": "clock"}}
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant, tool_choice=choice)
    api.beta.threads.runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=thread, tool_outputs=outputs(run, "12"))
    first, second = upstream.requests[before:]
    assert first["tool_choice"] == choice
    assert "tool_choice" not in second


def test_a_run_that_nobody_answers_expires_with_its_step(tmp_path: Any, upstream: ScriptedUpstream) -> None:
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_RUN_EXPIRY_SECONDS": "1", "LOCUM_SANDBOX": "off"}
    upstream.script([Call("clock", {})])
    with ServerProcess(tmp_path / "data", env=env) as server, server.azure(max_retries=0) as api:
        assistant = api.beta.assistants.create(model="m", tools=[CLOCK]).id
        run = api.beta.threads.create_and_run_poll(assistant_id=assistant, thread={"messages": []})
        run = wait_for(api, run, "expired")
        assert run.required_action is None
        (step,) = api.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id).data
        assert (step.status, step.expired_at is not None) == ("expired", True)
        with pytest.raises(openai.BadRequestError, match='Runs in status "expired" do not accept tool outputs.'):
            api.beta.threads.runs.submit_tool_outputs(
                run.id, thread_id=run.thread_id, tool_outputs=[{"tool_call_id": "call_1", "output": "x"}]
            )
