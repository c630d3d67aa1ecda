"""What every stream must look like: its form, the order of its events, and that its deltas add up.

The adding up is done by the SDK itself: the recorded bytes are played to an unmodified client, and what its event
handler has gathered must be what the completed objects say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import openai

from tests.conformance import shapes, spec
from tests.conformance.shapes import Json, Shape

RUN_ENDS = ("completed", "failed", "cancelled", "expired", "incomplete", "requires_action")
STEP_ENDS = ("completed", "failed", "cancelled", "expired")
_OBJECTS: dict[str, tuple[Shape, str]] = {
    "thread": (shapes.THREAD, "ThreadObject"),
    "run": (shapes.RUN, "RunObject"),
    "step": (shapes.STEP, "RunStepObject"),
    "message": (shapes.MESSAGE, "MessageObject"),
}
_DELTAS: dict[str, tuple[Shape, str]] = {
    "step": (shapes.STEP_DELTA, "RunStepDeltaObject"),
    "message": (shapes.MESSAGE_DELTA, "MessageDeltaObject"),
}


@dataclass(frozen=True)
class Event:
    name: str
    data: Any

    @property
    def noun(self) -> str:
        """`step` of `thread.run.step.delta`; `thread` of `thread.created`; `error` and `done` of themselves."""
        return self.name.split(".")[-2] if "." in self.name else self.name

    @property
    def verb(self) -> str:
        return self.name.rpartition(".")[2]


def parse(body: bytes) -> tuple[list[Event], list[str]]:
    """The events of a stream, and what is wrong with their form. An unfinished last event is left out."""
    events, problems = [], []
    *blocks, rest = body.decode("utf-8", errors="replace").split("\n\n")
    if rest.strip():
        problems.append(f"the stream ends in the middle of an event: {rest[-80:]!r}")
    for block in blocks:
        lines = [line for line in block.split("\n") if not line.startswith(":")]  # comments keep the line open
        if not lines:
            continue
        fields = [line.partition(": ") for line in lines]
        names = [value for name, _, value in fields if name == "event"]
        values = [value for name, _, value in fields if name == "data"]
        if len(names) != 1 or len(values) != 1 or any(name not in ("event", "data", "id") for name, _, _ in fields):
            problems.append(f"not one event line and one data line: {block!r}")
            continue
        try:
            events.append(Event(names[0], values[0] if names[0] == "done" else json.loads(values[0])))
        except ValueError:
            problems.append(f"the data of {names[0]} is not JSON: {values[0]!r}")
    return events, problems


def check(body: bytes, *, opening: str, spec_name: str, is_whole: bool = True) -> Iterator[str]:
    """What is wrong with a stream. `opening`: the name its first event must have."""
    events, problems = parse(body if is_whole else body[: body.rfind(b"\n\n") + 2])
    yield from problems
    version = 1 if spec_name == "v1" else 2
    objects = []
    for event in events:
        objects += list(_check_object(event, version, spec_name))
    yield from objects
    if problems or objects:
        return
    if events and events[0].name not in (opening, "error"):
        yield f"the stream begins with {events[0].name}, not {opening}"
    order = _Order()
    for event in events:
        yield from order.take(event)
    if is_whole:
        yield from order.end()
    if is_whole and version == 2 and not order.is_broken:
        yield from _sums(body, events)


def _check_object(event: Event, version: int, spec_name: str) -> Iterator[str]:
    if event.name == "done":
        if event.data != "[DONE]":
            yield f"the data of done is {event.data!r}"
        return
    if event.name == "error":
        if not isinstance(event.data.get("error"), dict) or event.data.keys() < {"message", "type", "param", "code"}:
            yield f"an error event lacks a form: {event.data}"
        return
    known = (_DELTAS if event.verb == "delta" else _OBJECTS).get(event.noun)
    if known is None:
        yield f"an unknown event: {event.name}"
        return
    shape, component = known
    if event.name == "thread.created" and isinstance(event.data, dict):
        event = Event(event.name, {"tool_resources": {}, **event.data})  # the published example lacks it
    yield from (f"{event.name}: {problem}" for problem in shapes.check(event.data, shape, version))
    yield from (f"{event.name}: {problem}" for problem in spec.check_component(spec_name, component, event.data))


class _Order:
    """The rules of order, fed event by event."""

    def __init__(self) -> None:
        self.is_broken = False
        self._done = False
        self._run = ""
        """The verb of the latest event of the run."""
        self._ids: Json = {}
        self._steps: dict[str, str] = {}
        self._messages: dict[str, str] = {}
        self._parts: dict[str, _Entries] = {}
        """What deltas have opened, by the id of the step or message."""

    def take(self, event: Event) -> Iterator[str]:
        if self._done:
            yield f"{event.name} after done"
        for key in ("thread_id", "run_id", "assistant_id"):
            if event.noun in ("step", "message") and event.verb != "delta":
                yield from self._same(key, event.data[key])
        match event.noun:
            case "done":
                self._done = True
            case "error":
                self.is_broken = True
            case "run":
                yield from self._same("run_id", event.data["id"])
                yield from self._take_run(event)
            case "step":
                yield from self._take_item(event, self._steps, STEP_ENDS)
            case "message":
                yield from self._take_item(event, self._messages, ("completed", "incomplete"))

    def _same(self, key: str, value: Any) -> Iterator[str]:
        if self._ids.setdefault(key, value) != value:
            yield f"{key} changes from {self._ids[key]} to {value}"

    def _take_run(self, event: Event) -> Iterator[str]:
        status = "queued" if event.verb == "created" else event.verb
        if event.data["status"] != status:
            yield f"{event.name} has the status {event.data['status']}"
        allowed = {
            "": ("created", "queued"),
            "created": ("queued",),
            "queued": ("in_progress", "cancelling", "failed", "expired"),
            "in_progress": ("cancelling", *RUN_ENDS),
            "cancelling": RUN_ENDS,
        }
        if event.verb not in allowed.get(self._run, ()):
            yield f"{event.name} after {f'thread.run.{self._run}' if self._run else 'nothing'}"
        self._run = event.verb
        if event.verb in RUN_ENDS:
            waiting = event.verb == "requires_action"
            for noun, items, ends in (
                ("step", self._steps, STEP_ENDS),
                ("message", self._messages, ("completed", "incomplete")),
            ):
                open_ = [id_ for id_, verb in items.items() if verb not in ends]
                if open_ and not (waiting and noun == "step"):
                    yield f"{event.name} while a {noun} is open"

    def _take_item(self, event: Event, items: dict[str, str], ends: tuple[str, ...]) -> Iterator[str]:
        id_, before = event.data["id"], items.get(event.data["id"])
        if self._run in RUN_ENDS:
            yield f"{event.name} after the run has ended"
        if event.verb != "delta" and event.data["status"] != ("in_progress" if event.verb == "created" else event.verb):
            yield f"{event.name} has the status {event.data['status']}"
        allowed: dict[str | None, tuple[str, ...]] = {
            None: ("created",),
            "created": ("in_progress",),
            "in_progress": ("delta", *ends),
            "delta": ("delta", *ends),
        }
        resumed = event.noun == "step" and not self._run and event.verb in STEP_ENDS  # by submitted outputs
        if event.verb not in allowed.get(before, ()) and not resumed:
            yield f"{event.name} after {before or 'nothing'}"
        items[id_] = event.verb
        if event.verb == "created":
            self._parts[id_] = _Entries(event.noun)
            yield from self._begins_empty(event)
        elif event.verb == "delta" and id_ in self._parts:
            yield from self._parts[id_].take(event)
        elif event.verb in ends and id_ in self._parts:
            yield from self._parts[id_].end(event)

    def _begins_empty(self, event: Event) -> Iterator[str]:
        if event.noun == "message":
            if event.data["content"] != []:
                yield "thread.message.created has content"
            named = self._message_steps
            if event.data["id"] not in named:
                yield "a message is created before the step that tells of it"
        else:
            details = event.data["step_details"]
            if details["type"] == "tool_calls" and details["tool_calls"] != []:
                yield "thread.run.step.created has tool calls"
            if details["type"] == "message_creation":
                self._message_steps.add(details["message_creation"]["message_id"])

    @property
    def _message_steps(self) -> set[str]:
        named: set[str] = self._ids.setdefault("messages of steps", set())
        return named

    def end(self) -> Iterator[str]:
        if not self._done:
            yield "the stream ends without done"
        if self._run not in RUN_ENDS and not self.is_broken:
            yield f"the stream ends after thread.run.{self._run}"


class _Entries:
    """The numbered entries deltas open in one message (content) or step (tool calls)."""

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._entries: list[Json] = []

    def take(self, event: Event) -> Iterator[str]:
        delta = event.data["delta"]
        if self._noun == "message":
            listed = delta.get("content") or []
        else:
            listed = (delta.get("step_details") or {}).get("tool_calls") or []
        for entry in listed:
            yield from self._entry(entry)

    def _entry(self, entry: Json) -> Iterator[str]:
        index = entry.get("index")
        if not isinstance(index, int) or isinstance(index, bool):
            yield f"a delta has the index {index!r}"
            return
        if index > len(self._entries) or index < len(self._entries) - 1:
            yield f"a delta has the index {index} after {len(self._entries) - 1}"
            return
        is_new = index == len(self._entries)
        if is_new:
            self._entries.append(entry)
        if self._noun == "message":
            yield from self._text(entry, is_new=is_new)
        else:
            yield from self._call(entry, is_new=is_new)

    def _text(self, entry: Json, *, is_new: bool) -> Iterator[str]:
        if entry["type"] != "text":
            return
        if is_new and entry["text"].get("annotations") != []:
            yield "the first delta of a text lacks its empty annotations"
        if not is_new and entry["text"].get("annotations") == []:
            yield "a later delta of a text repeats its empty annotations"
        for annotation in entry["text"].get("annotations") or []:
            if not isinstance(annotation.get("index"), int):
                yield "an annotation of a delta has no index"

    def _call(self, entry: Json, *, is_new: bool) -> Iterator[str]:
        inner = entry.get(entry["type"]) or {}
        if is_new:
            if not str(entry.get("id", "")).startswith("call_"):
                yield f"a call is opened with the id {entry.get('id')!r}"
            if entry["type"] == "function" and (not inner.get("name") or inner.get("arguments") != ""):
                yield "a function call is not opened with its name and empty arguments"
            if entry["type"] == "code_interpreter" and (inner.get("input") != "" or inner.get("outputs") != []):
                yield "a code interpreter call is not opened with empty input and outputs"
        elif "id" in entry or "name" in inner:
            yield "a later delta of a call repeats its id or name"
        for output in inner.get("outputs") or []:
            if not isinstance(output.get("index"), int):
                yield "an output of a delta has no index"

    def end(self, event: Event) -> Iterator[str]:
        details = event.data.get("step_details", {})
        whole = event.data["content"] if self._noun == "message" else details.get("tool_calls", [])
        if (
            self._noun == "step" and event.verb != "completed"
        ):  # stopped halfway: it may know less, or more, than was told
            told = [entry["id"] for entry in self._entries]
            known = [call["id"] for call in whole]
            if known[: len(told)] != told[: len(known)]:
                yield f"{event.name} has the calls {known} where deltas opened {told}"
        elif len(whole) != len(self._entries):
            yield f"{event.name} has {len(whole)} entries where deltas opened {len(self._entries)}"


# ---- what the SDK gathers


class _Gathering(openai.AssistantEventHandler):
    """Compares what it has gathered with what it is told in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        self._gathered: dict[str, Any] = {}

    def on_message_delta(self, delta: Any, snapshot: Any) -> None:
        self._gathered[snapshot.id] = _bare(snapshot.content)

    def on_run_step_delta(self, delta: Any, snapshot: Any) -> None:
        self._gathered[snapshot.id] = _bare(snapshot.step_details.tool_calls)

    def on_message_done(self, message: Any) -> None:
        self._compare(message.id, _bare(message.content))

    def on_run_step_done(self, run_step: Any) -> None:
        if run_step.step_details.type == "tool_calls" and run_step.status == "completed":
            self._compare(run_step.id, _bare(run_step.step_details.tool_calls))

    def on_event(self, event: Any) -> None:
        if event.event == "thread.run.requires_action":
            asked = _bare(event.data.required_action.submit_tool_outputs.tool_calls)
            told = {
                call["id"]: call["function"] for each in self._gathered.values() for call in each if "function" in call
            }
            for call in asked:
                if call["id"] in told and told[call["id"]]["arguments"] != call["function"]["arguments"]:
                    self.problems.append(f"the arguments of {call['id']} are not those of its deltas")

    def _compare(self, id_: str, whole: Any) -> None:
        if id_ in self._gathered and self._gathered[id_] != whole:
            self.problems.append(f"the SDK gathered {self._gathered[id_]} where the whole is {whole}")


def _bare(parts: list[Any]) -> Any:
    """Content parts or tool calls without the indexes of deltas and without what is null."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(each) for key, each in value.items() if key != "index" and each is not None}
        return [strip(each) for each in value] if isinstance(value, list) else value

    return strip([part.model_dump(warnings=False) for part in parts])


def _sums(body: bytes, events: list[Event]) -> Iterator[str]:
    replies = httpx2.MockTransport(
        lambda _: httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})
    )
    with openai.OpenAI(
        base_url="http://recorded/v1", api_key="any", max_retries=0, http_client=httpx2.Client(transport=replies)
    ) as client:
        try:
            with client.beta.threads.runs.stream(
                thread_id="thread_recorded", assistant_id="asst_recorded", event_handler=_Gathering()
            ) as handler:
                handler.until_done()
        except Exception as error:  # whatever the SDK stumbles over is a fault of the stream
            yield f"the SDK stumbles over the stream: {error!r}"
            return
    yield from handler.problems
    ended = [event.data for event in events if event.noun == "run" and event.verb in RUN_ENDS]
    if ended and handler.get_final_run().id != ended[-1]["id"]:
        yield "the SDK's final run is another"
