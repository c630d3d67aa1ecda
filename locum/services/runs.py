"""Runs: create (with or without its thread), retrieve, wait, list, update, submit tool outputs, cancel.

A run is only written here; a worker of the engine finds the row and makes it move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection

from locum import ids
from locum.access.principals import Principal
from locum.clock import Clock
from locum.domain import runs as domain
from locum.domain import steps as step_domain
from locum.domain.assistants import Assistant
from locum.domain.events import RunEvent, StepEvent, ThreadCreated
from locum.domain.files import Surface
from locum.domain.pages import Listing, Page
from locum.domain.runs import Run, Usage
from locum.domain.steps import Step
from locum.domain.threads import Thread
from locum.domain.tools import CodeInterpreterTool, FileSearchTool, FunctionTool, ToolResources
from locum.errors import InvalidRequest, NotFound
from locum.services import tool_resources
from locum.services.events import Events
from locum.services.idempotency import IdempotencyKey, create_or_find
from locum.services.messages import add_messages
from locum.services.params import NewRun, NewThread, are_searched
from locum.services.queue import ThreadBusy, ThreadQueue
from locum.services.threads import insert_thread
from locum.signals.base import Signals
from locum.signals.waiting import until
from locum.store import assistants as assistant_store
from locum.store import runs as store
from locum.store import steps as step_store
from locum.store import threads as thread_store
from locum.store.database import Database
from locum.streams.hub import Reader, Streams

_RESERVED_SECONDS = 10
"""How long a streamed run waits for a worker of the process its client is connected to."""
_FIRST = Page(limit=1, order="asc")


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was created; `thread` where it came with one, `reader` where the caller wants its events."""

    run: Run
    thread: Thread | None = None
    reader: Reader | None = None


class Runs:
    """`owner` is this process's name as a worker; `expiry_seconds` is how long a run may take; `wake_ingestion` tells
    the ingestion worker that there may be files to ingest."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        signals: Signals,
        streams: Streams,
        *,
        owner: str,
        expiry_seconds: int,
        queue: ThreadQueue,
        wake_ingestion: Callable[[], None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._signals = signals
        self._streams = streams
        self._owner = owner
        self._expiry_seconds = expiry_seconds
        self._events = Events(db, signals, streams)
        self._queue = queue
        self._wake_ingestion = wake_ingestion

    async def create(
        self,
        principal: Principal,
        thread_id: str,
        new: NewRun,
        *,
        surface: Surface,
        stream: bool = False,
        idempotency_key: IdempotencyKey | None = None,
        wait_seconds: float = 0.0,
    ) -> Started:
        """Queue a run; refused in the hosted API's words while another is active on the thread. With `wait_seconds`
        only after so long."""
        resource = principal.resource

        def insert(conn: Connection, now: float) -> tuple[Run, bool]:
            thread = thread_store.get(conn, resource, thread_id, for_update=True)

            def make() -> Run:
                if wait_seconds and (busy := store.active(conn, resource, thread_id)):
                    raise ThreadBusy(f"Thread {thread_id} already has an active run {busy.id}.", run_id=busy.id)
                return self._insert(conn, resource, thread, new, surface=surface, stream=stream, now=now)

            def find(run_id: str) -> Run:
                return store.get(conn, resource, thread_id, run_id)

            return create_or_find(conn, resource, idempotency_key, make, find, now=now)

        async def attempt() -> tuple[Run, bool]:
            now = self._clock()
            return await self._db.write(lambda conn: insert(conn, now))

        run, is_new = await self._queue.when_free(thread_id, wait_seconds, attempt)
        if are_searched((), new.additional_messages):
            self._wake_ingestion()
        if not is_new:
            return await self._again(principal, run, stream=stream)
        return self._started(principal, run, thread=None, stream=stream)

    async def create_and_run(
        self,
        principal: Principal,
        new_thread: NewThread,
        new: NewRun,
        *,
        surface: Surface,
        stream: bool = False,
        idempotency_key: IdempotencyKey | None = None,
    ) -> Started:
        """A thread and a run on it, both or neither."""
        now, resource = self._clock(), principal.resource

        def insert(conn: Connection) -> tuple[Thread, Run, bool]:
            def make() -> Thread:
                thread = insert_thread(conn, resource, new_thread, now=int(now))
                self._insert(conn, resource, thread, new, surface=surface, stream=stream, now=now)
                return thread

            def find(thread_id: str) -> Thread:
                return thread_store.get(conn, resource, thread_id)

            thread, is_new = create_or_find(conn, resource, idempotency_key, make, find, now=now)
            return thread, store.page(conn, resource, thread.id, _FIRST).data[0], is_new

        thread, run, is_new = await self._db.write(insert)
        if are_searched((*new_thread.new_stores, *new.new_stores), new_thread.messages):
            self._wake_ingestion()
        if not is_new:
            return await self._again(principal, run, stream=stream)
        return self._started(principal, run, thread=thread, stream=stream)

    async def retrieve(self, principal: Principal, thread_id: str, run_id: str) -> Run:
        def get(conn: Connection) -> Run:
            try:
                return store.get(conn, principal.resource, thread_id, run_id)
            except NotFound:
                thread_store.get(conn, principal.resource, thread_id)  # if it is the thread, say so
                raise

        return await self._db.read(get)

    async def wait(self, principal: Principal, thread_id: str, run_id: str, seconds: float) -> Run:
        """The run once there is something for its caller to do, or as it is after `seconds`."""

        async def look() -> Run:
            return await self.retrieve(principal, thread_id, run_id)

        def is_over(run: Run) -> bool:
            return run.status not in ("queued", "in_progress", "cancelling")

        return await until(self._signals, run_id, look, is_over, seconds=seconds)

    async def events(self, principal: Principal, thread_id: str, run_id: str, *, after: str | None = None) -> Reader:
        """A reader of what has happened to the run and will; with the id of an event, of what came after that."""
        return await self._events.open(principal, thread_id, run_id, after=after)

    async def list(self, principal: Principal, thread_id: str, page: Page) -> Listing[Run]:
        def get(conn: Connection) -> Listing[Run]:
            thread_store.get(conn, principal.resource, thread_id)
            return store.page(conn, principal.resource, thread_id, page)

        return await self._db.read(get)

    async def update(
        self, principal: Principal, thread_id: str, run_id: str, *, metadata: dict[str, str] | UnsetType = UNSET
    ) -> Run:
        """Replace the metadata; nothing else of a run can be changed by a caller."""

        def change(conn: Connection) -> Run:
            thread_store.get(conn, principal.resource, thread_id, for_update=True)
            run = store.get(conn, principal.resource, thread_id, run_id, for_update=True)
            if metadata is not UNSET:
                run = msgspec.structs.replace(run, metadata=metadata)
                store.save(conn, principal.resource, run)
            return run

        return await self._db.write(change)

    async def submit_tool_outputs(
        self,
        principal: Principal,
        thread_id: str,
        run_id: str,
        outputs: Sequence[tuple[str, str]],
        *,
        stream: bool = False,
        idempotency_key: IdempotencyKey | None = None,
    ) -> Started:
        """What the caller's functions returned, (call id, output) each: all of them, and the run goes on."""
        now, resource = self._clock(), principal.resource
        done: list[Step] = []

        def submit(conn: Connection) -> Run:
            run = store.get(conn, resource, thread_id, run_id, for_update=True)
            resumed = domain.resume(run)
            _check_outputs(run, outputs)
            step = step_store.of_run(conn, resource, run_id)[-1]
            step = step_domain.with_outputs(step, dict(outputs))
            step = step_domain.complete(step, now=int(now), usage=step.usage or Usage())
            step_store.save(conn, resource, step)
            store.save(conn, resource, resumed)
            store.hand_over(
                conn,
                resource,
                run_id,
                owner=self._owner if stream else None,
                lease_until=now + _RESERVED_SECONDS if stream else None,
            )
            done[:] = [step]
            return resumed

        def change(conn: Connection) -> tuple[Run, bool]:
            thread_store.get(conn, resource, thread_id, for_update=True)

            def find(_: str) -> Run:
                return store.get(conn, resource, thread_id, run_id)

            return create_or_find(conn, resource, idempotency_key, lambda: submit(conn), find, now=now)

        run, is_new = await self._db.write(change)
        if not is_new:
            return await self._again(principal, run, stream=stream)
        reader = self._open(principal, run) if stream else None
        self._streams.publish(run.id, StepEvent("completed", done[0]), RunEvent("queued", run))
        self._signals.changed(run.id)
        self._signals.wake()
        return Started(run=run, reader=reader)

    async def cancel(self, principal: Principal, thread_id: str, run_id: str) -> Run:
        """Ask for the end of a run: the row first, then the signal. It is `cancelled` once its worker has let go."""

        def change(conn: Connection) -> Run:
            thread_store.get(conn, principal.resource, thread_id, for_update=True)
            run = domain.request_cancel(store.get(conn, principal.resource, thread_id, run_id, for_update=True))
            store.save(conn, principal.resource, run)
            return run

        run = await self._db.write(change)
        self._streams.publish(run_id, RunEvent("cancelling", run))
        self._signals.changed(run_id)
        self._signals.cancel(run_id)
        return run

    def _insert(
        self,
        conn: Connection,
        resource: str,
        thread: Thread,
        new: NewRun,
        *,
        surface: Surface,
        stream: bool,
        now: float,
    ) -> Run:
        assistant = assistant_store.get(conn, resource, new.assistant_id)
        resources = tool_resources.resolve(
            conn, resource, new.tool_resources, new.new_stores, thread_id=thread.id, now=int(now)
        )
        new = msgspec.structs.replace(new, tool_resources=resources)
        run = effective_run(
            assistant, new, thread_id=thread.id, surface=surface, now=int(now), expiry_seconds=self._expiry_seconds
        )
        store.insert(
            conn,
            resource,
            run,
            owner=self._owner if stream else None,
            lease_until=now + _RESERVED_SECONDS if stream else None,
        )
        add_messages(conn, resource, thread, new.additional_messages, now=int(now))
        return run

    def _started(self, principal: Principal, run: Run, *, thread: Thread | None, stream: bool) -> Started:
        reader = None
        if stream:
            reader = self._open(principal, run)
            if thread is not None:
                self._streams.publish(run.id, ThreadCreated(thread))
            self._streams.publish(run.id, RunEvent("created", run), RunEvent("queued", run))
        self._signals.wake()
        return Started(run=run, thread=thread, reader=reader)

    def _open(self, principal: Principal, run: Run) -> Reader:
        """A reader of what happens from now on, wherever that will be."""
        reader = self._streams.open(run.id)
        self._events.follow(principal, run.thread_id, run.id)
        return reader

    async def _again(self, principal: Principal, run: Run, *, stream: bool) -> Started:
        """The answer to a request that has been carried out before."""
        reader = await self.events(principal, run.thread_id, run.id) if stream else None
        return Started(run=run, reader=reader)


def _check_outputs(run: Run, outputs: Sequence[tuple[str, str]]) -> None:
    """Each of the calls the run waits for, exactly once."""
    expected = [call.id for call in run.required_calls]
    got = [call_id for call_id, _ in outputs]
    if sorted(got) != sorted(expected):
        raise InvalidRequest(f"Expected tool outputs for call_ids {expected}, got {got}")


def effective_run(
    assistant: Assistant, new: NewRun, *, thread_id: str, surface: Surface, now: int, expiry_seconds: int
) -> Run:
    """The run as asked for; what was not said comes from the assistant. The only place where the two are merged."""

    def chosen(name: str) -> Any:
        value = getattr(new, name)
        return getattr(assistant, name) if value is UNSET else value

    instructions = chosen("instructions") or ""
    if new.additional_instructions:
        instructions = (
            f"{instructions}\n\n{new.additional_instructions}" if instructions else new.additional_instructions
        )
    run = Run(
        id=ids.new("run_"),
        created_at=now,
        thread_id=thread_id,
        assistant_id=assistant.id,
        status="queued",
        model=chosen("model"),
        instructions=instructions,
        tools=chosen("tools"),
        expires_at=now + expiry_seconds,
        tool_resources=assistant.tool_resources if new.tool_resources == ToolResources() else new.tool_resources,
        metadata=new.metadata,
        temperature=chosen("temperature"),
        top_p=chosen("top_p"),
        response_format=chosen("response_format"),
        reasoning_effort=chosen("reasoning_effort"),
        tool_choice=new.tool_choice,
        parallel_tool_calls=new.parallel_tool_calls,
        truncation_strategy=new.truncation_strategy,
        max_prompt_tokens=new.max_prompt_tokens,
        max_completion_tokens=new.max_completion_tokens,
        surface=surface,
    )
    _check_tool_choice(run)
    return run


def _check_tool_choice(run: Run) -> None:
    """A tool that is to be called must be there."""
    choice = run.tool_choice
    if choice == "required" and not run.tools:
        raise _invalid_choice("it is 'required', and there are no 'tools'.")
    if not isinstance(choice, dict):
        return
    functions = {tool.function.name for tool in run.tools if isinstance(tool, FunctionTool)}
    if choice["type"] == "function":
        name = choice["function"]["name"]
        if name not in functions:
            raise _invalid_choice(f"the function '{name}' is not in 'tools'.")
    elif not any(isinstance(tool, _HOSTED[choice["type"]]) for tool in run.tools):
        raise _invalid_choice(f"the tool '{choice['type']}' is not in 'tools'.")


_HOSTED = {"code_interpreter": CodeInterpreterTool, "file_search": FileSearchTool}


def _invalid_choice(why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for 'tool_choice': {why}", param="tool_choice", code="invalid_value")
