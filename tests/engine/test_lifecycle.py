"""The life of runs under everything that can happen to them at once, in any order.

Two workers of two servers share a database. Their clocks, their model and their sandbox are the test's: a worker stands
still until it is told what its model says, leases lapse when time is moved, and one that was too long away goes on
writing. After every step the rows must make sense.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from locum.access.principals import Principal
from locum.blobs.disk import DiskBlobs
from locum.domain import runs
from locum.domain.messages import Message, Text, TextPart
from locum.domain.runs import ACTIVE, FOLLOWS, Run
from locum.domain.search import Passage, Query
from locum.domain.steps import CodeInterpreterCall, FileSearchCall, FunctionCall, Step, pending_functions, total_usage
from locum.domain.tools import CodeInterpreterTool as CodeTool
from locum.domain.tools import FileSearchResources, FunctionDefinition, FunctionTool, ToolResources
from locum.domain.tools import FileSearchTool as SearchTool
from locum.domain.vector_stores import VectorStore
from locum.engine.worker import Worker
from locum.errors import InvalidRequest
from locum.leases import LEASE_SECONDS
from locum.models.chat import ChatRequest, Chunk, Finish, ModelError, TextDelta, ToolCallDelta, Usage
from locum.models.routes import Route, Routes
from locum.sandbox.session import CellResult, Opened
from locum.services.assistants import Assistants
from locum.services.messages import Messages
from locum.services.params import AssistantParams, NewMessage, NewRun, NewThread
from locum.services.queue import ThreadQueue
from locum.services.runs import Runs
from locum.services.threads import Threads
from locum.services.tracked_blobs import TrackedBlobs
from locum.signals.local import LocalSignals
from locum.store import runs as run_store
from locum.store import vector_stores as vector_store_store
from locum.store.database import Database
from locum.store.postgres import Postgres
from locum.store.rows import decode
from locum.store.runs import Claim
from locum.store.sqlite import SQLite
from locum.store.tables import messages as message_table
from locum.store.tables import run_steps as step_table
from locum.store.tables import runs as run_table
from locum.store.tables import threads as thread_table
from locum.store.tables import vector_stores as store_table
from locum.streams.hub import Streams
from locum.tools.code_interpreter import CodeInterpreterTool
from locum.tools.file_search import FileSearchTool
from locum.tools.hosted import HostedTools

T = TypeVar("T")
Task = asyncio.Task[Any]

PRINCIPAL = Principal(resource="default")
EXPIRY_SECONDS = 60
SETTLE_SECONDS = 20.0


class Stage:
    """Where executions stand still: the model and the sandbox, both asked by the task that is at work on a run."""

    def __init__(self) -> None:
        self.waiting: dict[Task, asyncio.Future[Any]] = {}
        self.at_model: set[Task] = set()
        self._news = asyncio.Event()

    async def stand_still(self, *, at_model: bool) -> Any:
        task = asyncio.current_task()
        assert task is not None
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting[task] = answer
        (self.at_model.add if at_model else self.at_model.discard)(task)
        self._news.set()
        try:
            return await answer
        finally:
            self.waiting.pop(task, None)

    async def settle(self, tasks: list[Task]) -> None:
        """Until each is over or stands still."""
        while moving := [task for task in tasks if not task.done() and self._moves(task)]:
            self._news.clear()
            news = asyncio.ensure_future(self._news.wait())
            done, _ = await asyncio.wait({news, *moving}, timeout=SETTLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            assert done, f"{moving} neither ends nor waits"

    def _moves(self, task: Task) -> bool:
        return task not in self.waiting or task.cancelling() > 0  # one that was stopped has not noticed yet

    # the model

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        while True:
            said = await self.stand_still(at_model=True)
            if isinstance(said, ModelError):
                raise said
            yield said
            if isinstance(said, Finish):
                return

    # the sandbox

    async def open(self, session: str, *, lost: bool = False) -> Opened:
        return Opened(fresh=False, files={})

    async def execute(
        self,
        session: str,
        call_id: str,
        code: str,
        on_output: Callable[[str], None] | None = None,
        *,
        preface: str = "",
    ) -> CellResult:
        return CellResult(logs=await self.stand_still(at_model=False), ok=True)

    # the search

    async def search(self, resource: str, store_ids: Sequence[str], query: Query) -> tuple[Passage, ...]:
        text = await self.stand_still(at_model=False)
        found = Passage(
            vector_store_id=store_ids[0],
            file_id="file-1",
            filename="a.txt",
            score=0.5,
            text=text,
            quote=text,
            start=0,
            end=len(text),
        )
        return (found,)

    async def wait_until_ingested(self, resource: str, store_id: str, *, timeout: float) -> bool:  # noqa: ASYNC109
        raise AssertionError("no thread has a store here")

    async def put(self, session: str, name: str, tag: str, chunks: AsyncIterator[bytes]) -> None:
        raise AssertionError("no file is put here")

    async def usage(self, session: str) -> None:
        return None

    def get(self, session: str, key: str) -> AsyncIterator[bytes]:
        raise AssertionError("no file is made here")


class OneModel(Routes):
    """Every name is answered by the one model there is."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    async def resolve(self, name: str) -> Route:
        return Route(model=self._stage, upstream_name=name)


@dataclass
class Working:
    """A task at work on a claim; `calls` are those its model has begun in the answer it is giving."""

    claim: Claim
    execution: Any
    calls: int = 0


class Rows(msgspec.Struct):
    """All there is, as of one moment."""

    runs: dict[str, Run]
    fences: dict[str, int]
    steps: dict[str, list[Step]]
    messages: dict[str, Message]

    def of_thread(self, thread_id: str) -> list[Run]:
        return [run for run in self.runs.values() if run.thread_id == thread_id]


def read_rows(conn: sa.Connection) -> Rows:
    found = conn.execute(sa.select(run_table.c.id, run_table.c.fence, run_table.c.doc).order_by(run_table.c.seq)).all()
    steps: dict[str, list[Step]] = {row.id: [] for row in found}
    for doc in conn.execute(sa.select(step_table.c.doc).order_by(step_table.c.seq)).scalars():
        step = decode(doc, Step)
        steps.setdefault(step.run_id, []).append(step)
    order = {row.id: position for position, row in enumerate(found)}
    said = conn.execute(sa.select(message_table.c.run_id, message_table.c.seq, message_table.c.doc)).all()
    said.sort(key=lambda row: (order.get(row.run_id, -1), row.seq))  # not by ids, which are random: runs must repeat
    messages = [decode(row.doc, Message) for row in said]
    return Rows(
        runs={row.id: decode(row.doc, Run) for row in found},
        fences={row.id: row.fence for row in found},
        steps=steps,
        messages={message.id: message for message in messages},
    )


def delete_rows(conn: sa.Connection) -> None:
    for table in (run_table, step_table, message_table, thread_table, store_table):
        conn.execute(sa.delete(table))


def reachable(status: str) -> set[str]:
    """Every status that may come later."""
    found: set[str] = set()
    to_see = [status]
    while to_see:
        for following in FOLLOWS[to_see.pop()] - found:  # type: ignore[index]
            found.add(following)
            to_see.append(following)
    return found


class Node:
    """One server: its worker is looked after by hand instead of by its loop."""

    def __init__(self, name: str, world: RunLife) -> None:
        self.name = name
        self.signals = LocalSignals()
        self.streams = Streams()
        args = (world.db, world.clock, self.signals, self.streams)
        self.runs = Runs(
            *args,
            owner=name,
            expiry_seconds=EXPIRY_SECONDS,
            queue=ThreadQueue(self.signals),
            wake_ingestion=_no_files,
        )
        self.threads = Threads(*args, forget_session=_forget, wake=_no_files)
        blobs = TrackedBlobs(world.db, DiskBlobs(world.folder), world.clock)
        tools = HostedTools(
            code_interpreter=CodeInterpreterTool(world.stage, blobs, world.clock, ready=_ready),
            file_search=FileSearchTool(world.stage, world.clock),
        )
        self.worker = Worker(*args, OneModel(world.stage), tools, blobs, owner=name, slots=3)


def _no_files() -> None:
    """There is no ingestion worker that could be woken."""


async def _forget(resource: str, thread_id: str) -> None:
    pass


async def _ready() -> None:
    pass


NODES = st.sampled_from(["A", "B"])
SOMEBODY = st.sampled_from([None, "A", "B", "A", "B"])
PIECES = st.lists(st.sampled_from(["text", "f", "code_interpreter", "file_search"]), max_size=3)
WHICH = st.integers(0, 5)


class RunLife(RuleBasedStateMachine):
    """What may happen."""

    db: Database
    runner: asyncio.Runner
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_700_000_000.0
        self.stage = Stage()
        self.nodes = {name: Node(name, self) for name in "AB"}
        self.working: dict[Task, Working] = {}
        self.seen: Rows | None = None
        self.deleted: set[str] = set()
        self.cancelled: set[str] = set()
        self.buried: list[Any] = []
        self.words = 0

    def clock(self) -> float:
        return self.now

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Let it happen, and whatever follows from it."""

        async def happen() -> T:
            try:
                return await coroutine
            finally:
                self._note_claims()
                await self.stage.settle(list(self.working))
                self.working = {task: each for task, each in self.working.items() if not task.done()}

        return self.runner.run(happen())

    def rows(self) -> Rows:
        return self.runner.run(self.db.read(read_rows))

    def word(self) -> str:
        """Never said before."""
        self.words += 1
        return f"w{self.words} "

    def _note_claims(self) -> None:
        for node in self.nodes.values():
            for held in node.worker._held.values():
                self.working.setdefault(held.task, Working(held.claim, held.execution))

    # ---- callers

    @initialize()
    def begin(self) -> None:
        tools = (CodeTool(), SearchTool(), FunctionTool(FunctionDefinition(name="f")))
        store = VectorStore(id="vs_1", created_at=0, last_active_at=0)
        self.do(self.db.write(lambda conn: vector_store_store.insert(conn, PRINCIPAL.resource, store)))
        resources = ToolResources(file_search=FileSearchResources(vector_store_ids=(store.id,)))
        params = AssistantParams(model="m", tools=tools, tool_resources=resources)
        self.assistant = self.do(Assistants(self.db, self.clock, _no_files).create(PRINCIPAL, params)).id
        self.messages = Messages(self.db, self.clock, ThreadQueue(LocalSignals()), _no_files)
        self.threads = [self.new_thread() for _ in range(2)]
        for which in range(2):
            self.create_run("A", which, stream=False, budget=None, worker="A")

    def new_thread(self) -> str:
        said = NewMessage(role="user", content=(TextPart(Text(value="hello")),))
        return self.do(self.nodes["A"].threads.create(PRINCIPAL, NewThread(messages=(said,)))).id

    def active(self, rows: Rows, thread_id: str) -> list[Run]:
        return [run for run in rows.of_thread(thread_id) if run.status in ACTIVE]

    @rule(node=NODES, which=WHICH, stream=st.booleans(), budget=st.sampled_from([None, None, 256]), worker=SOMEBODY)
    def create_run(self, node: str, which: int, stream: bool, budget: int | None, worker: str | None) -> None:
        thread = self.threads[which % 2]
        is_busy = bool(self.active(self.rows(), thread))
        new = NewRun(assistant_id=self.assistant, max_completion_tokens=budget)
        creating = self.nodes[node].runs.create(PRINCIPAL, thread, new, surface="openai", stream=stream)
        self.expect(creating, refused=is_busy)
        if worker:
            self.do(self.nodes[worker].worker._claim())

    @rule(
        node=NODES,
        which=WHICH,
        how=st.sampled_from(["right", "right", "right", "part", "foreign", "twice"]),
        stream=st.booleans(),
        worker=SOMEBODY,
    )
    def submit(self, node: str, which: int, how: str, stream: bool, worker: str | None) -> None:
        if run := self.pick_run(which, "requires_action"):
            outputs = [(call.id, self.word()) for call in run.required_calls]
            said = {"right": outputs, "part": outputs[1:], "foreign": [*outputs, ("call_x", "")], "twice": outputs * 2}
            submitting = self.nodes[node].runs.submit_tool_outputs(
                PRINCIPAL, run.thread_id, run.id, said[how], stream=stream
            )
            self.expect(submitting, refused=how != "right" or run.status != "requires_action")
            if worker:
                self.do(self.nodes[worker].worker._claim())

    @rule(node=NODES, which=WHICH)
    def cancel(self, node: str, which: int) -> None:
        if run := self.pick_run(which):
            cancelling = self.nodes[node].runs.cancel(PRINCIPAL, run.thread_id, run.id)
            if self.expect(cancelling, refused="cancelling" not in FOLLOWS[run.status]):
                self.cancelled.add(run.id)

    @rule(which=WHICH, what=st.sampled_from(["add_message", "label_run", "label_message", "delete_message"]))
    def change(self, which: int, what: str) -> None:
        getattr(self, what)(which)

    def add_message(self, which: int) -> None:
        thread = self.threads[which % 2]
        is_busy = bool(self.active(self.rows(), thread))
        said = NewMessage(role="user", content=(TextPart(Text(value="more")),))
        self.expect(self.messages.create(PRINCIPAL, thread, said), refused=is_busy)

    def label_run(self, which: int) -> None:
        if run := self.pick_run(which):
            metadata = {"seen": self.word()}
            self.do(self.nodes["A"].runs.update(PRINCIPAL, run.thread_id, run.id, metadata=metadata))
            assert self.rows().runs[run.id].metadata == metadata

    def label_message(self, which: int) -> None:
        if messages := [each for each in self.rows().messages.values() if each.run_id]:
            message = messages[which % len(messages)]
            metadata = {"seen": self.word()}
            self.do(self.messages.update(PRINCIPAL, message.thread_id, message.id, metadata=metadata))
            assert self.rows().messages[message.id].metadata == metadata

    def delete_message(self, which: int) -> None:
        if messages := [each for each in self.rows().messages.values() if each.run_id]:
            message = messages[which % len(messages)]
            self.deleted.add(message.id)
            self.do(self.messages.delete(PRINCIPAL, message.thread_id, message.id))

    def pick_run(self, which: int, *preferred: str) -> Run | None:
        """One of the newest runs, of those in a preferred status where there are any."""
        every = list(self.rows().runs.values())[::-1]
        every = [run for run in every if run.status in preferred] or every
        return every[which % len(every)] if every else None

    def expect(self, coroutine: Coroutine[Any, Any, object], *, refused: bool) -> bool:
        """Whether it was done; what is refused changes nothing."""
        if not refused:
            self.do(coroutine)
            return True
        before = self.rows()
        with pytest.raises(InvalidRequest):
            self.do(coroutine)
        assert self.rows() == before
        return False

    # ---- servers

    @rule(node=NODES, duties=st.lists(st.sampled_from(["claim", "renew", "sweep", "hear"]), min_size=1, max_size=3))
    def look_after_runs(self, node: str, duties: list[str]) -> None:
        """What the worker's loop does at its times; `hear` is the signal of a cancel, which may come late or never."""
        worker = self.nodes[node].worker

        async def hear() -> None:
            for run_id in self.cancelled & worker._held.keys():
                worker._held[run_id].execution.stop("cancelled")

        todo = {"claim": worker._claim, "renew": worker._renew, "sweep": worker._sweep, "hear": hear}
        for duty in duties:
            self.do(todo[duty]())

    @rule(seconds=st.sampled_from([1.0, LEASE_SECONDS / 2, LEASE_SECONDS + 1, EXPIRY_SECONDS + 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(successor=NODES)
    def leases_lapse(self, successor: str) -> None:
        """Whoever has a run by now hears of its loss only when it next writes."""
        self.now += LEASE_SECONDS + 1
        self.do(self.nodes[successor].worker._claim())

    @rule(node=NODES, what=st.sampled_from(["stopped", "lost", "killed", "killed", "thread deleted"]))
    def trouble(self, node: str, what: str) -> None:
        server = self.nodes[node]
        match what:
            case "stopped":  # what it holds is given back
                self.do(server.worker.stop())
                self.nodes[node] = Node(server.name, self)
            case "lost":  # it hangs: what it holds may go on at any time, unseen by the others
                self.nodes[node] = Node(f"{server.name}'", self)
            case "killed":  # what it held stands still for ever, its successor begins at once
                held = server.worker._held.values()
                self.buried += held
                dead = {each.task for each in held}
                self.working = {task: each for task, each in self.working.items() if task not in dead}
                self.do(self.db.write(lambda conn: run_store.release_all(conn, server.name)))
                self.nodes[node] = Node(server.name, self)
            case "thread deleted":
                self.delete_thread(server)

    def delete_thread(self, server: Node) -> None:
        thread = self.threads.pop(0)
        self.do(server.threads.delete(PRINCIPAL, thread))
        rows = self.rows()
        assert not rows.of_thread(thread)
        assert not [each for each in rows.messages.values() if each.thread_id == thread]
        assert not [each for steps in rows.steps.values() for each in steps if each.thread_id == thread]
        self.threads.append(self.new_thread())

    # ---- models and sandboxes

    @precondition(lambda self: self.at_model())
    @rule(which=WHICH, pieces=PIECES)
    def model_answers(self, which: int, pieces: list[str]) -> None:
        self.speak(which, pieces, "stop")

    @precondition(lambda self: self.at_model())
    @rule(
        which=WHICH,
        pieces=PIECES,
        end=st.sampled_from([None, None, None, "length", "content_filter", "cut", "cut", "unavailable", "refused"]),
    )
    def model_breaks_off(self, which: int, pieces: list[str], end: str | None) -> None:
        self.speak(which, pieces, end)

    def speak(self, which: int, pieces: list[str], end: str | None) -> None:
        """Some of an answer, or up to its end; any piece may find that the run is another's by now."""
        tasks = self.at_model()
        task = tasks[which % len(tasks)]
        for piece in pieces:
            if task in self.at_model():
                self.go_on(task, self.piece(self.working[task], piece))
        if end is not None and task in self.at_model():
            self.go_on(task, self.end_of_answer(self.working[task], end))

    def piece(self, working: Working, what: str) -> Chunk:
        if what == "text":
            return TextDelta(self.word())
        working.calls += 1
        return ToolCallDelta(index=working.calls, id=f"x{working.calls}", name=what, arguments=self.word())

    def end_of_answer(self, working: Working, how: Any) -> Chunk | ModelError:
        has_calls, working.calls = bool(working.calls), 0
        if how in ("cut", "unavailable", "refused"):
            return ModelError("It broke.", kind=how)
        reason = "tool_calls" if has_calls and how == "stop" else how
        return Finish(reason=reason, usage=Usage(prompt_tokens=10, completion_tokens=100))

    @precondition(lambda self: self.at_cell())
    @rule(which=WHICH)
    def cell_ends(self, which: int) -> None:
        tasks = self.at_cell()
        self.go_on(tasks[which % len(tasks)], self.word())

    def at_model(self) -> list[Task]:
        return [task for task in self.working if task in self.stage.waiting and task in self.stage.at_model]

    def at_cell(self) -> list[Task]:
        return [task for task in self.working if task in self.stage.waiting and task not in self.stage.at_model]

    def go_on(self, task: Task, answer: Any) -> None:
        """Whoever has lost the run changes nothing any more."""
        claim = self.working[task].claim
        before = None if self.is_held(claim) else self.rows()

        async def resume() -> None:
            self.stage.waiting.pop(task).set_result(answer)

        self.do(resume())
        assert before is None or self.rows() == before

    def is_held(self, claim: Claim) -> bool:
        query = sa.select(run_table.c.status, run_table.c.fence).where(run_table.c.id == claim.run_id)
        row = self.runner.run(self.db.read(lambda conn: conn.execute(query).one_or_none()))
        return row is not None and row.status in ACTIVE and row.fence == claim.fence

    # ---- what holds at any time

    @invariant()
    def rows_make_sense(self) -> None:
        rows = self.rows()
        for thread in self.threads if hasattr(self, "threads") else ():
            assert len(self.active(rows, thread)) <= 1
        for run in rows.runs.values():
            self.check_run(run, rows)
        self.check_nothing_is_doubled(rows)
        if self.seen is not None:
            self.check_moves(self.seen, rows)
        self.seen = rows

    def check_run(self, run: Run, rows: Rows) -> None:
        steps = rows.steps[run.id]
        own = [message for message in rows.messages.values() if message.run_id == run.id]
        assert sorted(each.id for each in own) == sorted(
            step.message_id for step in steps if step.message_id and step.message_id not in self.deleted
        )
        for step in steps:
            message = rows.messages.get(step.message_id or "")
            assert message is None or (message.status == "in_progress") == step.is_open
        assert (run.status == "requires_action") == bool(run.required_calls)
        if run.status == "requires_action":
            (open_step,) = [step for step in steps if step.is_open]
            assert open_step == steps[-1]
            assert [call.id for call in run.required_calls] == [call.id for call in pending_functions(open_step)]
            assert all(call.is_done for call in open_step.tool_calls if not isinstance(call, FunctionCall))
        if run.status not in ACTIVE:
            assert not [step for step in steps if step.is_open]
            used = total_usage(steps)
            # An answer that failed before it opened a step counts for the run alone.
            stepless = used + runs.Usage(prompt_tokens=10, completion_tokens=100, total_tokens=110)
            assert run.usage == used or (run.status in ("failed", "incomplete") and run.usage == stepless)
            assert (run.expires_at is None) == (run.status != "expired")
        else:
            assert run.usage is None
            assert run.expires_at is not None
        if run.status == "completed":
            assert steps[-1].status == "completed"
            assert steps[-1].message_id is not None
            assert all(call.is_done for step in steps for call in step.tool_calls)

    def check_nothing_is_doubled(self, rows: Rows) -> None:
        said = [word for message in rows.messages.values() if message.run_id for word in message.text.split()]
        for step in (step for steps in rows.steps.values() for step in steps):
            for call in step.tool_calls:
                match call:
                    case CodeInterpreterCall():
                        said += call.code_interpreter.input.split()
                    case FileSearchCall(file_search=search):
                        said += [
                            *search.queries,
                            *(word for each in search.results or () for word in each.text.split()),
                        ]
                    case FunctionCall():
                        said += [*call.function.arguments.split(), *(call.function.output or "").split()]
        assert len(said) == len(set(said)), f"said twice: {sorted(word for word in said if said.count(word) > 1)}"

    def check_moves(self, before: Rows, after: Rows) -> None:
        for run_id, old in before.runs.items():
            new = after.runs.get(run_id)
            if new is None:
                continue  # its thread was deleted
            assert new.status == old.status or new.status in reachable(old.status)
            if old.status not in ACTIVE:
                assert msgspec.structs.replace(new, metadata=old.metadata) == old
                assert after.steps[run_id] == before.steps[run_id]
                for message in (each for each in before.messages.values() if each.run_id == run_id):
                    kept = after.messages.get(message.id, message)
                    assert msgspec.structs.replace(kept, metadata=message.metadata) == message

    def teardown(self) -> None:
        """However it stands: once its time is over, nothing is left active."""
        try:
            self.now += EXPIRY_SECONDS + LEASE_SECONDS + 1
            for node in self.nodes.values():
                self.do(node.worker._sweep())
            self.rows_make_sense()
            assert not [run for run in self.rows().runs.values() if run.status in ACTIVE]
        finally:
            self.runner.run(self.end())

    async def end(self) -> None:
        everyone = [*self.buried, *self.working.values()]
        tasks = [*(each.task for each in self.buried), *self.working]
        for each in everyone:
            each.execution.stop("lease lost")
        if tasks:
            await asyncio.wait(tasks)
        await self.db.write(delete_rows)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path: Path) -> Iterator[Database]:
    database: Database
    if request.param == "sqlite":
        database = SQLite(tmp_path / "locum.db")
    else:
        database = runner.run(Postgres.open(request.getfixturevalue("postgres").create()))
    yield database
    runner.run(database.close())


def live(db: Database, runner: asyncio.Runner, folder: Path, *, examples: int, steps: int) -> None:
    machine = type("RunLife", (RunLife,), {"db": db, "runner": runner, "folder": folder})
    limits = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=limits)


def test_rows_make_sense_whatever_happens(db: Database, runner: asyncio.Runner, tmp_path: Path) -> None:
    live(db, runner, tmp_path, examples=40 if isinstance(db, SQLite) else 12, steps=40)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_rows_make_sense_whatever_happens_for_long(db: Database, runner: asyncio.Runner, tmp_path: Path) -> None:
    live(db, runner, tmp_path, examples=300 if isinstance(db, SQLite) else 80, steps=60)
