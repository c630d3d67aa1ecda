"""The only writer of a run that is claimed: each verb is one fenced transaction, then the events that follow.

A verb that was begun is finished, events included, even when its task is cancelled meanwhile: a client never misses the
event of something that was committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec
from sqlalchemy import Connection

from locum import ids
from locum.clock import Clock
from locum.domain import messages as message_domain
from locum.domain import runs as run_domain
from locum.domain import steps as step_domain
from locum.domain.events import Done, Event, MessageDelta, MessageEvent, RunEvent, StepEvent
from locum.domain.files import File
from locum.domain.messages import ContentPart, ImageFile, ImageFilePart, Message
from locum.domain.runs import LastError, RequiredCall, RequiredFunction, Run, Usage
from locum.domain.steps import MessageCreation, MessageCreationDetails, Step, ToolCall, ToolCallsDetails
from locum.domain.usage import SessionUsage
from locum.domain.vector_stores import VectorStore
from locum.engine.context import Journal, searchable, visible_files
from locum.engine.ending import Budget, Ending, end_run
from locum.errors import LocumError
from locum.signals.base import Signals
from locum.store import files as file_store
from locum.store import messages as message_store
from locum.store import runs as run_store
from locum.store import steps as step_store
from locum.store import threads as thread_store
from locum.store import usage as usage_store
from locum.store import vector_stores as vector_store_store
from locum.store.database import Database
from locum.store.runs import Claim
from locum.streams.hub import Streams
from locum.tools.code_interpreter import LeftBehind, left_behind

T = TypeVar("T")


class CancelRequested(LocumError):
    """The run's row says `cancelling`: nothing may be added to it but its end."""


class Unanswered(msgspec.Struct, frozen=True):
    """What an earlier worker had opened for a turn whose end was never written. It is used again, or removed."""

    messages: tuple[tuple[Step, Message], ...] = ()
    tool_calls: Step | None = None
    useless: tuple[Step, ...] = ()
    """Steps whose message a caller has deleted, and those of calls behind the first."""

    @property
    def steps(self) -> tuple[Step, ...]:
        return (*(step for step, _ in self.messages), *((self.tool_calls,) if self.tool_calls else ()), *self.useless)


def split_turns(steps: Sequence[Step], messages: dict[str, Message]) -> tuple[tuple[Step, ...], Unanswered]:
    """Split the steps of a run that is not over into those of its finished turns and those of the turn that was cut.

    A turn is finished once its tool_calls step has its calls: the message that ends a run is written together with the
    run's end. messages: those that the run wrote, by id.
    """
    done = max((at for at, step in enumerate(steps, 1) if step.tool_calls), default=0)
    left = steps[done:]
    # Two, where a turn was cut, began again with words, called, and was cut once more.
    opened_for_calls = [step for step in left if not step.message_id]
    of_deleted_messages = [step for step in left if step.message_id and step.message_id not in messages]
    return tuple(steps[:done]), Unanswered(
        messages=tuple((step, messages[step.message_id]) for step in left if step.message_id in messages),
        tool_calls=opened_for_calls[0] if opened_for_calls else None,
        useless=(*opened_for_calls[1:], *of_deleted_messages),
    )


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A message in progress and its step. The message's images are its content so far."""

    step: Step
    message: Message


class Recorder:
    """Writes one claimed run."""

    def __init__(self, db: Database, clock: Clock, signals: Signals, streams: Streams, claim: Claim) -> None:
        self._db = db
        self._clock = clock
        self._signals = signals
        self._streams = streams
        self.claim = claim

    async def load(self, *, tokens: int, before: Journal | None = None) -> tuple[Journal, Unanswered]:
        """The run as the rows tell it: the turns that are done, and what was left open.

        The conversation is loaded as far as it could fit into `tokens`. A thread takes no messages while a run is
        active on it, so a later turn takes the conversation from the journal `before`.
        """
        return await self._db.read(lambda conn: self._load(conn, tokens, before))

    def _load(self, conn: Connection, tokens: int, before: Journal | None) -> tuple[Journal, Unanswered]:
        resource, thread_id = self.claim.resource, self.claim.thread_id
        run = run_store.fenced(conn, self.claim, for_update=False)
        thread = thread_store.get(conn, resource, thread_id)
        conversation = before.conversation if before else self._conversation(conn, run, tokens)
        steps = step_store.of_run(conn, resource, run.id)
        own = {message.id: message for message in message_store.of_run(conn, resource, run.id)} if steps else {}
        done, unanswered = split_turns(steps, own)
        thread_files = thread.tool_resources.code_interpreter_file_ids
        wanted = (*run.tool_resources.code_interpreter_file_ids, *thread_files)
        known = (
            {file.id: file for file in file_store.existing(conn, resource, wanted, now=self._now())} if wanted else {}
        )
        journal = Journal(
            run=run,
            conversation=conversation,
            steps=done,
            messages=own,
            mounted=visible_files(run, thread_files, known),
            made=file_store.made_in_thread(conn, resource, thread_id),
            images=before.images if before else {},
            thread_stores=thread.tool_resources.vector_store_ids,
            attached=before.attached if before else self._attached(conn, conversation),
        )
        return journal, unanswered

    def _conversation(self, conn: Connection, run: Run, tokens: int) -> tuple[Message, ...]:
        newest = run.truncation_strategy.last_messages
        loaded = message_store.conversation(
            conn, self.claim.resource, run.thread_id, but_run=run.id, newest=newest, tokens=tokens
        )
        return tuple(loaded)

    def _attached(self, conn: Connection, conversation: tuple[Message, ...]) -> dict[str, str]:
        wanted = [file_id for message in conversation for file_id in searchable(message)]
        files = file_store.existing(conn, self.claim.resource, wanted, now=self._now()) if wanted else []
        return {file.id: file.filename for file in files}

    async def files(self, file_ids: tuple[str, ...]) -> list[File]:
        """Those of the files that exist."""
        return await self._db.read(
            lambda conn: file_store.existing(conn, self.claim.resource, file_ids, now=self._now())
        )

    async def vector_stores(self, store_ids: Iterable[str]) -> list[VectorStore]:
        """Those of the vector stores that exist."""
        return await self._db.read(lambda conn: vector_store_store.existing(conn, self.claim.resource, store_ids))

    async def left_behind(self, mounted: Mapping[str, str]) -> LeftBehind:
        """What earlier cells of the thread have left for a new session. mounted: file id -> name of the files that
        callers have put there."""

        def load(conn: Connection) -> LeftBehind:
            resource, thread_id = self.claim.resource, self.claim.thread_id
            attached = file_store.existing(conn, resource, mounted, now=self._now()) if mounted else []
            return left_behind(
                step_store.of_thread(conn, resource, thread_id),
                file_store.made_in_thread(conn, resource, thread_id),
                {mounted[file.id]: file for file in attached},
            )

        return await self._db.read(load)

    def started(self) -> None:
        """The claim has been committed: tell of it."""
        self._tell(RunEvent("in_progress", self.claim.run))

    async def open_message(self, run: Run, images: tuple[str, ...], again: tuple[Step, Message] | None) -> Opened:
        """The model has begun to say something: a step and its message, both in progress."""
        now = self._now()
        if again:
            step = msgspec.structs.replace(again[0], status="in_progress", completed_at=None, usage=None)
            message = msgspec.structs.replace(again[1], status="in_progress", completed_at=None, content=())
        else:
            message = Message(
                id=ids.new("msg_"),
                created_at=now,
                thread_id=run.thread_id,
                role="assistant",
                content=(),
                status="in_progress",
                assistant_id=run.assistant_id,
                run_id=run.id,
            )
            step = self._new_step(run, MessageCreationDetails(MessageCreation(message.id)), now=now)
        with_images = msgspec.structs.replace(
            message, content=tuple(ImageFilePart(ImageFile(file_id)) for file_id in images)
        )

        def write(conn: Connection, _run: Run) -> None:
            if again:
                step_store.save(conn, self.claim.resource, step)
                message_store.save(conn, self.claim.resource, with_images)
            else:
                step_store.insert(conn, self.claim.resource, step)
                message_store.insert(conn, self.claim.resource, with_images)

        await self._commit(
            write,
            lambda _: (
                StepEvent("created", step),
                StepEvent("in_progress", step),
                MessageEvent("created", message),
                MessageEvent("in_progress", message),
            ),
        )
        return Opened(step=step, message=with_images)

    async def interim_message(self, opened: Opened, said: tuple[ContentPart, ...]) -> None:
        """The model has said something and goes on to call tools. Its usage is counted with those."""
        step = step_domain.complete(opened.step, now=self._now(), usage=Usage())

        def write(conn: Connection, _run: Run) -> tuple[Event, ...]:
            events = self._complete(conn, opened.message, said)
            step_store.save(conn, self.claim.resource, step)
            return (*events, StepEvent("completed", step))

        await self._commit(write, lambda events: events)

    async def open_tool_calls(self, run: Run, again: Step | None) -> Step:
        """The model has begun to call tools: a step in progress, with no calls yet."""
        step = again or self._new_step(run, ToolCallsDetails(), now=self._now())

        def write(conn: Connection, _run: Run) -> None:
            if again is None:
                step_store.insert(conn, self.claim.resource, step)

        await self._commit(write, lambda _: (StepEvent("created", step), StepEvent("in_progress", step)))
        return step

    async def tool_calls(
        self, step: Step, calls: tuple[ToolCall, ...], usage: Usage, leftover: tuple[Step, ...]
    ) -> Step:
        """The model has said which calls it wants: from here on they are made, never asked for again."""
        answered = step_domain.with_tool_calls(step, calls, usage=usage)

        def write(conn: Connection, run: Run) -> None:
            step_store.save(conn, self.claim.resource, answered)
            self._remove(conn, leftover)
            run_store.progressed(conn, self.claim.resource, run.id)

        await self._commit(write, lambda _: ())
        return answered

    async def call_done(
        self, step: Step, call: ToolCall, files: tuple[File, ...] = (), session: SessionUsage | None = None
    ) -> Step:
        """A call has been made: its outputs, the files it wrote and what its session has used; the last one completes
        the step."""
        step = step_domain.with_call(step, call)
        if all(each.is_done for each in step.tool_calls):
            step = step_domain.complete(step, now=self._now(), usage=step.usage or Usage())

        def write(conn: Connection, run: Run) -> None:
            for file in files:
                file_store.insert(conn, self.claim.resource, file)
            if session is not None:
                usage_store.record(conn, self.claim.resource, step.thread_id, session)
            step_store.save(conn, self.claim.resource, step)
            run_store.progressed(conn, self.claim.resource, run.id)

        await self._commit(write, lambda _: (StepEvent("completed", step),) if not step.is_open else ())
        return step

    async def require_action(self, step: Step) -> None:
        """Only the caller can go on: nobody works on the run until the outputs of its functions are there."""
        calls = tuple(
            RequiredCall(
                id=call.id, function=RequiredFunction(name=call.function.name, arguments=call.function.arguments)
            )
            for call in step_domain.pending_functions(step)
        )

        def write(conn: Connection, run: Run) -> Run:
            run = run_domain.require_action(run, calls)
            run_store.save(conn, self.claim.resource, run)
            run_store.hand_over(conn, self.claim.resource, run.id)
            return run

        await self._commit(write, lambda run: (RunEvent("requires_action", run), Done()))

    async def final_message(
        self,
        opened: Opened,
        said: tuple[ContentPart, ...],
        rest: tuple[MessageDelta, ...],
        usage: Usage,
        leftover: tuple[Step, ...],
    ) -> None:
        """The run's answer: message, step, run and usage in one transaction. rest: what of it has not been told."""
        now = self._now()
        step = step_domain.complete(opened.step, now=now, usage=usage)

        def write(conn: Connection, run: Run) -> tuple[Event, ...]:
            events = self._complete(conn, opened.message, said)
            step_store.save(conn, self.claim.resource, step)
            self._remove(conn, leftover)
            total = step_domain.total_usage(step_store.of_run(conn, self.claim.resource, run.id))
            run = run_domain.complete(run, now=now, usage=total)
            run_store.save(conn, self.claim.resource, run)
            told: tuple[Event, ...] = (*rest, *events) if events else ()
            return (*told, StepEvent("completed", step), RunEvent("completed", run), Done())

        await self._commit(write, lambda events: events)

    async def end(
        self,
        ending: Ending,
        *,
        error: LastError | None = None,
        budget: Budget | None = None,
        said: tuple[ContentPart, ...] = (),
        printed: ToolCall | None = None,
        usage: Usage | None = None,
        session: SessionUsage | None = None,
    ) -> None:
        """The run ends before its answer; the arguments are those of `end_run`. session: what the one has used whose
        cell is not waited for."""

        def write(conn: Connection) -> tuple[Event, ...]:
            run = run_store.fenced(conn, self.claim)
            now = self._now()
            if session is not None:
                usage_store.record(conn, self.claim.resource, run.thread_id, session)
            # Its caller wants it to end anyway, and was first.
            how = "cancelled" if run.status == "cancelling" and ending == "incomplete" else ending
            return end_run(
                conn,
                self.claim.resource,
                run,
                how,
                now=now,
                error=error,
                budget=budget,
                said=said,
                printed=printed,
                usage=usage,
            )

        await self._finish(self._db.write(write), lambda events: (*events, Done()))

    async def release(self) -> None:
        """Give the run back: another worker, or this one after a restart, goes on where it stands."""
        await self._db.write(lambda conn: run_store.release(conn, self.claim))

    async def _commit(self, write: Callable[[Connection, Run], T], events: Callable[[T], tuple[Event, ...]]) -> None:
        def fenced(conn: Connection) -> T:
            run = run_store.fenced(conn, self.claim)
            if run.status == "cancelling":
                raise CancelRequested(run.id)
            return write(conn, run)

        await self._finish(self._db.write(fenced), events)

    async def _finish(self, writing: Awaitable[T], events: Callable[[T], tuple[Event, ...]]) -> None:
        async def write_and_tell() -> None:
            self._tell(*events(await writing))

        finishing = asyncio.ensure_future(write_and_tell())
        finishing.add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )  # nobody may wait for it any more
        await asyncio.shield(finishing)

    def _tell(self, *events: Event) -> None:
        self._streams.publish(self.claim.run_id, *events)
        # Whoever waits for the run has nothing to do while it is in progress.
        if any(isinstance(event, RunEvent) and event.what != "in_progress" for event in events):
            self._signals.changed(self.claim.run_id)

    def _complete(self, conn: Connection, message: Message, said: tuple[ContentPart, ...]) -> tuple[MessageEvent, ...]:
        """Write a message that is whole; nothing where a caller has deleted it. Its metadata is the caller's."""
        current = message_store.find(conn, self.claim.resource, message.thread_id, message.id, for_update=True)
        if current is None:
            return ()
        message = msgspec.structs.replace(message, metadata=current.metadata)
        whole = message_domain.complete(message, said, now=self._now())
        message_store.save(conn, self.claim.resource, whole)
        return (MessageEvent("completed", whole),)

    def _remove(self, conn: Connection, leftover: tuple[Step, ...]) -> None:
        for step in leftover:
            step_store.delete(conn, self.claim.resource, step.id)
            if step.message_id:
                message_store.delete(conn, self.claim.resource, step.message_id)

    def _new_step(self, run: Run, details: MessageCreationDetails | ToolCallsDetails, *, now: int) -> Step:
        return Step(
            id=ids.new("step_"),
            created_at=now,
            assistant_id=run.assistant_id,
            thread_id=run.thread_id,
            run_id=run.id,
            step_details=details,
            expires_at=run.expires_at,
        )

    def _now(self) -> int:
        return int(self._clock())
