"""One model call: the answer is streamed to whoever listens and gathered whole.

Text opens a message, calls open a tool_calls step, both on their first piece, so that what a client is shown stands in
rows already. Citations are found in the text while it comes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import aclosing
from typing import Literal

from locum import crashpoints, ids
from locum.domain import deltas
from locum.domain.events import MessageDelta, StepDelta, ToolCallDelta
from locum.domain.messages import (
    ContentPart,
    FileCitationAnnotation,
    ImageFile,
    ImageFilePart,
    RefusalPart,
    Text,
    TextPart,
)
from locum.domain.runs import Run, Usage
from locum.domain.steps import (
    CodeInterpreter,
    CodeInterpreterCall,
    FileSearch,
    FileSearchCall,
    Function,
    FunctionCall,
    Step,
    ToolCall,
)
from locum.engine.recorder import Opened, Recorder, Unanswered
from locum.engine.turn import Reply
from locum.models import chat
from locum.models.chat import ChatMessage, ChatModel, ChatRequest, Finish, ModelError
from locum.models.tokens import Meter
from locum.streams.hub import Streams
from locum.tools.citations import CitationReader, Cited
from locum.tools.code_interpreter import CodeReader, code_of
from locum.tools.functions import Kind, Offer


class _Call:
    """A tool call while it is written. The code interpreter's have a `reader`: their code is shown, not their JSON. Of
    a search nothing is shown until it has been made."""

    def __init__(self, index: int, name: str, *, kind: Kind | None) -> None:
        self.index = index
        # Our own id: servers are known to number calls anew in every answer, and clients expect `call_…`.
        self.id = ids.new("call_")
        self.name = name
        self.arguments = ""
        self.reader = CodeReader() if kind == "code_interpreter" else None
        self.is_search = kind == "file_search"
        self.shown = ""

    @property
    def begun(self) -> ToolCall:
        """The call before its first argument."""
        if self.reader is not None:
            return CodeInterpreterCall(self.id, CodeInterpreter(input=""))
        if self.is_search:
            return FileSearchCall(self.id, FileSearch(queries=()))
        return FunctionCall(self.id, Function(name=self.name, arguments=""))


class ModelCall:
    """Asks once. After an error, `touched` tells whether a client has seen part of the answer, `said` what was said."""

    def __init__(
        self,
        recorder: Recorder,
        streams: Streams,
        run: Run,
        *,
        offer: Offer,
        meter: Meter,
        images: tuple[str, ...],
        unanswered: Unanswered,
        citations: CitationReader | None,
    ) -> None:
        """images: what stands before the text. citations: None where there is nothing to cite."""
        self._recorder = recorder
        self._streams = streams
        self._run = run
        self._offer = offer
        self._meter = meter
        self._images = images
        self._unanswered = unanswered
        self._calls: dict[int, _Call] = {}
        self._unmade: set[int] = set()
        """The calls of hosted tools whose outputs have not been shown."""
        self._held: list[ToolCallDelta] = []
        self.opened: Opened | None = None
        self.step: Step | None = None
        self._text = ""
        self._citations = citations
        self._annotations: list[FileCitationAnnotation] = []
        self._refusal = ""
        self._kinds: list[Literal["text", "refusal"]] = []
        """The parts of the message that have begun, in their order."""
        self.touched = False

    @property
    def said(self) -> tuple[ContentPart, ...]:
        """What the model has said so far, as parts of a message that stand behind its images."""
        parts: dict[str, ContentPart] = {
            "text": TextPart(Text(value=self._text, annotations=tuple(self._annotations))),
            "refusal": RefusalPart(self._refusal),
        }
        return tuple(parts[kind] for kind in self._kinds)

    async def ask(self, model: ChatModel, request: ChatRequest) -> Reply:
        """The whole answer; ModelError when there is none."""
        finish: Finish | None = None
        async with aclosing(model.stream(request)) as chunks:
            async for chunk in chunks:
                match chunk:
                    case chat.TextDelta(text=text):
                        await self._say(text)
                    case chat.RefusalDelta(text=text):
                        await self._refuse(text)
                    case chat.ToolCallDelta():
                        await self._call(chunk)
                    case Finish():
                        finish = chunk
        if finish is None:
            raise ModelError("The model's answer ended before it was complete.", kind="cut")
        await self._end_text()
        crashpoints.reach("model answered")
        calls = tuple(
            chat.ToolCall(id=call.id, name=call.name, arguments=self._arguments(call)) for call in self._calls.values()
        )
        return Reply(said=self.said, calls=calls, reason=finish.reason, usage=self._usage(finish, request))

    async def open_message(self) -> Opened:
        """The message of this call; opened at the first piece of text, or for an answer without any."""
        if self.opened is None:
            again = self._unanswered.messages[0] if self._unanswered.messages else None
            self.opened = await self._recorder.open_message(self._run, self._images, again)
            for index, part in enumerate(self.opened.message.content):
                if isinstance(part, ImageFilePart):
                    image_file = ImageFile(part.image_file.file_id)
                    self._show(deltas.image_part(self.opened.message.id, index, image_file))
        return self.opened

    def outputs_shown(self, index: int) -> None:
        """All of a hosted tool's call has been told: now the calls behind it, as far as the next of its kind."""
        self._unmade.discard(index)
        held, self._held = self._held, []
        for delta in held:
            self._show_call(delta)

    def leftover(self) -> tuple[Step, ...]:
        """What an earlier worker had opened and this call did not use again."""
        used = {self.opened.step.id if self.opened else None, self.step.id if self.step else None}
        return tuple(step for step in self._unanswered.steps if step.id not in used)

    async def _say(self, text: str) -> None:
        if self._calls:
            return  # words behind a call have no place in the conversation: the next turn says them
        await self._tell((text,) if self._citations is None else self._citations.feed(text))

    async def _tell(self, pieces: Iterable[str | Cited]) -> None:
        """Words as they are; a citation as its marker, whole, together with its annotation."""
        for piece in pieces:
            opened = await self.open_message()
            message_id, index = opened.message.id, self._index(opened, "text")
            if isinstance(piece, Cited):
                start, end = len(self._text), len(self._text) + len(piece.text)
                annotation = FileCitationAnnotation(
                    text=piece.text, start_index=start, end_index=end, file_citation=piece.citation
                )
                if not self._text:
                    self._show(deltas.first_text(message_id, index, ""))
                self._show(deltas.cited_text(message_id, index, len(self._annotations), annotation))
                self._annotations.append(annotation)
                self._text += piece.text
            else:
                show = deltas.more_text if self._text else deltas.first_text
                self._show(show(message_id, index, piece))
                self._text += piece

    async def _end_text(self) -> None:
        """No more words come: what has been held back, as it might have become a citation, is told."""
        if self._citations is not None:
            await self._tell(self._citations.close())

    async def _refuse(self, text: str) -> None:
        if self._calls:
            return
        await self._end_text()
        opened = await self.open_message()
        self._refusal += text
        index = self._index(opened, "refusal")
        self._show(deltas.more_refusal(opened.message.id, index, text))

    def _index(self, opened: Opened, kind: Literal["text", "refusal"]) -> int:
        """Where in the message a part stands: behind the images, in the order in which the parts began."""
        if kind not in self._kinds:
            self._kinds.append(kind)
        return len(opened.message.content) + self._kinds.index(kind)

    async def _call(self, delta: chat.ToolCallDelta) -> None:
        call = self._calls.get(delta.index)
        if call is None:
            if self._calls and not self._run.parallel_tool_calls:
                return  # not every server keeps to what it is told
            call = await self._open_call(delta.index, delta.name or "")
        call.arguments += delta.arguments
        if call.reader is not None:
            self._show_code(call, call.reader.feed(delta.arguments))
        elif delta.arguments and not call.is_search:
            self._show_call(deltas.more_arguments(call.index, delta.arguments))

    async def _open_call(self, index: int, name: str) -> _Call:
        if self.step is None:
            await self._end_text()
            if self.opened is not None:
                await self._recorder.interim_message(self.opened, self.said)
            # Steps stand in the order they were opened: an old one is no use behind a message opened just now.
            again = self._unanswered.tool_calls if self.opened is None else None
            self.step = await self._recorder.open_tool_calls(self._run, again)
        for before in self._calls.values():
            self._fill_in(before)  # nothing is told of it once the next one has begun
        call = _Call(len(self._calls), name, kind=self._offer.kind(name))
        self._calls[index] = call
        if call.reader is not None or call.is_search:
            self._unmade.add(call.index)
        self._show_call(deltas.opening(call.index, call.begun))
        return call

    def _arguments(self, call: _Call) -> str:
        """The call's arguments as they count: of code, what was shown is its beginning, whatever came behind it."""
        if call.reader is None:
            self._fill_in(call)
            return call.arguments
        code = code_of(call.arguments)
        if not code.startswith(call.shown):
            return json.dumps({"code": call.shown})
        self._show_code(call, code[len(call.shown) :])
        return call.arguments

    def _fill_in(self, call: _Call) -> None:
        """Models call a function without parameters with nothing at all; callers parse what they are given."""
        if call.reader is None and not call.is_search and not call.arguments.strip():
            call.arguments += "{}"
            self._show_call(deltas.more_arguments(call.index, "{}"))

    def _show_code(self, call: _Call, piece: str) -> None:
        if piece:
            call.shown += piece
            self._show_call(deltas.more_code(call.index, piece))

    def _show_call(self, delta: ToolCallDelta) -> None:
        """Clients take the first word of the next call for the end of the one before, whose outputs are to come yet."""
        assert self.step is not None
        if any(before < delta.index for before in self._unmade):
            self._held.append(delta)
        else:
            self._show(StepDelta(self.step.id, (delta,)))

    def _show(self, delta: MessageDelta | StepDelta) -> None:
        if self._streams.is_read(self._run.id):
            self.touched = True
            self._streams.publish(self._run.id, delta)

    def _usage(self, finish: Finish, request: ChatRequest) -> Usage:
        if finish.usage is not None:
            prompt, completion = finish.usage.prompt_tokens, finish.usage.completion_tokens
        else:
            prompt = self._meter.count(request.messages, request.tools)
            calls = tuple(
                chat.ToolCall(id="", name=call.name, arguments=call.arguments) for call in self._calls.values()
            )
            said = ChatMessage(role="assistant", content=self._text + self._refusal, tool_calls=calls)
            completion = self._meter.count((said,))
        return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
