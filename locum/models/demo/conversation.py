"""What the demo model sees of a request: the last question, the files at hand, and what it has tried so far."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from locum.models.chat import ChatMessage, ChatRequest

Language = Literal["en", "ko"]

CODE_INTERPRETER = "code_interpreter"
FILES_HEADING = "Files available to the code interpreter:"

_MAX_TEXT = 20_000
"""Characters of a question that are looked at: the rules run on the server's event loop."""

_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_ERROR_LINE = re.compile(r"^((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?:: .*)?)$", re.MULTILINE)
_TRACEBACK = "Traceback (most recent call last)"


class Attempt(msgspec.Struct, frozen=True):
    """A program the demo model wrote for the question, and what running it gave."""

    code: str
    output: str

    @property
    def error(self) -> str | None:
        """The line that names the exception; None when the program ran through."""
        lines = _ERROR_LINE.findall(self.output)
        if lines:
            return str(lines[-1])[:300]
        return "an error" if _TRACEBACK in self.output else None


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    text: str = ""
    """The last user message."""
    files: tuple[str, ...] = ()
    """Paths in the sandbox, as announced."""
    can_run: bool = True
    """The code interpreter is among the tools."""
    attempts: tuple[Attempt, ...] = ()
    """Since the last user message, oldest first."""

    @property
    def language(self) -> Language:
        return "ko" if _HANGUL.search(self.text) else "en"


def read(request: ChatRequest) -> Conversation:
    """The conversation behind a request."""
    last = max((at for at, message in enumerate(request.messages) if message.role == "user"), default=-1)
    enabled = any(tool.name == CODE_INTERPRETER for tool in request.tools) and request.tool_choice != "none"
    return Conversation(
        text=_text(request.messages[last])[:_MAX_TEXT] if last >= 0 else "",
        files=tuple(
            path for message in request.messages if message.role == "system" for path in _announced(_text(message))
        ),
        can_run=enabled,
        attempts=_attempts(request.messages[last + 1 :]),
    )


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        return "\n".join(part["text"] for part in message.content if isinstance(part.get("text"), str))
    return message.content or ""


def _announced(system: str) -> list[str]:
    """The `- /mnt/data/NAME` lines under the heading."""
    paths = []
    for line in system.partition(FILES_HEADING)[2].splitlines()[1:]:
        if not line.startswith("- /mnt/data/"):
            break
        paths.append(line[2:].strip())
    return paths


def _attempts(messages: tuple[ChatMessage, ...]) -> tuple[Attempt, ...]:
    outputs = {message.tool_call_id: _ANSI.sub("", _text(message)) for message in messages if message.role == "tool"}
    return tuple(
        Attempt(_code(call.arguments), outputs[call.id])
        for message in messages
        for call in message.tool_calls
        if call.name == CODE_INTERPRETER and call.id in outputs
    )


def _code(arguments: str) -> str:
    try:
        decoded: Any = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments
    return str(decoded.get("code", "")) if isinstance(decoded, dict) else arguments
