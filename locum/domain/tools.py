"""Tools an assistant may use, and the resources they work on."""

from __future__ import annotations

from typing import Any

import msgspec


class CodeInterpreterTool(msgspec.Struct, frozen=True, tag_field="type", tag="code_interpreter"):
    """Python in a session of the thread's own."""


class FunctionDefinition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function of the caller's program. `parameters` is a JSON schema, handed to the model as it came; what was not
    given is not shown."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """A function that the caller's program makes: the run waits for its output."""

    function: FunctionDefinition


class RankingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Results below `score_threshold` (0 to 1) are left out. ranker: which one its caller named; there is one."""

    ranker: str = "auto"
    score_threshold: float = 0.0


class FileSearchOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of file search its caller chose; what was not given is not shown."""

    max_num_results: int | None = None
    ranking_options: RankingOptions | None = None


class FileSearchTool(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="file_search", omit_defaults=True
):
    """Passages of the files in the run's vector stores."""

    file_search: FileSearchOptions | None = None


Tool = CodeInterpreterTool | FileSearchTool | FunctionTool
"""The tools that are served; all but functions are hosted: made here."""

HostedTool = CodeInterpreterTool | FileSearchTool


class CodeInterpreterResources(msgspec.Struct, frozen=True, kw_only=True):
    """Files that stand at /mnt/data in the code interpreter's session."""

    file_ids: tuple[str, ...] = ()


class FileSearchResources(msgspec.Struct, frozen=True, kw_only=True):
    """Stores that file search searches."""

    vector_store_ids: tuple[str, ...] = ()


class ToolResources(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Only the keys that were set are shown."""

    code_interpreter: CodeInterpreterResources | None = None
    file_search: FileSearchResources | None = None

    @property
    def vector_store_ids(self) -> tuple[str, ...]:
        return self.file_search.vector_store_ids if self.file_search else ()

    def with_vector_stores(self, store_ids: tuple[str, ...]) -> ToolResources:
        """The same resources, with these stores in the place of those they had."""
        return msgspec.structs.replace(self, file_search=FileSearchResources(vector_store_ids=store_ids))

    @property
    def code_interpreter_file_ids(self) -> tuple[str, ...]:
        return self.code_interpreter.file_ids if self.code_interpreter else ()

    @property
    def used_ids(self) -> tuple[str, ...]:
        """Ids of all files and vector stores."""
        return self.code_interpreter_file_ids + self.vector_store_ids

    def with_code_interpreter_files(self, file_ids: tuple[str, ...]) -> ToolResources:
        """The same resources and these files, each once, in the order they came."""
        merged = tuple(dict.fromkeys((*self.code_interpreter_file_ids, *file_ids)))
        return msgspec.structs.replace(self, code_interpreter=CodeInterpreterResources(file_ids=merged))

    def without_file(self, file_id: str) -> ToolResources:
        """The same resources once that file is deleted."""
        if file_id not in self.code_interpreter_file_ids:
            return self
        kept = tuple(each for each in self.code_interpreter_file_ids if each != file_id)
        return msgspec.structs.replace(self, code_interpreter=CodeInterpreterResources(file_ids=kept))
