"""One model call: the answer is streamed to whoever listens and gathered whole.

Text opens a message, calls open a tool_calls step, both on their first piece, so that what a client is shown stands in
rows already.
"""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import msgspec

from locum import crashpoints, ids
from locum.domain.events import (
    CodeInterpreterCallDelta,
    CodeInterpreterDelta,
    ImageFilePartDelta,
    MessageDelta,
    StepDelta,
    TextDelta,
    TextPartDelta,
)
from locum.domain.messages import ImageFile, ImageFilePart
from locum.domain.runs import Run, Usage
from locum.domain.steps import Step
from locum.engine.recorder import Opened, Recorder, Unanswered
from locum.engine.turn import Reply
from locum.models import chat
from locum.models.chat import ChatModel, ChatRequest, Finish, ModelError
from locum.streams.hub import Streams
from locum.tools.code_interpreter import CodeReader, code_of


class _Call:
    """A tool call while it is written."""

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        # Our own id: servers are known to number calls anew in every answer, and clients expect `call_…`.
        self.id = ids.new("call_")
        self.name = name
        self.arguments = ""
        self.reader = CodeReader()
        self.shown = ""


class ModelCall:
    """Asks once. After an error, `touched` tells whether a client has seen part of the answer, `text` what was said."""

    def __init__(
        self, recorder: Recorder, streams: Streams, run: Run, *, images: tuple[str, ...], unanswered: Unanswered
    ) -> None:
        self._recorder = recorder
        self._streams = streams
        self._run = run
        self._images = images
        self._unanswered = unanswered
        self._calls: dict[int, _Call] = {}
        self.opened: Opened | None = None
        self.step: Step | None = None
        self.text = ""
        self.touched = False

    async def ask(self, model: ChatModel, request: ChatRequest) -> Reply:
        """The whole answer; ModelError when there is none."""
        finish: Finish | None = None
        async with aclosing(model.stream(request)) as chunks:
            async for chunk in chunks:
                match chunk:
                    case chat.TextDelta(text=text):
                        await self._say(text)
                    case chat.ToolCallDelta():
                        await self._call(chunk)
                    case Finish():
                        finish = chunk
        if finish is None:
            raise ModelError("The model's answer ended before it was complete.", kind="cut")
        crashpoints.reach("model answered")
        calls = tuple(
            chat.ToolCall(id=call.id, name=call.name, arguments=self._arguments(call)) for call in self._calls.values()
        )
        return Reply(text=self.text, calls=calls, reason=finish.reason, usage=self._usage(finish, request))

    async def open_message(self) -> Opened:
        """The message of this call; opened at the first piece of text, or for an answer without any."""
        if self.opened is None:
            again = self._unanswered.messages[0] if self._unanswered.messages else None
            self.opened = await self._recorder.open_message(self._run, self._images, again)
            for index, part in enumerate(self.opened.message.content):
                if isinstance(part, ImageFilePart):
                    delta = ImageFilePartDelta(index=index, image_file=ImageFile(part.image_file.file_id))
                    self._show(MessageDelta(self.opened.message.id, (delta,)))
        return self.opened

    def leftover(self) -> tuple[Step, ...]:
        """What an earlier worker had opened and this call did not use again."""
        used = {self.opened.step.id if self.opened else None, self.step.id if self.step else None}
        return tuple(step for step in self._unanswered.steps if step.id not in used)

    async def _say(self, text: str) -> None:
        if self._calls:
            return  # words behind a call have no place in the conversation: the next turn says them
        opened = await self.open_message()
        # It stands behind the images; its first piece carries the empty annotations.
        piece = TextDelta(value=text) if self.text else TextDelta(value=text, annotations=())
        self.text += text
        self._show(MessageDelta(opened.message.id, (TextPartDelta(index=len(opened.message.content), text=piece),)))

    async def _call(self, delta: chat.ToolCallDelta) -> None:
        if self.step is None:
            if self.opened is not None:
                await self._recorder.interim_message(self.opened, self.text)
            # Steps stand in the order they were opened: an old one is no use behind a message opened just now.
            again = self._unanswered.tool_calls if self.opened is None else None
            self.step = await self._recorder.open_tool_calls(self._run, again)
        call = self._calls.get(delta.index)
        if call is None:
            call = self._calls[delta.index] = _Call(len(self._calls), delta.name or "")
            self._show_call(call, id=call.id, code_interpreter=CodeInterpreterDelta(input="", outputs=()))
        call.arguments += delta.arguments
        self._show_code(call, call.reader.feed(delta.arguments))

    def _arguments(self, call: _Call) -> str:
        """The call's arguments as they count: what was shown of the code is its beginning, whatever came behind it."""
        code = code_of(call.arguments)
        if not code.startswith(call.shown):
            return json.dumps({"code": call.shown})
        self._show_code(call, code[len(call.shown) :])
        return call.arguments

    def _show_code(self, call: _Call, piece: str) -> None:
        if piece:
            call.shown += piece
            self._show_call(call, code_interpreter=CodeInterpreterDelta(input=piece))

    def _show_call(self, call: _Call, **fields: Any) -> None:
        assert self.step is not None
        self._show(StepDelta(self.step.id, (CodeInterpreterCallDelta(index=call.index, **fields),)))

    def _show(self, delta: MessageDelta | StepDelta) -> None:
        if self._streams.is_read(self._run.id):
            self.touched = True
            self._streams.publish(self._run.id, delta)

    def _usage(self, finish: Finish, request: ChatRequest) -> Usage:
        if finish.usage is not None:
            prompt, completion = finish.usage.prompt_tokens, finish.usage.completion_tokens
        else:
            # The upstream does not say: four bytes a token is the usual rule of thumb.
            prompt = len(msgspec.json.encode(request.messages)) // 4
            written = self.text + "".join(call.arguments for call in self._calls.values())
            completion = -(-len(written.encode()) // 4)
        return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
