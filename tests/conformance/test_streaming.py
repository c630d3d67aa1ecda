"""Behaviours 99-118: streams. The rules every stream keeps are checked for all of them in `streams.py`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.conformance import streams
from tests.conformance.api import SURFACES, TIME, WEATHER, Api, text_of
from tests.conformance.behaviours import behaviour
from tests.conformance.conftest import Servers
from tests.conformance.searching import ASKED, HANDBOOK, searching
from tests.conformance.streams import Event
from tests.conformance.wire import Wire
from tests.models.upstream import Call, Calls, Cut, Hang, Held, ScriptedUpstream, Status, Text
from tests.serving import ServerProcess

TEXT_RUN = [
    *("thread.run.created", "thread.run.queued", "thread.run.in_progress"),
    *("thread.run.step.created", "thread.run.step.in_progress", "thread.message.created", "thread.message.in_progress"),
    "thread.message.delta",
    *("thread.message.completed", "thread.run.step.completed", "thread.run.completed", "done"),
]
CODE = {"type": "code_interpreter"}
DRAW = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nprint('drawn')"


def names(events: list[Event]) -> list[str]:
    """The events' names; of deltas that follow each other only the first."""
    found: list[str] = []
    for event in events:
        if not (found and event.verb == "delta" and found[-1] == event.name):
            found.append(event.name)
    return found


def of(events: list[Event], name: str) -> list[Any]:
    return [event.data for event in events if event.name == name]


def streamed(api: Api, *replies: Any, assistant: str | None = None, **options: Any) -> list[Event]:
    api.upstream.script(replies)
    body = {"assistant_id": assistant or api.assistant(), **options}
    return api.stream(f"/threads/{api.thread()}/runs", body)


class Quiet:
    """A stream in which nothing happens until a comment has kept the line open; it runs beside the tests."""

    def __init__(self, endpoint: str, upstream: ScriptedUpstream) -> None:
        self.wire = Wire()
        self.body = b""
        self._api = Api(endpoint, self.wire, upstream)
        assistant, thread = self._api.assistant(), self._api.thread()
        upstream.script([Hang("so far")])
        asked = len(upstream.requests)
        self._path = f"/threads/{thread}/runs"
        self._thread = threading.Thread(target=self._read, args=(assistant,), daemon=True)
        self._thread.start()
        upstream.wait(lambda: len(upstream.requests) > asked)

    def _read(self, assistant: str) -> None:
        with httpx2.Client(timeout=60, headers={"openai-beta": "assistants=v2"}) as client:
            url = f"{self._api.base}{self._path}"
            with client.stream("POST", url, json={"assistant_id": assistant, "stream": True}) as response:
                for block in response.iter_bytes():
                    self.body += block
                    if b"\n: " in block or block.startswith(b": "):
                        (run,) = self._api.get(self._path)["data"]
                        if run["status"] == "in_progress":
                            self._api.post(f"{self._path}/{run['id']}/cancel")

    def wait(self) -> bytes:
        """All of the stream, once it has ended."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.body

    def close(self) -> None:
        """End it now."""
        if self._thread.is_alive():
            (run,) = self._api.get(self._path)["data"]
            self._api.call("POST", f"{self._path}/{run['id']}/cancel")
        self._thread.join(60)
        self._api.close()
        self.wire.close()


@pytest.fixture(scope="module")
def quiet(main_server: ServerProcess, upstream: ScriptedUpstream) -> Iterator[Quiet]:
    upstream.forget()
    quiet = Quiet(main_server.azure_endpoint, upstream)
    yield quiet
    quiet.close()


@pytest.fixture(autouse=True)
def _begin_early(quiet: Quiet, _fresh: None) -> None:
    """So that nobody has to wait for the silence."""


@behaviour(99, "A text run tells its events in the documented order, and ends with done and [DONE]")
def test_a_text_run_is_told_in_order(api: Api) -> None:
    events = streamed(api, Text("one two three"))
    assert names(events) == TEXT_RUN
    assert events[-1] == Event("done", "[DONE]")
    assert [run["status"] for run in of(events, "thread.run.created") + of(events, "thread.run.queued")] == [
        "queued"
    ] * 2
    assert of(events, "thread.run.created")[0]["started_at"] is None
    (step,) = of(events, "thread.run.step.created")
    (message,) = of(events, "thread.message.created")
    assert step["step_details"]["message_creation"]["message_id"] == message["id"]


@behaviour(100, "A stream is text/event-stream, and the data of an event is one line of JSON")
def test_a_stream_is_server_sent_events(api: Api) -> None:
    api.upstream.script([Text("line one\nline two\r\nline three\u2028end")])
    body = {"assistant_id": api.assistant(), "stream": True}
    response = api.call("POST", f"/threads/{api.thread()}/runs", body)
    assert response.headers["content-type"].partition(";")[0] == "text/event-stream"
    events, problems = streams.parse(response.content)
    assert problems == []
    assert of(events, "thread.message.completed")[0]["content"][0]["text"]["value"] == (
        "line one\nline two\r\nline three\u2028end"
    )
    assert response.content.endswith(b"event: done\ndata: [DONE]\n\n")


@behaviour(101, "The stream of a thread that is created and run begins with thread.created")
def test_a_stream_with_its_thread_begins_with_the_thread(api: Api) -> None:
    api.upstream.script([Text("Hi.")])
    thread = {"messages": [{"role": "user", "content": "x"}], "metadata": {"a": "b"}}
    events = api.stream("/threads/runs", {"assistant_id": api.assistant(), "thread": thread})
    assert names(events) == ["thread.created", *TEXT_RUN]
    assert events[0].data["metadata"] == {"a": "b"}
    assert events[0].data["id"] == events[1].data["thread_id"]
    assert [text for _, text in api.texts(events[0].data["id"])] == ["x", "Hi."]


@behaviour(102, "The deltas of a message, put together, are its text")
def test_deltas_make_up_the_text(api: Api) -> None:
    assert names(streamed(api, Text("")))[-2:] == ["thread.run.completed", "done"]
    text = "café 한국어 😀 " * 20
    events = streamed(api, Text(text, split=7))
    deltas = of(events, "thread.message.delta")
    assert len(deltas) > 5
    assert "".join(part["text"]["value"] for each in deltas for part in each["delta"]["content"]) == text
    assert of(events, "thread.message.completed")[0]["content"][0]["text"]["value"] == text


@behaviour(103, "Every entry of a delta has an index, ids and names come once, and what the SDK gathers is the object")
def test_the_sdk_gathers_what_was_said(api: Api) -> None:
    assistant = api.assistant(tools=[CODE, WEATHER, TIME])
    mixed = Calls([Call("code_interpreter", {"code": DRAW}), Call("get_weather", {"city": "Seoul"})])
    streamed(api, mixed, assistant=assistant)
    api.wire.streams.clear()
    api.upstream.script(
        [
            Call("code_interpreter", {"code": DRAW}),
            Calls([Call("get_weather", {"city": "Seoul"}), Call("get_time", {"zone": "KST"})]),
        ]
    )
    thread = api.thread()
    with api.sdk.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant) as stream:
        run = stream.get_final_run()
        gathered = stream.get_final_run_steps()
    assert run.status == "requires_action"
    stored = api.steps(run)
    assert [step.id for step in gathered] == [step.id for step in stored]
    code, functions = gathered
    (call,) = code.step_details.tool_calls  # type: ignore[union-attr]
    assert call.code_interpreter.input == DRAW
    assert [each.function.arguments for each in functions.step_details.tool_calls] == [  # type: ignore[union-attr]
        each.function.arguments
        for each in stored[1].step_details.tool_calls  # type: ignore[union-attr]
    ]
    (events,) = api.wire.streams
    for delta in of(events, "thread.run.step.delta"):
        assert all(isinstance(call["index"], int) for call in delta["delta"]["step_details"]["tool_calls"])


@behaviour(104, "The step of a tool call is created without tool calls")
def test_the_step_of_a_tool_is_created_empty(api: Api) -> None:
    events = streamed(api, Call("get_weather", {}), assistant=api.assistant(tools=[WEATHER]))
    (step,) = of(events, "thread.run.step.created")
    assert (step["type"], step["step_details"]) == ("tool_calls", {"type": "tool_calls", "tool_calls": []})
    assert of(events, "thread.run.step.in_progress")[0]["step_details"]["tool_calls"] == []


@behaviour(105, "The code interpreter is streamed: the code in pieces, then logs and images with their index")
def test_code_is_streamed_in_pieces(api: Api) -> None:
    events = streamed(
        api, Call("code_interpreter", {"code": DRAW}), Text("Done."), assistant=api.assistant(tools=[CODE])
    )
    assert names(events)[3:9] == [
        *("thread.run.step.created", "thread.run.step.in_progress", "thread.run.step.delta"),
        *("thread.run.step.completed", "thread.run.step.created", "thread.run.step.in_progress"),
    ]
    deltas = [each["delta"]["step_details"]["tool_calls"][0] for each in of(events, "thread.run.step.delta")]
    assert deltas[0]["code_interpreter"] == {"input": "", "outputs": []}
    assert "".join(each["code_interpreter"].get("input") or "" for each in deltas) == DRAW
    outputs = [output for each in deltas for output in each["code_interpreter"].get("outputs") or []]
    assert sorted({output["index"] for output in outputs}) == list(range(2))
    assert {output["type"] for output in outputs} == {"logs", "image"}
    (call,) = of(events, "thread.run.step.completed")[0]["step_details"]["tool_calls"]
    assert call["code_interpreter"]["input"] == DRAW
    image = next(output["image"]["file_id"] for output in outputs if output["type"] == "image")
    content = of(events, "thread.message.completed")[0]["content"]
    assert [part["type"] for part in content] == ["image_file", "text"]
    assert content[0]["image_file"]["file_id"] == image


@behaviour(106, "A file_search call is streamed with file_search {} and indexed citations")
def test_a_search_is_streamed(api: Api) -> None:
    assistant, files = searching(api, {"handbook.txt": HANDBOOK})
    api.upstream.script([ASKED, Text("25 days 【0:0†source】, they say【0:0†source】.", split=5)])
    events = api.stream(f"/threads/{api.thread()}/runs", {"assistant_id": assistant})
    shown = names(events)
    searched = shown[shown.index("thread.run.step.created") : shown.index("thread.run.step.completed")]
    assert searched[:3] == ["thread.run.step.created", "thread.run.step.in_progress", "thread.run.step.delta"]
    deltas = [event.data["delta"]["step_details"] for event in events if event.name == "thread.run.step.delta"]
    (call,) = deltas[0]["tool_calls"]
    assert call == {"index": 0, "id": call["id"], "type": "file_search", "file_search": {}}
    texts = [event.data["delta"]["content"][0]["text"] for event in events if event.name == "thread.message.delta"]
    cited = [text for text in texts if text.get("annotations")]
    assert [text["value"] for text in cited] == ["【0:0†source】"] * 2
    for index, text in enumerate(cited):
        (annotation,) = text["annotations"]
        assert (annotation["index"], annotation["type"], annotation["text"]) == (index, "file_citation", text["value"])
        assert annotation["file_citation"]["file_id"] == files["handbook.txt"]


@behaviour(107, "The stream of a function call ends with requires_action and done; its step is not completed")
def test_a_function_call_ends_the_stream(api: Api) -> None:
    talking = streamed(api, Call("get_weather", {}, text="Let me see."), assistant=api.assistant(tools=[WEATHER]))
    assert names(talking)[-2:] == ["thread.run.requires_action", "done"]
    assert [message["status"] for message in of(talking, "thread.message.completed")] == ["completed"]
    calls = Calls([Call("get_weather", {"city": "Seoul"}), Call("get_time", {})])
    events = streamed(api, calls, assistant=api.assistant(tools=[WEATHER, TIME]))
    assert names(events)[3:] == [
        *("thread.run.step.created", "thread.run.step.in_progress", "thread.run.step.delta"),
        *("thread.run.requires_action", "done"),
    ]
    deltas = [each["delta"]["step_details"]["tool_calls"][0] for each in of(events, "thread.run.step.delta")]
    openings = [each for each in deltas if "id" in each]
    assert [(each["index"], each["function"]["name"]) for each in openings] == [(0, "get_weather"), (1, "get_time")]
    assert all(
        each["function"] == {"name": each["function"]["name"], "arguments": "", "output": None} for each in openings
    )
    (run,) = of(events, "thread.run.requires_action")
    asked = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    for index, call in enumerate(asked):
        pieces = [each["function"]["arguments"] for each in deltas if each["index"] == index]
        assert "".join(pieces) == call["function"]["arguments"]
        assert call["id"] == openings[index]["id"]


@behaviour(108, "The stream of submitted outputs begins with the completed step, then queued and in_progress")
def test_a_stream_goes_on_after_outputs(api: Api) -> None:
    run = api.run(Call("get_weather", {}), Text("It rains."), assistant=api.assistant(tools=[WEATHER]))
    assert run.required_action is not None
    call = run.required_action.submit_tool_outputs.tool_calls[0].id
    body = {"tool_outputs": [{"tool_call_id": call, "output": "rain"}]}
    events = api.stream(f"/threads/{run.thread_id}/runs/{run.id}/submit_tool_outputs", body)
    assert names(events) == ["thread.run.step.completed", *TEXT_RUN[1:]]
    step = events[0].data
    assert step["step_details"]["tool_calls"][0]["function"]["output"] == "rain"
    assert step["usage"]["total_tokens"] == 15
    again = api.run(Call("get_weather", {}), Call("get_weather", {}), assistant=run.assistant_id)
    assert again.required_action is not None
    call = again.required_action.submit_tool_outputs.tool_calls[0].id
    body = {"tool_outputs": [{"tool_call_id": call, "output": "rain"}]}
    events = api.stream(f"/threads/{again.thread_id}/runs/{again.id}/submit_tool_outputs", body)
    assert names(events) == [
        *("thread.run.step.completed", "thread.run.queued", "thread.run.in_progress", "thread.run.step.created"),
        *("thread.run.step.in_progress", "thread.run.step.delta", "thread.run.requires_action", "done"),
    ]


@behaviour(109, "A run that fails in its stream ends it with thread.run.failed and done")
def test_a_failed_run_ends_its_stream(api: Api) -> None:
    cut = streamed(api, Cut("half an ans"), Cut("half an ans"), Cut("half an ans"))
    assert names(cut)[-4:] == [
        *("thread.message.incomplete", "thread.run.step.failed", "thread.run.failed", "done"),
    ]
    api.wire.streams.clear()
    api.upstream.answer = lambda _: Status(500)
    with api.sdk.beta.threads.runs.stream(thread_id=api.thread(), assistant_id=api.assistant()) as stream:
        run = stream.get_final_run()
    assert run.status == "failed"
    assert run.last_error is not None
    (events,) = api.wire.streams
    assert names(events)[-2:] == ["thread.run.failed", "done"]


@behaviour(110, "A stream that breaks off says so in an error event, which the SDK raises with message and code")
def test_a_broken_stream_raises(on_openai: Api, servers: Servers) -> None:
    server = servers.start(LOCUM_SANDBOX="off")
    apis = [Api(server.azure_endpoint, on_openai.wire, on_openai.upstream, surface) for surface in SURFACES]
    opened, stopping = [], threading.Thread(target=server.stop)
    for api in apis:
        api.upstream.script([Hang("so far")])
        stream = api.sdk.beta.threads.runs.create(api.thread(), assistant_id=api.assistant(), stream=True)
        assert any(event.event == "thread.message.delta" for event in stream)  # and it goes on
        opened.append(stream)
    stopping.start()
    for stream in opened:
        with pytest.raises(openai.APIError) as raised, stream:
            list(stream)
        assert raised.value.message
        assert raised.value.code
    stopping.join()
    assert len(on_openai.wire.streams) == len(apis)
    for events in on_openai.wire.streams:
        (error,) = of(events, "error")
        assert error["error"] == {key: value for key, value in error.items() if key != "error"}
    for api in apis:
        api.close()


@behaviour(111, "A run cancelled while it streams: message.incomplete, step.cancelled, run.cancelled, done")
def test_a_cancelled_run_ends_its_stream(api: Api) -> None:
    api.upstream.script([Hang("so far")])
    with api.sdk.beta.threads.runs.create(api.thread(), assistant_id=api.assistant(), stream=True) as stream:
        told = 0
        for event in stream:
            told += event.event == "thread.message.delta"
            if told == 1 and event.event == "thread.message.delta":
                run = of_run(api)
                api.post(f"/threads/{run['thread_id']}/runs/{run['id']}/cancel")
    (events,) = api.wire.streams
    assert names(events)[-5:] == [
        *("thread.run.cancelling", "thread.message.incomplete", "thread.run.step.cancelled"),
        *("thread.run.cancelled", "done"),
    ]
    assert of(events, "thread.message.incomplete")[0]["incomplete_details"] == {"reason": "run_cancelled"}


def of_run(api: Api) -> Any:
    """The run that the last created thread has."""
    created = next(r for r, _ in reversed(api.wire.exchanges) if r.url.path.endswith("/runs") and r.method == "POST")
    thread = created.url.path.split("/")[-2]
    return api.get(f"/threads/{thread}/runs")["data"][0]


@behaviour(112, "A run that is cut by its budget ends its stream with message.incomplete and run.incomplete")
def test_an_incomplete_run_ends_its_stream(api: Api) -> None:
    events = streamed(api, Text("cut off", finish_reason="length"), max_completion_tokens=256)
    assert "thread.message.incomplete" in names(events)
    assert names(events)[-2:] == ["thread.run.incomplete", "done"]
    assert of(events, "thread.message.incomplete")[0]["incomplete_details"] == {"reason": "max_tokens"}
    assert of(events, "thread.run.incomplete")[0]["incomplete_details"] == {"reason": "max_completion_tokens"}


@behaviour(113, "A wrong request with stream true is answered with plain JSON")
def test_a_wrong_request_is_not_streamed(api: Api) -> None:
    path = f"/threads/{api.thread()}/runs"
    api.refused("POST", path, {"stream": True}, code="missing_required_parameter")
    api.refused("POST", path, {"stream": True, "assistant_id": "asst_unknown"}, status=404)
    api.refused("POST", "/threads/runs", {"stream": True, "assistant_id": "asst_unknown"}, status=404)
    api.refused("POST", path, {"stream": "yes", "assistant_id": api.assistant()}, param="stream")
    with pytest.raises(openai.NotFoundError):
        api.sdk.beta.threads.runs.create(api.thread(), assistant_id="asst_unknown", stream=True)
    run = api.run(Text("Hi."))
    submit = f"/threads/{run.thread_id}/runs/{run.id}/submit_tool_outputs"
    outputs = [{"tool_call_id": "call_x", "output": "x"}]
    api.refused("POST", submit, {"stream": True, "tool_outputs": outputs}, message="do not accept tool outputs")


@behaviour(114, "A client that leaves does not stop the run, whose result is read later")
def test_leaving_a_stream_does_not_stop_the_run(api: Api) -> None:
    held = Held(Text("all of it"), after_text="part, ")
    api.upstream.script([held])
    with api.sdk.beta.threads.runs.create(api.thread(), assistant_id=api.assistant(), stream=True) as stream:
        run: Any = next(iter(stream)).data
    held.release()
    assert api.stopped(run).status == "completed"
    assert api.texts(run.thread_id)[-1] == ("assistant", "part, all of it")


class Heard(openai.AssistantEventHandler):
    """The callbacks that fired, in order, each once in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.fired: list[str] = []

    def _fire(self, name: str) -> None:
        if self.fired[-1:] != [name]:
            self.fired.append(name)

    def on_text_created(self, text: Any) -> None:
        self._fire("text_created")

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self._fire("text_delta")

    def on_text_done(self, text: Any) -> None:
        self._fire("text_done")

    def on_tool_call_created(self, tool_call: Any) -> None:
        self._fire("tool_call_created")

    def on_tool_call_delta(self, delta: Any, snapshot: Any) -> None:
        self._fire("tool_call_delta")

    def on_tool_call_done(self, tool_call: Any) -> None:
        self._fire("tool_call_done")

    def on_image_file_done(self, image_file: Any) -> None:
        self._fire("image_file_done")

    def on_message_done(self, message: Any) -> None:
        self._fire("message_done")

    def on_run_step_done(self, run_step: Any) -> None:
        self._fire("run_step_done")

    def on_end(self) -> None:
        self._fire("end")


@behaviour(115, "The SDK's event handler fires its callbacks for text, tool calls, images, messages and steps")
def test_the_event_handler_fires_its_callbacks(api: Api) -> None:
    api.upstream.script([Call("code_interpreter", {"code": DRAW}), Text("Here it is.")])
    with api.sdk.beta.threads.runs.stream(
        thread_id=api.thread(), assistant_id=api.assistant(tools=[CODE]), event_handler=Heard()
    ) as stream:
        stream.until_done()
    fired = stream.fired
    for name in ("tool_call_created", "tool_call_delta", "tool_call_done", "text_created", "text_delta", "text_done"):
        assert name in fired, fired
    for name in ("image_file_done", "message_done", "run_step_done"):
        assert name in fired, fired
    assert fired[-1] == "end"
    assert fired.index("tool_call_created") < fired.index("tool_call_delta") < fired.index("run_step_done")
    assert (
        fired.index("text_created") < fired.index("text_delta") < fired.index("text_done") < fired.index("message_done")
    )


@behaviour(117, "An object in an event is what a GET of it answers at that moment")
def test_events_carry_what_a_get_answers(api: Api) -> None:
    held = Held(Text("Hi."))
    api.upstream.script([held])
    seen: dict[str, Any] = {}
    compared = []
    with api.sdk.beta.threads.runs.create(api.thread(), assistant_id=api.assistant(), stream=True) as stream:
        for event in stream:
            if event.event == "thread.run.in_progress":
                run: Any = event.data
                assert api.sdk.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id) == run
                compared.append(event.event)
                held.release()
            elif event.event in ("thread.message.completed", "thread.run.step.completed", "thread.run.completed"):
                seen[event.event] = event.data
    message, step, run = seen.values()
    assert api.sdk.beta.threads.messages.retrieve(message.id, thread_id=run.thread_id) == message
    assert api.sdk.beta.threads.runs.steps.retrieve(step.id, thread_id=run.thread_id, run_id=run.id) == step
    assert api.sdk.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id) == run
    assert compared == ["thread.run.in_progress"]
    assert text_of(message) == "Hi."


@behaviour(118, "stream false and stream null answer JSON")
@pytest.mark.parametrize("stream", [False, None])
def test_what_is_not_streamed_is_json(api: Api, stream: bool | None) -> None:
    api.upstream.script([Text("Hi.")])
    run = api.post(f"/threads/{api.thread()}/runs", {"assistant_id": api.assistant(), "stream": stream})
    assert run["object"] == "thread.run"
    api.until(api.sdk.beta.threads.runs.retrieve(run["id"], thread_id=run["thread_id"]), "completed")


@behaviour(116, "While nothing happens a comment keeps the line open, which the SDK does not stumble over")
def test_comments_keep_a_stream_open(quiet: Quiet) -> None:
    body = quiet.wait()
    assert b"\n: " in body
    assert list(streams.check(body, opening="thread.run.created", spec_name="v2")) == []
    events, _ = streams.parse(body)
    assert names(events)[-2:] == ["thread.run.cancelled", "done"]
    assert quiet.wire.problems == []
