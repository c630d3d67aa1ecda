"""Behaviours 86-98: functions the model calls and the client answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.beta.threads import Run

from tests.conformance.api import TIME, WEATHER, Api
from tests.conformance.behaviours import behaviour
from tests.models.upstream import Call, Calls, Held, Text

SEOUL = Call("get_weather", {"city": "Seoul"}, text="")
BOTH = Calls([SEOUL, Call("get_time", {"zone": "KST"})])


@pytest.fixture
def assistant(api: Api) -> str:
    return api.assistant(tools=[WEATHER, TIME])


def calls(run: Run) -> list[Any]:
    assert run.status == "requires_action"
    assert run.required_action is not None
    return list(run.required_action.submit_tool_outputs.tool_calls)


def outputs(run: Run, text: str = "rain") -> list[Any]:
    return [{"tool_call_id": call.id, "output": text} for call in calls(run)]


def submit_path(run: Run) -> str:
    return f"/threads/{run.thread_id}/runs/{run.id}/submit_tool_outputs"


@behaviour(86, "A function call makes the run requires_action with the call's id, name and arguments as a string")
def test_a_function_call_requires_action(api: Api, assistant: str) -> None:
    run = api.run(SEOUL, assistant=assistant)
    raw = api.get(f"/threads/{run.thread_id}/runs/{run.id}")
    assert raw["required_action"]["type"] == "submit_tool_outputs"
    (call,) = raw["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert call.keys() == {"id", "type", "function"}
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Seoul"}
    assert call["id"].startswith("call_")
    assert call["function"].keys() == {"name", "arguments"}
    (step,) = api.steps(run)
    assert (step.type, step.status) == ("tool_calls", "in_progress")
    assert step.step_details.tool_calls[0].id == call["id"]  # type: ignore[union-attr]
    assert step.step_details.tool_calls[0].function.output is None  # type: ignore[union-attr]


@behaviour(87, "required_action is null in every other state")
def test_required_action_is_null_elsewhere(api: Api, assistant: str) -> None:
    held = Held(Text("It rains."))
    run = api.run(SEOUL, held, assistant=assistant)
    submitted = api.post(submit_path(run), {"tool_outputs": outputs(run)})
    assert (submitted["status"], submitted["required_action"]) == ("queued", None)
    assert api.until(run, "in_progress").required_action is None
    held.release()
    assert api.stopped(run).required_action is None
    waiting = api.run(SEOUL, assistant=assistant)
    assert calls(waiting)
    cancelling = api.post(f"/threads/{waiting.thread_id}/runs/{waiting.id}/cancel")
    assert cancelling["required_action"] is None
    assert api.until(waiting, "cancelled").required_action is None


@behaviour(88, "When all outputs are submitted the run is queued again, the step shows them, the model sees them")
def test_submitted_outputs_reach_the_model(api: Api, assistant: str) -> None:
    run = api.run(SEOUL, Text("It rains."), assistant=assistant)
    (call,) = calls(run)
    submitted = api.post(submit_path(run), {"tool_outputs": [{"tool_call_id": call.id, "output": "비 ☔"}]})
    assert (submitted["status"], submitted["expires_at"]) == ("queued", run.expires_at)
    assert api.stopped(run).status == "completed"
    step = api.steps(run)[0]
    assert step.status == "completed"
    assert step.step_details.tool_calls[0].function.output == "비 ☔"  # type: ignore[union-attr]
    sent = api.asked()[-1]["messages"]
    assert sent[-2]["role"] == "assistant"
    assert sent[-2]["tool_calls"][0]["function"]["name"] == "get_weather"
    assert (sent[-1]["role"], sent[-1]["content"]) == ("tool", "비 ☔")
    assert sent[-1]["tool_call_id"] == sent[-2]["tool_calls"][0]["id"]
    assert api.texts(run.thread_id)[-1] == ("assistant", "It rains.")


@behaviour(89, "A part of the outputs is refused: Expected tool outputs for call_ids […], got […]; the run waits on")
def test_all_outputs_are_submitted_at_once(api: Api, assistant: str) -> None:
    run = api.run(BOTH, Text("Done."), assistant=assistant)
    first, second = outputs(run)
    ids = [each["tool_call_id"] for each in (first, second)]
    error = api.refused("POST", submit_path(run), {"tool_outputs": [first]})
    assert error["message"] == f"Expected tool outputs for call_ids {ids}, got {ids[:1]}"
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)
    api.refused("POST", submit_path(run), {"tool_outputs": []})
    assert api.until(run, "requires_action").required_action == run.required_action
    api.post(submit_path(run), {"tool_outputs": [second, first]})
    assert api.stopped(run).status == "completed"


@behaviour(90, "Outputs of an unknown call, or two of one call, are refused")
def test_outputs_belong_to_the_calls(api: Api, assistant: str) -> None:
    run = api.run(SEOUL, Text("Done."), assistant=assistant)
    (output,) = outputs(run)
    for wrong in ([{**output, "tool_call_id": "call_other"}], [output, {**output, "tool_call_id": "call_other"}]):
        api.refused("POST", submit_path(run), {"tool_outputs": wrong}, message="Expected tool outputs for call_ids")
    api.refused("POST", submit_path(run), {"tool_outputs": [output, output]})
    error = api.refused("POST", submit_path(run), {"tool_outputs": [{"output": "x"}]})
    assert error["param"] == "tool_outputs[0].tool_call_id"
    api.refused("POST", submit_path(run), {}, code="missing_required_parameter", param="tool_outputs")
    assert api.until(run, "requires_action")
    api.post(submit_path(run), {"tool_outputs": [output]})
    assert api.stopped(run).status == "completed"


@behaviour(91, 'A run that does not wait takes no outputs: Runs in status "…" do not accept tool outputs.')
def test_only_waiting_runs_take_outputs(api: Api, assistant: str) -> None:
    held = Held(Text("Done."))
    run = api.run(SEOUL, held, assistant=assistant)
    body = {"tool_outputs": outputs(run)}
    api.post(submit_path(run), body)
    error = api.refused("POST", submit_path(run), body)
    assert error["message"] in [f'Runs in status "{s}" do not accept tool outputs.' for s in ("queued", "in_progress")]
    held.release()
    api.stopped(run)
    error = api.refused("POST", submit_path(run), body)
    assert error["message"] == 'Runs in status "completed" do not accept tool outputs.'
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)


@behaviour(92, "Calls made at once are one step; with parallel_tool_calls false there is one call at a time")
def test_parallel_calls_are_one_step(api: Api, assistant: str) -> None:
    run = api.run(BOTH, Text("Done."), assistant=assistant)
    assert [call.function.name for call in calls(run)] == ["get_weather", "get_time"]
    assert len({call.id for call in calls(run)}) == 2
    (step,) = api.steps(run)
    assert len(step.step_details.tool_calls) == 2  # type: ignore[union-attr]
    api.post(submit_path(run), {"tool_outputs": outputs(run)})
    assert api.stopped(run).status == "completed"
    mixed = api.run(
        Calls([Call("code_interpreter", {"code": "6 * 7"}), SEOUL]),
        Text("Done."),
        assistant=api.assistant(tools=[WEATHER, {"type": "code_interpreter"}]),
    )
    assert [call.function.name for call in calls(mixed)] == ["get_weather"]
    (step,) = api.steps(mixed)
    code, function = step.step_details.tool_calls  # type: ignore[union-attr]
    assert (code.type, function.type, function.id) == ("code_interpreter", "function", calls(mixed)[0].id)
    assert "42" in code.code_interpreter.outputs[0].logs
    api.post(submit_path(mixed), {"tool_outputs": outputs(mixed)})
    assert api.stopped(mixed).status == "completed"
    alone = api.run(BOTH, Text("Done."), assistant=assistant, parallel_tool_calls=False)
    assert alone.parallel_tool_calls is False
    assert api.asked()[-1]["parallel_tool_calls"] is False
    assert len(calls(alone)) == 1


@behaviour(93, "A run may require action several times")
def test_a_run_may_ask_again_and_again(api: Api, assistant: str) -> None:
    run = api.run(SEOUL, Call("get_time", {}), SEOUL, Text("Done."), assistant=assistant)
    names = []
    for _ in range(3):
        names.append(calls(run)[0].function.name)
        run = api.sdk.beta.threads.runs.submit_tool_outputs_and_poll(
            run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs(run), poll_interval_ms=20
        )
    assert (run.status, names) == ("completed", ["get_weather", "get_time", "get_weather"])
    steps = api.steps(run)
    assert [step.type for step in steps] == ["tool_calls"] * 3 + ["message_creation"]
    assert len({call.id for step in steps[:3] for call in step.step_details.tool_calls}) == 3  # type: ignore[union-attr]
    assert [message["role"] for message in api.asked()[-1]["messages"]][-6:] == ["assistant", "tool"] * 3


@behaviour(94, "An empty output is accepted; one that is no string is refused")
def test_an_output_is_a_string(api: Api, assistant: str) -> None:
    run = api.run(SEOUL, Text("Done."), assistant=assistant)
    (call,) = calls(run)
    for wrong in (1, {"rain": True}, ["rain"]):
        body = {"tool_outputs": [{"tool_call_id": call.id, "output": wrong}]}
        api.refused("POST", submit_path(run), body, param="tool_outputs[0].output")
    api.post(submit_path(run), {"tool_outputs": [{"tool_call_id": call.id, "output": ""}]})
    assert api.stopped(run).status == "completed"
    silent = api.run(SEOUL, Text("Done."), assistant=assistant)
    api.post(submit_path(silent), {"tool_outputs": [{"tool_call_id": calls(silent)[0].id}]})
    assert api.stopped(silent).status == "completed"
    assert api.steps(run)[0].step_details.tool_calls[0].function.output == ""  # type: ignore[union-attr]


@behaviour(95, "tool_choice none keeps tools away; required, or a named function, forces the first turn only")
def test_tool_choice_reaches_the_model(api: Api, assistant: str) -> None:
    none = api.run(Text("Hi."), assistant=assistant, tool_choice="none")
    assert none.tool_choice == "none"
    (asked,) = api.asked()
    assert not asked.get("tools") or asked.get("tool_choice") == "none"
    named = {"type": "function", "function": {"name": "get_time"}}
    for choice, call in [("required", SEOUL), (named, Call("get_time", {}))]:
        api.asked().clear()
        run = api.run(call, Text("Done."), assistant=assistant, tool_choice=choice)
        assert api.get(f"/threads/{run.thread_id}/runs/{run.id}")["tool_choice"] == choice
        api.post(submit_path(run), {"tool_outputs": outputs(run)})
        assert api.stopped(run).status == "completed"
        first, second = api.asked()
        assert first["tool_choice"] == choice
        assert second.get("tool_choice", "auto") == "auto"


@behaviour(96, "tool_choice that names a tool the run does not have is refused")
def test_tool_choice_names_a_tool_of_the_run(api: Api, assistant: str) -> None:
    thread = api.thread()
    for wrong in (
        {"type": "function", "function": {"name": "absent"}},
        {"type": "code_interpreter"},
        {"type": "foo"},
        "foo",
    ):
        api.refused("POST", f"/threads/{thread}/runs", {"assistant_id": assistant, "tool_choice": wrong})
    assert api.get(f"/threads/{thread}/runs")["data"] == []


@behaviour(97, "Arguments that are not JSON are passed on as the string the model said")
def test_broken_arguments_are_passed_on(api: Api, assistant: str) -> None:
    broken = '{"city": "Seo'
    run = api.run(Call("get_weather", broken), Text("Done."), assistant=assistant)
    assert calls(run)[0].function.arguments == broken
    api.post(submit_path(run), {"tool_outputs": outputs(run, "error: not JSON")})
    assert api.stopped(run).status == "completed"
    assert api.steps(run)[0].step_details.tool_calls[0].function.arguments == broken  # type: ignore[union-attr]


@pytest.fixture(params=["openai", "azure"])
def hasty_api(request: pytest.FixtureRequest, hasty: str, on_openai: Api) -> Iterator[Api]:
    api = Api(hasty, on_openai.wire, on_openai.upstream, request.param)
    yield api
    api.close()


@behaviour(98, "A run whose outputs do not come before expires_at is expired, and takes none any more")
def test_a_waiting_run_expires(hasty_api: Api) -> None:
    assistant = hasty_api.assistant(tools=[WEATHER])
    runs = (hasty_api.run(SEOUL, assistant=assistant) for _ in range(5))  # on a busy machine one may never get to ask
    run = next(run for run in runs if run.status == "requires_action")
    body = {"tool_outputs": outputs(run)}
    expired = hasty_api.until(run, "expired")
    assert expired.required_action is None
    (step,) = hasty_api.steps(run)
    assert step.status == "expired"
    error = hasty_api.refused("POST", submit_path(run), body)
    assert error["message"] == 'Runs in status "expired" do not accept tool outputs.'
    hasty_api.sdk.beta.threads.messages.create(run.thread_id, role="user", content="free again")
