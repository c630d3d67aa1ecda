"""Functions of the caller's program: offered to the model, never made here.

Also the one place that knows under which names a run's tools are offered, and whose call a name is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from locum.domain.steps import FunctionCall
from locum.domain.tools import CodeInterpreterTool, FunctionDefinition, FunctionTool, Tool
from locum.models.chat import ToolDefinition
from locum.tools import code_interpreter


def _names() -> Iterator[str]:
    """What the code interpreter may be called: a caller's function of the same name comes first."""
    yield code_interpreter.NAME
    for number in itertools.count(1):
        yield "locum_" * number + code_interpreter.NAME


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The tools of a run as the model sees them. `code_name` is the code interpreter's, or None without one."""

    definitions: tuple[ToolDefinition, ...]
    functions: frozenset[str]
    code_name: str | None

    def kind(self, name: str) -> Literal["code_interpreter", "function"] | None:
        """Whose call it is; None when no tool of the run has that name."""
        if name in self.functions:
            return "function"
        if self.code_name is not None and name in (self.code_name, *code_interpreter.OTHER_NAMES):
            return "code_interpreter"
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
    code_name = None
    if any(isinstance(tool, CodeInterpreterTool) for tool in tools):
        code_name = next(name for name in _names() if name not in names)
        definitions.insert(0, msgspec.structs.replace(code_interpreter.DEFINITION, name=code_name))
    return Offer(definitions=tuple(definitions), functions=names, code_name=code_name)


def result_for_model(call: FunctionCall) -> str:
    """What the model reads of a call whose output was submitted."""
    return call.function.output or ""
