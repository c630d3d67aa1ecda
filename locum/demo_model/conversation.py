"""What the demo model sees of a request: the last question, the files at hand, and what it has tried so far."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from locum.models.chat import ChatMessage, ChatRequest, ToolDefinition
from locum.tools import code_interpreter, file_search
from locum.tools.functions import NAME_PREFIX

Language = Literal["en", "ko"]

CODE_INTERPRETER, FILE_SEARCH = code_interpreter.NAME, file_search.NAME
_SECOND_CODE_INTERPRETER = NAME_PREFIX + CODE_INTERPRETER
_SECOND_FILE_SEARCH = NAME_PREFIX + FILE_SEARCH

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


class Call(msgspec.Struct, frozen=True):
    """A call of one of the caller's functions."""

    name: str
    arguments: dict[str, Any]


class Answered(msgspec.Struct, frozen=True):
    """A call and what the caller gave back for it."""

    call: Call
    output: str


class Passage(msgspec.Struct, frozen=True):
    """A passage that a search has found. `source` is its file's name, with the page where there are pages."""

    marker: str
    source: str
    text: str


class Search(msgspec.Struct, frozen=True):
    """A search, the passages it has found, best first, and all that was said of it."""

    passages: tuple[Passage, ...]
    output: str


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    text: str = ""
    """The last user message."""
    has_images: bool = False
    """There are images in it."""
    files: tuple[str, ...] = ()
    """Paths in the sandbox, as announced."""
    can_run: bool = True
    """The code interpreter is among the tools."""
    attempts: tuple[Attempt, ...] = ()
    """Since the last user message, oldest first."""
    functions: tuple[ToolDefinition, ...] = ()
    """The caller's, those that may be called now."""
    answered: tuple[Answered, ...] = ()
    """Calls of functions since the last user message, oldest first."""
    code_name: str = CODE_INTERPRETER
    """The code interpreter's name among the tools."""
    can_search: bool = False
    """File search is among the tools."""
    searches: tuple[Search, ...] = ()
    """Since the last user message, oldest first."""
    search_name: str = FILE_SEARCH
    """File search's name among the tools."""
    forced: str | None = None
    """The tool that has to be called now."""
    must_call: bool = False
    """Some tool has to be called now."""
    one_call_at_a_time: bool = False

    @property
    def language(self) -> Language:
        return "ko" if _HANGUL.search(self.text) else "en"


def read(request: ChatRequest) -> Conversation:
    """The conversation behind a request."""
    last = max((at for at, message in enumerate(request.messages) if message.role == "user"), default=-1)
    since = request.messages[last + 1 :]
    tools = () if request.tool_choice == "none" else request.tools
    names = {tool.name for tool in request.tools}
    code_name = _SECOND_CODE_INTERPRETER if _SECOND_CODE_INTERPRETER in names else CODE_INTERPRETER
    search_name = _SECOND_FILE_SEARCH if _SECOND_FILE_SEARCH in names else FILE_SEARCH
    hosted = {code_name} | ({search_name} if _can_search(request.tools, search_name) else set())
    return Conversation(
        text=_text(request.messages[last])[:_MAX_TEXT] if last >= 0 else "",
        has_images=last >= 0 and _has_images(request.messages[last]),
        files=tuple(
            path for message in request.messages if message.role == "system" for path in _announced(_text(message))
        ),
        can_run=any(tool.name == code_name for tool in tools),
        attempts=tuple(Attempt(_code(arguments), output) for _, arguments, output in _results(since, {code_name})),
        can_search=_can_search(tools, search_name),
        searches=tuple(Search(_passages(output), output) for _, _, output in _results(since, hosted - {code_name})),
        search_name=search_name,
        functions=tuple(tool for tool in tools if tool.name not in hosted),
        answered=tuple(
            Answered(Call(name, _decoded(arguments)), output)
            for name, arguments, output in _results(since, names - hosted)
        ),
        code_name=code_name,
        forced=_forced(request.tool_choice),
        must_call=request.tool_choice == "required",
        one_call_at_a_time=request.parallel_tool_calls is False,
    )


def _can_search(tools: tuple[ToolDefinition, ...], name: str) -> bool:
    """A caller's function may have the name where file search is not among the tools: that one takes no `queries`."""
    return any(tool.name == name and "queries" in (tool.parameters or {}).get("properties", {}) for tool in tools)


def _passages(output: str) -> tuple[Passage, ...]:
    return tuple(Passage(match[1], match[3], match[4]) for match in file_search.PASSAGE.finditer(output))


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        return "\n".join(part["text"] for part in message.content if isinstance(part.get("text"), str))
    return message.content or ""


def _has_images(message: ChatMessage) -> bool:
    return isinstance(message.content, list) and any(part.get("type") == "image_url" for part in message.content)


def _forced(tool_choice: str | dict[str, Any] | None) -> str | None:
    function = tool_choice.get("function") if isinstance(tool_choice, dict) else None
    return str(function["name"]) if isinstance(function, dict) and "name" in function else None


def _announced(system: str) -> list[str]:
    """The `- /mnt/data/NAME` lines under the heading."""
    paths = []
    for line in system.partition(code_interpreter.FILES_HEADING)[2].splitlines()[1:]:
        if not line.startswith("- /mnt/data/"):
            break
        paths.append(line[2:].strip())
    return paths


def _results(messages: tuple[ChatMessage, ...], names: set[str]) -> list[tuple[str, str, str]]:
    """Name, arguments and output of each call that was answered, oldest first."""
    outputs = {message.tool_call_id: _ANSI.sub("", _text(message)) for message in messages if message.role == "tool"}
    return [
        (call.name, call.arguments, outputs[call.id])
        for message in messages
        for call in message.tool_calls
        if call.name in names and call.id in outputs
    ]


def _code(arguments: str) -> str:
    try:
        decoded: Any = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments
    return str(decoded.get("code", "")) if isinstance(decoded, dict) else arguments


def _decoded(arguments: str) -> dict[str, Any]:
    try:
        decoded: Any = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}
    return decoded if isinstance(decoded, dict) else {}
