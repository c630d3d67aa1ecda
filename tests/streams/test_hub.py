"""The logs of runs, as readers see them: everything once, in order, from wherever they begin."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locum.api.v2.objects import render_event
from locum.domain.events import (
    CodeInterpreterCallDelta,
    CodeInterpreterDelta,
    Done,
    Event,
    LogOutputDelta,
    MessageDelta,
    MessageEvent,
    RunEvent,
    StepDelta,
    StepEvent,
    TextDelta,
    TextPartDelta,
)
from locum.domain.messages import Message, Text, TextPart
from locum.domain.runs import RequiredCall, RequiredFunction, Run
from locum.domain.steps import CodeInterpreter, CodeInterpreterCall, LogOutput, Step, ToolCallsDetails
from locum.streams.hub import KEEP_SECONDS, MAX_KEPT, Reader, Streams

RUN = Run(
    id="run_1",
    created_at=1,
    thread_id="thread_1",
    assistant_id="asst_1",
    status="in_progress",
    model="m",
    instructions="",
    tools=(),
    expires_at=601,
)
STARTED, COMPLETED = RunEvent("in_progress", RUN), RunEvent("completed", RUN)
CALL = RequiredCall(id="call_1", function=RequiredFunction(name="f", arguments="{}"))
ASKS = RunEvent("requires_action", msgspec.structs.replace(RUN, status="requires_action", required_calls=(CALL,)))


def message(text: str = "") -> Message:
    parts = (TextPart(Text(value=text)),) if text else ()
    return Message(id="msg_1", created_at=1, thread_id="thread_1", role="assistant", content=parts)


def say(text: str, *, index: int = 0) -> Event:
    return MessageDelta("msg_1", (TextPartDelta(index=index, text=TextDelta(value=text)),))


def prints(text: str, *, index: int = 0) -> Event:
    output = CodeInterpreterDelta(outputs=(LogOutputDelta(index=0, logs=text),))
    return StepDelta("step_1", (CodeInterpreterCallDelta(index=index, code_interpreter=output),))


def step(*outputs: str | None) -> Step:
    """A step whose calls have printed that, or are still to be made."""
    calls = tuple(
        CodeInterpreterCall(
            f"call_{number}",
            CodeInterpreter(input="code", outputs=None if text is None else (LogOutput(text),)),
        )
        for number, text in enumerate(outputs)
    )
    return Step(
        id="step_1",
        created_at=1,
        assistant_id="asst_1",
        thread_id="thread_1",
        run_id="run_1",
        step_details=ToolCallsDetails(calls),
    )


def logs(read: list[Frame]) -> list[str]:
    return re.findall(r'"logs":"([^"]*)"', "".join(frame.data for frame in read if "delta" in frame.name))


def begun() -> Streams:
    """run_1 is created, read by its creator and worked on."""
    streams = Streams()
    streams.open("run_1")
    streams.publish("run_1", RunEvent("created", RUN), RunEvent("queued", RUN))
    streams.publish("run_1", STARTED)
    return streams


class Frame:
    """One event as a client gets it."""

    def __init__(self, text: str) -> None:
        fields = dict(line.split(": ", 1) for line in text.splitlines())
        self.name, self.data, self.id = fields["event"], fields["data"], fields.get("id")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and (self.name, self.data, self.id) == (other.name, other.data, other.id)

    def __repr__(self) -> str:
        return f"{self.id} {self.name} {self.data}"


def frames(body: bytes) -> list[Frame]:
    return [Frame(text) for text in body.decode().split("\n\n") if text]


def take(reader: Reader | None) -> list[Frame]:
    assert reader is not None
    return frames(reader.take(render_event))


def names(read: list[Frame]) -> list[str]:
    return [frame.name.removeprefix("thread.") for frame in read]


def texts(read: list[Frame]) -> list[str]:
    return re.findall(r'"value":"([^"]*)"', "".join(frame.data for frame in read if "delta" in frame.name))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("say"), st.text("ab\n\U0001f600", min_size=1, max_size=3), st.integers(0, 1)),
            st.tuples(st.just("print"), st.text("ab\n\U0001f600", min_size=1, max_size=3), st.integers(0, 1)),
            st.tuples(st.just("started")),
            st.tuples(st.just("open")),
            st.tuples(st.just("whole")),
            st.tuples(st.just("take"), st.integers(0, 9)),
            st.tuples(st.just("reconnect"), st.integers(0, 9)),
        ),
        max_size=60,
    ),
)
def test_every_reader_sees_every_event_once_and_in_order_whatever_happens_between(acts: list[Any]) -> None:
    streams = begun()
    told = [("thread.run.created", ""), ("thread.run.queued", ""), ("thread.run.in_progress", "")]
    readers: list[tuple[Reader, int, list[Frame]]] = []

    def finish() -> None:
        streams.publish("run_1", COMPLETED, Done())
        told.extend([("thread.run.completed", ""), ("done", "")])

    for act in acts:
        match act:
            case ("say", text, index):
                streams.publish("run_1", say(text, index=index))
                told.append(
                    ("thread.message.delta", f'"index":{index},"text":{{"value":{msgspec.json.encode(text).decode()}}}')
                )
            case ("print", text, index):
                streams.publish("run_1", prints(text, index=index))
                told.append(
                    (
                        "thread.run.step.delta",
                        f'"index":{index},"code_interpreter":{{"outputs":[{{"type":"logs","index":0,'
                        f'"logs":{msgspec.json.encode(text).decode()}}}]}}',
                    )
                )
            case ("started",):
                streams.publish("run_1", STARTED)
                told.append(("thread.run.in_progress", ""))
            case ("open",):
                readers.append((streams.open("run_1"), len(told), []))
            case ("whole",):
                readers.append((streams.open_whole("run_1", (), goes_on=True), 0, []))
            case ("take", which) if readers:
                reader, _, seen = readers[which % len(readers)]
                seen.extend(take(reader))
            case ("reconnect", which) if readers:
                which %= len(readers)
                reader, since, seen = readers[which]
                reader.close()
                last = next((frame.id for frame in reversed(seen) if frame.id), None)
                if last is not None:
                    again = streams.open_at("run_1", last)
                    assert again is not None
                    readers[which] = (again, since, seen)
                else:
                    readers[which] = (streams.open_whole("run_1", (), goes_on=True), 0, [])
    finish()
    numbers: dict[str, Frame] = {}
    for reader, since, seen in readers:
        seen.extend(take(reader))
        assert reader.is_over
        assert [frame.name for frame in seen] == [name for name, _ in told[since:]]
        assert all(piece in frame.data for frame, (_, piece) in zip(seen, told[since:], strict=True))
        places = [tuple(map(int, frame.id.split("."))) for frame in seen if frame.id]
        assert places == sorted(set(places))
        assert all(numbers.setdefault(frame.id, frame) == frame for frame in seen if frame.id)


def test_a_reader_waits_until_there_is_something() -> None:
    async def scene() -> None:
        streams = begun()
        reader = streams.open("run_1")
        waiting = asyncio.ensure_future(reader.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        streams.publish("run_1", say("x"))
        await waiting
        await reader.wait()  # there still is
        assert texts(take(reader)) == ["x"]

    asyncio.run(asyncio.wait_for(scene(), 10))


def test_ids_go_up_when_the_run_goes_on_in_another_process() -> None:
    ids = []
    for now in (1000.0, 1000.5):
        streams = Streams(lambda now=now: now)  # type: ignore[misc]
        reader = streams.open("run_1")
        streams.publish("run_1", STARTED, say("x"))
        ids += [frame.id for frame in take(reader)]
    assert ids == ["1000000.1", "1000000.2", "1000500.1", "1000500.2"]


@pytest.mark.parametrize("id_", ["", "x", "1.2.3", "1", "-1.2", "9" * 30 + ".1", "١.٢"])
def test_an_id_that_is_none_is_not_known(id_: str) -> None:
    assert begun().open_at("run_1", id_) is None


def test_an_id_of_another_log_is_not_known() -> None:
    streams = begun()
    last = take(streams.open_whole("run_1", (), goes_on=True))[-1].id
    assert last is not None
    stamp, number = map(int, last.split("."))
    assert streams.open_at("run_1", last) is not None
    assert streams.open_at("run_1", f"{stamp + 1}.{number}") is None
    assert streams.open_at("run_1", f"{stamp}.{number + 1}") is None
    assert streams.open_at("run_2", last) is None


def test_a_late_reader_is_told_deltas_too() -> None:
    streams = begun()
    for word in ("a", "b"):
        streams.publish("run_1", say(word))
    late = streams.open_whole("run_1", (), goes_on=True)
    streams.publish("run_1", say("c"), Done())
    assert texts(take(late)) == ["a", "b", "c"]


def test_a_run_that_nobody_read_costs_no_deltas_and_a_late_reader_gets_its_open_message_whole() -> None:
    streams = Streams()
    streams.publish("run_1", STARTED)
    streams.publish("run_1", MessageEvent("created", message()))
    assert not streams.is_read("run_1")  # "so " is therefore not told
    late = streams.open_whole("run_1", (), goes_on=True)
    assert streams.is_read("run_1")
    streams.publish("run_1", say("far"))
    streams.publish("run_1", MessageEvent("completed", message("so far")), COMPLETED, Done())
    read = take(late)
    assert names(read) == [
        "run.in_progress",
        "message.created",
        "message.delta",
        "message.completed",
        "run.completed",
        "done",
    ]
    assert texts(read) == ["so far"]


def test_what_a_call_printed_before_anybody_listened_is_told_once() -> None:
    streams = Streams()
    streams.publish("run_1", STARTED, StepEvent("created", step()), prints("one"))
    late = streams.open_whole("run_1", (), goes_on=True)
    streams.publish("run_1", prints("two", index=1))
    streams.publish("run_1", StepEvent("completed", step("one", "two")), Done())
    assert logs(take(late)) == ["one", "two"] == logs(take(streams.open_whole("run_1", (), goes_on=False)))


def test_who_comes_while_a_call_is_made_is_told_the_call_and_what_it_prints() -> None:
    streams = Streams()
    streams.publish("run_1", STARTED, StepEvent("created", step()))
    late = streams.open_whole("run_1", (), goes_on=True)
    for text in ("a", "b"):
        streams.make_up("run_1", StepEvent("in_progress", step("x", None)))
        streams.publish("run_1", prints(text, index=1))
    read = take(late)
    assert names(read) == ["run.in_progress", "run.step.created", *["run.step.delta"] * 7]
    assert logs(read) == ["x", "a", "b"]
    streams.publish("run_1", StepEvent("completed", step("x", "ab")), Done())
    assert names(take(late)) == ["run.step.completed", "done"]


def test_a_run_whose_reader_has_gone_is_told_on_for_the_case_that_it_comes_back() -> None:
    streams = begun()
    reader = streams.open("run_1")
    streams.publish("run_1", say("a"))
    last = take(reader)[-1].id
    assert last is not None
    reader.close()
    assert streams.is_read("run_1")
    streams.publish("run_1", say("b"))
    again = streams.open_at("run_1", last)
    assert texts(take(again)) == ["b"]


def test_nothing_is_kept_of_a_run_that_ended_and_was_never_read() -> None:
    streams = Streams()
    streams.publish("run_1", STARTED, COMPLETED, Done())
    assert not streams.is_known("run_1")


def test_what_is_told_of_a_run_that_is_neither_read_nor_worked_on_is_not_kept() -> None:
    streams = Streams()
    streams.publish("run_1", RunEvent("cancelling", RUN))
    assert not streams.is_known("run_1")


def test_a_log_is_kept_for_a_while_after_the_end() -> None:
    now = 0.0
    streams = Streams(monotonic=lambda: now)
    reader = streams.open("run_1")
    streams.publish("run_1", RunEvent("created", RUN), COMPLETED, Done())
    assert take(reader)[-1].name == "done"
    now = KEEP_SECONDS - 1
    assert names(take(streams.open_whole("run_1", (), goes_on=False))) == ["run.created", "run.completed", "done"]
    now += KEEP_SECONDS + 1
    streams.open("run_2").close()
    assert not streams.is_known("run_1")


def test_only_so_many_logs_are_kept() -> None:
    streams = Streams()
    for number in range(MAX_KEPT + 10):
        streams.open(f"run_{number}").close()
    assert sum(streams.is_known(f"run_{number}") for number in range(MAX_KEPT + 10)) == MAX_KEPT


def test_a_run_that_others_work_on_is_kept_for_as_long_as_it_is_read() -> None:
    now = 0.0
    streams = Streams(monotonic=lambda: now)
    streams.open("run_1")
    now = 10 * KEEP_SECONDS
    streams.open("run_2").close()
    streams.open("run_3").close()
    assert streams.has_readers("run_1")


def test_a_log_is_bounded_in_bytes_and_who_is_too_far_behind_is_told() -> None:
    streams = Streams(max_bytes=10_000)
    slow, quick = streams.open("run_1"), streams.open("run_1")
    for _ in range(100):
        streams.publish("run_1", STARTED, say("x" * 100))
        take(quick)
    assert names(take(slow)) == ["error", "done"]
    assert slow.is_over
    assert not quick.is_over
    assert sum(len(frame.data) for frame in take(streams.open_whole("run_1", (), goes_on=True))) < 20_000


def test_one_long_text_is_bounded_too() -> None:
    streams = Streams(max_events=100)
    reader = streams.open("run_1")
    seen = []
    for number in range(1000):
        streams.publish("run_1", say(str(number)))
        seen += texts(take(reader))
    assert seen == [str(number) for number in range(1000)]
    assert len(take(streams.open_whole("run_1", (), goes_on=True))) <= 100


def test_a_question_that_has_been_answered_is_not_asked_again() -> None:
    streams = begun()
    creator = streams.open("run_1")
    streams.publish("run_1", ASKS, Done())
    assert names(take(streams.open_whole("run_1", (), goes_on=False)))[-2:] == ["run.requires_action", "done"]
    submitter = streams.open("run_1")
    streams.publish("run_1", RunEvent("queued", RUN))
    streams.publish("run_1", STARTED)
    late = streams.open_whole("run_1", (), goes_on=True)
    streams.publish("run_1", COMPLETED, Done())
    assert names(take(creator)) == ["run.requires_action", "done"]
    assert names(take(submitter)) == ["run.queued", "run.in_progress", "run.completed", "done"]
    assert names(take(late)) == [
        *("run.created", "run.queued", "run.in_progress"),
        *("run.queued", "run.in_progress", "run.completed", "done"),
    ]


def test_a_late_reader_of_a_run_taken_over_is_told_first_what_the_rows_know() -> None:
    streams = Streams()
    streams.publish("run_1", STARTED)
    replayed = (RunEvent("created", RUN), RunEvent("queued", RUN), STARTED, MessageEvent("created", message()))
    reader = streams.open_whole("run_1", replayed, goes_on=True)
    streams.publish("run_1", MessageEvent("created", message()), say("x"))
    read = take(reader)
    assert names(read) == ["run.created", "run.queued", "run.in_progress", "message.created", "message.delta"]
    again = streams.open_at("run_1", read[0].id or "")
    assert again is None  # what came from rows cannot be gone on from
    assert names(take(streams.open_at("run_1", read[3].id or ""))) == ["message.delta"]


def test_what_another_server_does_is_told_once() -> None:
    streams = Streams()
    created = (RunEvent("created", RUN), RunEvent("queued", RUN))
    reader = streams.open_whole("run_1", created, goes_on=False)
    done = (STARTED, MessageEvent("created", message()), say("x"), MessageEvent("completed", message("x")), COMPLETED)
    for upto in range(len(done) + 1):
        streams.catch_up("run_1", (*created, *done[:upto]), is_over=upto == len(done))
    streams.catch_up("run_1", (*created, *done), is_over=True)
    assert names(take(reader)) == [
        *("run.created", "run.queued", "run.in_progress", "message.created", "message.delta", "message.completed"),
        *("run.completed", "done"),
    ]


def test_a_stream_that_is_broken_off_says_why() -> None:
    streams = begun()
    reader = streams.open("run_1")
    streams.publish("run_1", say("x"))
    streams.break_off("run_1", "another server goes on with it.")
    read = take(reader)
    assert names(read) == ["message.delta", "error", "done"]
    assert "another server" in read[1].data
    assert not streams.is_known("run_1")


def test_a_reader_that_comes_when_the_server_stops_is_told_so() -> None:
    streams = begun()
    streams.end_all()
    for reader in (streams.open("run_1"), streams.open_whole("run_2", (), goes_on=False)):
        assert names(take(reader)) == ["error", "done"]


def test_what_all_readers_of_a_dialect_read_is_encoded_once() -> None:
    rendered = 0

    def render(event: Event) -> tuple[str, bytes]:
        nonlocal rendered
        rendered += 1
        return render_event(event)

    streams = begun()
    readers = [streams.open("run_1") for _ in range(10)]
    for _ in range(5):
        streams.publish("run_1", say("x"))
        assert len({reader.take(render) for reader in readers}) == 1
    assert rendered == 5
