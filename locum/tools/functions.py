"""Functions of the caller's program: offered to the model, never made here.

Also the one place that knows under which names a run's tools are offered, and whose call a name is.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from typing import Literal

import msgspec

from locum.domain.steps import FunctionCall
from locum.domain.tools import CodeInterpreterTool, FileSearchTool, FunctionDefinition, FunctionTool, Tool
from locum.models.chat import ToolDefinition
from locum.tools import code_interpreter, file_search

NAME_PREFIX = "locum_"
"""Put before a hosted tool's name, as often as needed, where the caller has a function of that name."""

Kind = Literal["code_interpreter", "file_search", "function"]


def _free_name(name: str, taken: Collection[str]) -> str:
    """Return a name for a hosted tool that no function of the caller has."""
    return next(candidate for n in itertools.count() if (candidate := NAME_PREFIX * n + name) not in taken)


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The tools of a run as the model sees them. `code_name` is the code interpreter's, `search_name` file search's, or
    None without one."""

    definitions: tuple[ToolDefinition, ...]
    functions: frozenset[str]
    code_name: str | None = None
    search_name: str | None = None

    def kind(self, name: str) -> Kind | None:
        """Whose call it is; None when no tool of the run has that name."""
        if name in self.functions:
            return "function"
        if self.code_name is not None and name in (self.code_name, *code_interpreter.OTHER_NAMES):
            return "code_interpreter"
        if self.search_name is not None and name in (self.search_name, *file_search.OTHER_NAMES):
            return "file_search"
        return None


def offer(tools: Iterable[Tool]) -> Offer:
    """What a model is told of these tools."""
    tools = tuple(tools)
    # Of a name that is there twice the first counts: servers refuse the same name again.
    functions: dict[str, FunctionDefinition] = {}
    for tool in tools:
        if isinstance(tool, FunctionTool):
            functions.setdefault(tool.function.name, tool.function)
    names = frozenset(functions)
    definitions = [
        ToolDefinition(name=each.name, description=each.description, parameters=each.parameters, strict=each.strict)
        for each in functions.values()
    ]
    hosted: list[ToolDefinition] = []
    code_name = search_name = None
    if any(isinstance(tool, CodeInterpreterTool) for tool in tools):
        code_name = _free_name(code_interpreter.NAME, names)
        hosted.append(msgspec.structs.replace(code_interpreter.DEFINITION, name=code_name))
    if any(isinstance(tool, FileSearchTool) for tool in tools):
        search_name = _free_name(file_search.NAME, names)
        hosted.append(msgspec.structs.replace(file_search.DEFINITION, name=search_name))
    return Offer(definitions=(*hosted, *definitions), functions=names, code_name=code_name, search_name=search_name)


def result_for_model(call: FunctionCall) -> str:
    """What the model reads of a call whose output was submitted."""
    return call.function.output or ""
