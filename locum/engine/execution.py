"""One claimed run, from where it stands to its end: ask the model, do what it wants, until it answers.

Everything is loaded from rows at each turn and written to rows before the next: the process may die between any two
lines, and another execution goes on from the rows alone.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec
import structlog

from locum.domain.events import (
    CodeInterpreterCallDelta,
    CodeInterpreterDelta,
    FilePathAnnotationDelta,
    ImageOutputDelta,
    LogOutputDelta,
    MessageDelta,
    StepDelta,
    TextDelta,
    TextPartDelta,
)
from locum.domain.messages import annotate
from locum.domain.runs import LastError
from locum.domain.steps import ImageOutput, LogOutput, Step, ToolCall
from locum.engine import context, turn
from locum.engine.context import Journal
from locum.engine.model_call import ModelCall
from locum.engine.recorder import CancelRequested, Opened, Recorder, Unanswered
from locum.engine.turn import Reply
from locum.errors import LeaseLost
from locum.models.chat import ChatModel, ChatRequest, ModelError
from locum.models.routes import Routes
from locum.streams.hub import Streams
from locum.tools.code_interpreter import CodeInterpreterTool

log = structlog.get_logger(__name__)

MAX_TURNS = 40
"""Model calls of one run; in the last one the model must answer instead of calling tools."""
MAX_CUTS = 2
"""How often a model call that was cut off is made again within a turn."""
MAX_ATTEMPTS = 5
"""Claims of a run without any progress before it is given up: it would take its process down again."""

StopReason = Literal["cancelled", "expired", "lease lost", "shutdown"]

_SORRY = LastError(code="server_error", message="Sorry, something went wrong.")


class Execution:
    """The work on one claim. `stop` ends it from outside; `go` never raises."""

    def __init__(
        self, recorder: Recorder, streams: Streams, routes: Routes, code_interpreter: CodeInterpreterTool
    ) -> None:
        self._recorder = recorder
        self._streams = streams
        self._routes = routes
        self._code_interpreter = code_interpreter
        self._call: ModelCall | None = None
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
        while True:
            journal, unanswered = await self._recorder.load()
            pending = journal.steps[-1] if journal.steps else None
            if pending is not None and pending.is_open:
                await self._make_calls(journal, pending)
            elif await self._turn(journal, unanswered):
                return None

    async def _turn(self, journal: Journal, unanswered: Unanswered) -> bool:
        """Ask the model once; True when the run is over."""
        model_calls = sum(1 for step in journal.steps if step.tool_calls)
        must_answer = model_calls + 1 >= MAX_TURNS
        request = context.build(journal, must_answer=must_answer)
        try:
            route = await self._routes.resolve(request.model)
            request = msgspec.structs.replace(request, model=route.upstream_name)
            call, reply = await self._ask(route.model, request, journal, unanswered)
        except ModelError as error:
            await self._recorder.end("failed", error=turn.failure(error), said=self._said())
            return True
        match turn.decide(request.tools, reply, must_answer=must_answer):
            case turn.Answer(text=text):
                opened = await call.open_message()
                self._show_end_of_text(opened, text, journal)
                await self._recorder.final_message(opened, text, reply.usage, journal.made, call.leftover())
                return True
            case turn.UseTools(calls=calls):
                assert call.step is not None
                step = await self._recorder.tool_calls(call.step, calls, reply.usage, call.leftover())
                await self._make_calls(journal, step)
                return False
            case turn.Fail(error=failed):
                await self._recorder.end("failed", error=failed, said=self._said(), usage=reply.usage)
                return True

    async def _ask(
        self, model: ChatModel, request: ChatRequest, journal: Journal, unanswered: Unanswered
    ) -> tuple[ModelCall, Reply]:
        """The model's reply. A call that was cut is made again unless a client has seen part of it."""
        images = context.new_images(journal.steps)
        for attempt in range(MAX_CUTS + 1):
            self._call = ModelCall(self._recorder, self._streams, journal.run, images=images, unanswered=unanswered)
            try:
                return self._call, await self._call.ask(model, request)
            except ModelError as error:
                if error.kind != "cut" or self._call.touched or attempt == MAX_CUTS:
                    raise
                _, unanswered = await self._recorder.load()
        raise AssertionError("unreachable")

    async def _make_calls(self, journal: Journal, step: Step) -> None:
        """Make the calls of a step that have not been made, one after the other."""
        run = journal.run
        for index, call in enumerate(step.tool_calls):
            if call.is_done:
                continue
            outcome = await self._code_interpreter.run(
                call, thread_id=run.thread_id, run_id=run.id, files=journal.mounted, surface=run.surface
            )
            self._show_outputs(step, index, outcome.call)
            step = await self._recorder.call_done(step, outcome.call, outcome.files)

    def _show_outputs(self, step: Step, index: int, call: ToolCall) -> None:
        for position, output in enumerate(call.code_interpreter.outputs or ()):
            delta: LogOutputDelta | ImageOutputDelta
            match output:
                case LogOutput(logs=logs):
                    delta = LogOutputDelta(index=position, logs=logs)
                case ImageOutput(image=image):
                    delta = ImageOutputDelta(index=position, image=image)
            shown = CodeInterpreterCallDelta(index=index, code_interpreter=CodeInterpreterDelta(outputs=(delta,)))
            self._streams.publish(step.run_id, StepDelta(step.id, (shown,)))

    def _show_end_of_text(self, opened: Opened, text: str, journal: Journal) -> None:
        """What a stream shows of the text beyond its pieces: a part for a text without any, and the annotations."""
        position = len(opened.message.content)
        if not text:
            delta = TextPartDelta(index=position, text=TextDelta(value="", annotations=()))
            self._streams.publish(journal.run.id, MessageDelta(opened.message.id, (delta,)))
        for index, each in enumerate(annotate(text, journal.made)):
            annotation = FilePathAnnotationDelta(
                index=index,
                text=each.text,
                start_index=each.start_index,
                end_index=each.end_index,
                file_path=each.file_path,
            )
            delta = TextPartDelta(index=position, text=TextDelta(annotations=(annotation,)))
            self._streams.publish(journal.run.id, MessageDelta(opened.message.id, (delta,)))

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
            await self._recorder.end(ending, error=error, said=self._said())
        except LeaseLost:
            await self._let_go("lease lost")
        except Exception:
            # The database cannot be written: the lease lapses and the run is claimed again.
            log.exception("run could not be ended", run_id=self._recorder.claim.run_id, ending=ending)

    def _said(self) -> str | None:
        """What of an open message the model has said so far."""
        return self._call.text if self._call and self._call.opened else None
