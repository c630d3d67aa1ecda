"""One claimed run, from where it stands to its end: ask the model, do what it wants, until it answers.

Everything is loaded from rows at each turn and written to rows before the next: the process may die between any two
lines, and another execution goes on from the rows alone.
"""

from __future__ import annotations

import asyncio
from typing import Literal, assert_never

import msgspec
import structlog
from msgspec.structs import replace

from locum.blobs.base import Blobs
from locum.domain import deltas
from locum.domain.events import MessageDelta, StepDelta, StepEvent, ToolCallDelta
from locum.domain.image_urls import ImageURLs
from locum.domain.messages import ContentPart, FilePathAnnotation, TextPart, annotated
from locum.domain.runs import LastError, Run
from locum.domain.steps import (
    CodeInterpreterCall,
    FileSearchCall,
    FunctionCall,
    ImageOutput,
    LogOutput,
    Step,
    ToolCall,
    pending_functions,
)
from locum.domain.tools import FileSearchOptions, FileSearchTool
from locum.engine import context, turn
from locum.engine.context import Journal
from locum.engine.images import data_urls, in_conversation, without_refused
from locum.engine.model_call import ModelCall
from locum.engine.output import LiveOutput
from locum.engine.recorder import CancelRequested, Opened, Recorder, Unanswered
from locum.engine.turn import Reply
from locum.errors import LeaseLost, Unavailable
from locum.models.chat import ChatRequest, ModelError
from locum.models.routes import Route, Routes
from locum.streams.hub import Streams
from locum.tools.citations import CitationReader, sources
from locum.tools.code_interpreter import Outcome
from locum.tools.file_search import CannotSearch
from locum.tools.hosted import HostedTools

log = structlog.get_logger(__name__)

MAX_TURNS = 40
"""Model calls of one run; in the last one the model must answer instead of calling tools."""
MAX_SHRINKS = 4
"""How often a prompt that its server finds too long is shortened within a turn; a refused request costs no tokens."""
MAX_CUTS = 2
"""How often a model call that was cut off is made again within a turn."""
DEFAULT_WINDOW = 128_000
"""Tokens a model is taken to have room for when neither its owner nor its server has said."""
_ANSWER_TOKENS = 4096
"""Room that is left for an answer when nobody has said how long it may be."""
_SHRINK = 0.7
_SHORT = 32_000
"""Characters of a prompt that are counted at once; longer ones on a thread of their own."""

MAX_ATTEMPTS = 5
"""Claims of a run without any progress before it is given up: it would take its process down again."""

StopReason = Literal["cancelled", "expired", "lease lost", "shutdown"]

_SORRY = LastError(code="server_error", message=turn.SORRY)


class Execution:
    """The work on one claim. `stop` ends it from outside; `go` never raises."""

    def __init__(
        self,
        recorder: Recorder,
        streams: Streams,
        routes: Routes,
        tools: HostedTools,
        blobs: Blobs,
        *,
        image_urls: ImageURLs,
        explain_errors: bool,
    ) -> None:
        self._image_urls = image_urls
        self._recorder = recorder
        self._streams = streams
        self._routes = routes
        self._tools = tools
        self._blobs = blobs
        self._explain_errors = explain_errors
        self._call: ModelCall | None = None
        self._cell: tuple[CodeInterpreterCall, LiveOutput] | None = None
        self._stopped: StopReason | None = None
        self._task: asyncio.Task[None] | None = None

    def stop(self, reason: StopReason) -> None:
        """Let go of the run: close it, or (lease lost, shutdown) leave it as it is."""
        if self._stopped is None:
            self._stopped = reason
            if self._task is not None:
                self._task.cancel()

    async def go(self) -> None:
        """Work until the run is over, waits for its caller, or is stopped."""
        self._task = asyncio.current_task()
        claim = self._recorder.claim
        # Of this task: whatever fails below, in a search or at a model server, is logged with the run's id.
        structlog.contextvars.bind_contextvars(run_id=claim.run_id, thread_id=claim.thread_id)
        try:
            if self._stopped is None:
                await self._work()
            else:
                await self._let_go(self._stopped)
        except asyncio.CancelledError:
            await self._let_go(self._stopped or "shutdown")
        except CancelRequested:
            await self._let_go("cancelled")
        except LeaseLost:
            await self._let_go("lease lost")
        except CannotSearch as error:
            await self._end("failed", error=LastError(code="server_error", message=error.message))
        except Unavailable as error:
            # The database cannot be reached, or is full: the lease lapses, and the run is taken up where it stands.
            # No traceback: an outage interrupts every run at the same place.
            log.warning("run interrupted", run_id=claim.run_id, thread_id=claim.thread_id, reason=error.message)
            self._streams.break_off(claim.run_id, "the server goes on with it in a moment.")
        except Exception:
            log.exception("run failed", run_id=claim.run_id, thread_id=claim.thread_id)
            await self._end("failed", error=_SORRY)

    async def _work(self) -> None:
        self._recorder.started()
        if self._recorder.claim.attempts > MAX_ATTEMPTS:
            error = LastError(
                code="server_error",
                message=f"The run was given up: the server stopped {MAX_ATTEMPTS} times while it worked on it.",
            )
            return await self._recorder.end("failed", error=error)
        try:
            route = await self._routes.resolve(self._recorder.claim.run.model)
        except ModelError as error:
            return await self._recorder.end("failed", error=self._model_failed(error))
        journal: Journal | None = None
        while True:
            journal, unanswered = await self._load(route, journal)
            if journal.is_pending:
                is_over = await self._make_calls(journal, journal.steps[-1], asked=None)
            else:
                is_over = await self._turn(route, journal, unanswered)
            if is_over:
                return None

    def _model_failed(self, error: ModelError) -> LastError:
        """Log the model server's address and words, which the run's `last_error` leaves out unless it may explain."""
        log.warning("the model gave no answer", kind=error.kind, reason=error.message)
        return turn.failure(error, explain=self._explain_errors)

    async def _load(self, route: Route, before: Journal | None) -> tuple[Journal, Unanswered]:
        journal, unanswered = await self._recorder.load(tokens=_window(route), before=before)
        if before is None:
            journal = replace(journal, conversation=without_refused(journal.conversation, self._image_urls))
        if before is None and (wanted := in_conversation(journal.conversation)):
            known = {file.id: file for file in await self._recorder.files(wanted)}
            urls = await data_urls(self._blobs, [known[file_id] for file_id in wanted if file_id in known])
            journal = replace(journal, images=urls)
        return journal, unanswered

    async def _turn(self, route: Route, journal: Journal, unanswered: Unanswered) -> bool:
        """Ask the model once; True when the run is over, or waits for its caller."""
        must_answer = journal.turns_without_caller + 1 >= MAX_TURNS
        if journal.exhausted is not None:
            await self._recorder.end("incomplete", budget=journal.exhausted)
            return True
        try:
            call, reply, is_budgeted = await self._ask(route, journal, unanswered, must_answer=must_answer)
        except context.DoesNotFit:
            await self._recorder.end("incomplete", budget="max_prompt_tokens")
            return True
        except ModelError as error:
            await self._recorder.end("failed", error=self._model_failed(error), said=self._said())
            return True
        match turn.decide(journal.offer, reply, must_answer=must_answer, budgeted=is_budgeted):
            case turn.Answer():
                opened = await call.open_message()
                said = annotated(reply.said, journal.made)
                rest = _end_of_text(opened, said, is_empty=not reply.said)
                await self._recorder.final_message(opened, said, rest, reply.usage, call.leftover())
                return True
            case turn.UseTools(calls=calls):
                assert call.step is not None
                step = await self._recorder.tool_calls(call.step, calls, reply.usage, call.leftover())
                return await self._make_calls(journal, step, asked=call)
            case turn.RunShort():
                if call.step is None:
                    await call.open_message()
                await self._recorder.end(
                    "incomplete", budget="max_completion_tokens", said=self._said(), usage=reply.usage
                )
                return True
            case turn.Fail(error=failed):
                await self._recorder.end("failed", error=failed, said=self._said(), usage=reply.usage)
                return True

    async def _ask(
        self, route: Route, journal: Journal, unanswered: Unanswered, *, must_answer: bool
    ) -> tuple[ModelCall, Reply, bool]:
        """The model's reply, and whether it was the run's own budget that bounded it. A call that was cut is made again
        unless a client has seen part of it, one that did not fit is made again with a shorter prompt."""
        images = context.new_images(journal.steps)
        window, overflow, shrinks, cuts = _window(route), None, 0, 0
        room = _room(route, journal, window)
        while True:
            request = await _build(route, journal, window, room, must_answer=must_answer)
            self._call = ModelCall(
                self._recorder,
                self._streams,
                journal.run,
                offer=journal.offer,
                meter=route.meter,
                images=images,
                unanswered=unanswered,
                citations=CitationReader(sources(journal.calls)) if journal.offer.search_name else None,
            )
            try:
                reply = await self._call.ask(route.model, request)
            except ModelError as error:
                if error.kind == "context_overflow" and shrinks < MAX_SHRINKS:
                    overflow, shrinks = error, shrinks + 1
                    window, room = await _smaller(route, journal, request, error)
                elif error.kind != "cut" or self._call.touched or cuts == MAX_CUTS:
                    raise
                else:
                    cuts += 1
                _, unanswered = await self._load(route, journal)
            else:
                if overflow is not None:
                    route.overflowed(overflow.window)  # what helped is remembered, and nothing else
                if route.meter.at_most(request.messages, request.tools) > room:  # it had to be counted: learn from it
                    await asyncio.to_thread(
                        route.meter.learn, request.messages, request.tools, reply.usage.prompt_tokens
                    )
                return self._call, reply, _is_budgeted(journal, request)

    async def _make_calls(self, journal: Journal, step: Step, *, asked: ModelCall | None) -> bool:
        """Make the calls of a step that have not been made, one after the other; True when the run waits for its
        caller to make the others. asked: the model call they come from, unless an earlier worker made it."""
        for index, call in enumerate(step.tool_calls):
            if call.is_done:
                continue
            match call:
                case CodeInterpreterCall():
                    outcome = await self._run_cell(journal, step, index, call)
                    if asked is not None:
                        asked.outputs_shown(index)
                    step = await self._recorder.call_done(step, outcome.call, outcome.files, outcome.usage)
                    self._cell = None
                case FileSearchCall():
                    made = await self._search(journal, step, index, call)
                    if asked is not None:
                        asked.outputs_shown(index)
                    step = await self._recorder.call_done(step, made)
                case FunctionCall():
                    pass  # its caller's
                case _:
                    assert_never(call)
        if not pending_functions(step):
            return False
        await self._recorder.require_action(step)
        return True

    async def _run_cell(self, journal: Journal, step: Step, index: int, call: CodeInterpreterCall) -> Outcome:
        """Make one call of the code interpreter, and tell what it prints while it does."""
        run = journal.run

        live = LiveOutput(
            lambda piece: self._show(step, deltas.more_logs(index, piece)),
            lambda: self._streams.is_read(run.id),
            asyncio.get_running_loop(),
        )
        self._cell = call, live
        try:
            outcome = await self._tools.code_interpreter.run(
                call,
                thread_id=run.thread_id,
                run_id=run.id,
                files=journal.mounted,
                left_behind=lambda: self._recorder.left_behind(journal.mounted),
                surface=run.surface,
                on_output=live.add,
            )
        finally:
            live.stop()
        for position, output in enumerate(outcome.call.code_interpreter.outputs or ()):
            match output:
                case LogOutput(logs=logs):
                    live.end(logs)
                case ImageOutput():
                    self._show(step, deltas.output_of(index, position, output))
        return outcome

    async def _search(self, journal: Journal, step: Step, index: int, call: FileSearchCall) -> FileSearchCall:
        """Make one search, and tell what it has found; CannotSearch where the run has to fail."""
        run = journal.run
        before = [each for earlier in journal.steps if earlier.id != step.id for each in earlier.tool_calls]
        made = await self._tools.file_search.run(
            call,
            resource=self._recorder.claim.resource,
            number=sum(isinstance(each, FileSearchCall) for each in (*before, *step.tool_calls[:index])),
            store_ids=run.tool_resources.vector_store_ids,
            thread_store_ids=journal.thread_stores,
            existing=self._recorder.vector_stores,
            options=_search_options(run),
            model=run.model,
        )
        self._show(step, deltas.results_of(index, made))
        return made

    def _show(self, step: Step, delta: ToolCallDelta) -> None:
        """Tell of what a hosted tool gives."""
        if delta.index == len(step.tool_calls) - 1:  # the calls of a step are told one after the other
            self._streams.make_up(step.run_id, StepEvent("in_progress", step))
        self._streams.publish(step.run_id, StepDelta(step.id, (delta,)))

    async def _let_go(self, reason: StopReason) -> None:
        match reason:
            case "cancelled" | "expired":
                await self._end(reason)
            case "shutdown":
                try:
                    await self._recorder.release()
                except Exception:  # the lease lapses by itself
                    log.exception("run could not be given back", run_id=self._recorder.claim.run_id)
            case "lease lost":
                # Another worker has the run, or its thread was deleted: nothing here is ours any more.
                self._streams.break_off(self._recorder.claim.run_id, "another server goes on with it.")

    async def _end(self, ending: Literal["failed", "cancelled", "expired"], *, error: LastError | None = None) -> None:
        try:
            thread_id = self._recorder.claim.thread_id
            session = await self._tools.code_interpreter.usage(thread_id) if self._cell is not None else None
            await self._recorder.end(ending, error=error, said=self._said(), printed=self._printed(), session=session)
        except LeaseLost:
            await self._let_go("lease lost")
        except Unavailable as error:
            reason = error.message
            log.warning("run could not be ended", run_id=self._recorder.claim.run_id, ending=ending, reason=reason)
            self._streams.break_off(self._recorder.claim.run_id, "the server goes on with it in a moment.")
        except Exception:
            # The database cannot be written: the lease lapses and the run is claimed again.
            log.exception("run could not be ended", run_id=self._recorder.claim.run_id, ending=ending)
            self._streams.break_off(self._recorder.claim.run_id, "the server goes on with it in a moment.")

    def _said(self) -> tuple[ContentPart, ...]:
        """What of an open message the model has said so far."""
        return self._call.said if self._call and self._call.opened else ()

    def _printed(self) -> CodeInterpreterCall | None:
        """The call that is being made, with what it has printed so far."""
        if self._cell is None or not self._cell[1].text:
            return None
        call, live = self._cell
        return CodeInterpreterCall(call.id, replace(call.code_interpreter, outputs=(LogOutput(live.text),)))


def _end_of_text(opened: Opened, said: tuple[ContentPart, ...], *, is_empty: bool) -> tuple[MessageDelta, ...]:
    """What a stream shows of the answer beyond its pieces: a part for a text without any, and the links of files."""
    message_id, first = opened.message.id, len(opened.message.content)
    rest = [deltas.first_text(message_id, first, "")] if is_empty else []
    for index, part in enumerate(said, first):
        for position, annotation in enumerate(part.text.annotations if isinstance(part, TextPart) else ()):
            if isinstance(annotation, FilePathAnnotation):
                rest.append(deltas.annotation_of(message_id, index, position, annotation))
    return tuple(rest)


def _search_options(run: Run) -> FileSearchOptions:
    chosen = (tool.file_search for tool in run.tools if isinstance(tool, FileSearchTool))
    return next(chosen, None) or FileSearchOptions()


def _window(route: Route) -> int:
    return route.context_window or DEFAULT_WINDOW


def _room(route: Route, journal: Journal, window: int) -> int:
    """How many tokens the prompt of the next turn may take: the window without room for an answer, and no more than
    the run's budget."""
    answer = min(route.max_output_tokens or _ANSWER_TOKENS, journal.left_to_write or _ANSWER_TOKENS, window // 4)
    room = window - answer - _slack(window)
    return room if journal.left_to_read is None else min(room, journal.left_to_read)


async def _build(route: Route, journal: Journal, window: int, room: int, *, must_answer: bool) -> ChatRequest:
    """The request as the route's server is to see it: within the window, under its name for the model."""

    def build() -> ChatRequest:
        request = context.build(journal, counter=route.meter, room=room, must_answer=must_answer)
        limit = _limit(route, journal, request, window)
        return replace(request, model=route.upstream_name, max_completion_tokens=limit)

    is_short = _characters(journal) < _SHORT
    try:
        return build() if is_short else await asyncio.to_thread(build)
    except context.DoesNotFit:
        if room == journal.left_to_read:
            raise  # what does not fit is the run's own budget
        raise _no_room(window) from None


def _characters(journal: Journal) -> int:
    """How much there may be to count."""
    texts = sum(len(message.text) for message in journal.conversation)
    results = sum(map(_size, journal.calls))
    return texts + results + len(journal.run.instructions) + len(msgspec.json.encode(journal.run.tools))


def _size(call: ToolCall) -> int:
    """How long a call's result is, about. Those of searches are long, and written only when they are needed."""
    if isinstance(call, FileSearchCall):
        return sum(len(result.text) for result in call.file_search.results or ())
    return len(context.result_for_model(call))


def _limit(route: Route, journal: Journal, request: ChatRequest, window: int) -> int | None:
    """How long the answer may be. Some servers refuse a limit that the window has no room for beside the prompt."""
    limits = [limit for limit in (journal.left_to_write, route.max_output_tokens) if limit is not None]
    if not limits:
        return None
    meter, asked = route.meter, min(limits)
    if meter.at_most(request.messages, request.tools) + asked <= window:
        return asked
    return max(1, min(asked, window - meter.count(request.messages, request.tools) - _slack(window)))


def _slack(window: int) -> int:
    """Tokens that a server may count beyond ours."""
    return min(64, window // 64)


async def _smaller(route: Route, journal: Journal, request: ChatRequest, error: ModelError) -> tuple[int, int]:
    """Window and room for another attempt after the model's server has said that the prompt was too long."""
    sent = await asyncio.to_thread(route.meter.count, request.messages, request.tools)
    asked = sent + (request.max_completion_tokens or 0)
    window = error.window or int(asked * _SHRINK)
    room = _room(route, journal, window)
    # What should have fitted, by our count, is counted otherwise there.
    return window, room if asked > window and error.window else min(room, int(sent * _SHRINK))


def _no_room(window: int) -> ModelError:
    return ModelError(
        f"The run's instructions, its last message and its tools' results do not fit into the model's context window "
        f"of {window} tokens, even without the rest of the thread. If the model has room for more, "
        "set its context_window.",
        kind="context_overflow",
    )


def _is_budgeted(journal: Journal, request: ChatRequest) -> bool:
    """Whether it is the run's own budget that bounds the answer."""
    return journal.left_to_write is not None and request.max_completion_tokens == journal.left_to_write
