"""Functions of the caller's program: offered to the model, never made here.

Also the one place that knows under which names a run's tools are offered, and whose call a name is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from locum.domain.steps import FunctionCall
from locum.domain.tools import CodeInterpreterTool, FunctionTool, Tool
from locum.models.chat import ToolDefinition
from locum.tools import code_interpreter

_SECOND_NAME = "locum_code_interpreter"
"""For a caller who has a function named like the code interpreter."""


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
    functions = tuple(tool.function for tool in tools if isinstance(tool, FunctionTool))
    names = frozenset(function.name for function in functions)
    definitions = [
        ToolDefinition(name=each.name, description=each.description, parameters=each.parameters, strict=each.strict)
        for each in functions
    ]
    code_name = None
    if any(isinstance(tool, CodeInterpreterTool) for tool in tools):
        code_name = _SECOND_NAME if code_interpreter.NAME in names else code_interpreter.NAME
        definitions.insert(0, msgspec.structs.replace(code_interpreter.DEFINITION, name=code_name))
    return Offer(definitions=tuple(definitions), functions=names, code_name=code_name)


def result_for_model(call: FunctionCall) -> str:
    """What the model reads of a call whose output was submitted."""
    return call.function.output or ""
