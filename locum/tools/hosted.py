"""The tools that are made here, as the engine is given them."""

from __future__ import annotations

from dataclasses import dataclass

from locum.tools.code_interpreter import CodeInterpreterTool
from locum.tools.file_search import FileSearchTool


@dataclass(frozen=True, kw_only=True)
class HostedTools:
    """One attribute per tool."""

    code_interpreter: CodeInterpreterTool
    file_search: FileSearchTool
