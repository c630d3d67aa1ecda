"""What happens to a run, in the order a streaming client sees it.

Events about objects follow a commit and carry the object as committed; deltas are only ever streamed. `deltas.py` makes
the deltas of an object, and the edge renders events.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from locum.domain.messages import (
    FileCitation,
    FilePath,
    ImageFile,
    Message,
)
from locum.domain.runs import Run
from locum.domain.steps import Image, SearchResult, Step
from locum.domain.threads import Thread
from locum.domain.tools import RankingOptions


class ThreadCreated(msgspec.Struct, frozen=True):
    """`thread.created`"""

    thread: Thread


class RunEvent(msgspec.Struct, frozen=True):
    """`thread.run.<what>`"""

    what: str
    run: Run


class StepEvent(msgspec.Struct, frozen=True):
    """`thread.run.step.<what>`"""

    what: str
    step: Step


class MessageEvent(msgspec.Struct, frozen=True):
    """`thread.message.<what>`"""

    what: str
    message: Message


class FilePathAnnotationDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="file_path"):
    index: int
    text: str
    start_index: int
    end_index: int
    file_path: FilePath


class FileCitationAnnotationDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="file_citation"):
    index: int
    text: str
    start_index: int
    end_index: int
    file_citation: FileCitation


AnnotationDelta = FileCitationAnnotationDelta | FilePathAnnotationDelta


class TextDelta(msgspec.Struct, frozen=True, kw_only=True):
    value: str | UnsetType = UNSET
    annotations: tuple[AnnotationDelta, ...] | UnsetType = UNSET


class TextPartDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    index: int
    text: TextDelta


class ImageFilePartDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="image_file"):
    index: int
    image_file: ImageFile


class RefusalPartDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    index: int
    refusal: str


class MessageDelta(msgspec.Struct, frozen=True):
    """`thread.message.delta`"""

    message_id: str
    content: tuple[TextPartDelta | ImageFilePartDelta | RefusalPartDelta, ...]


class LogOutputDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="logs"):
    index: int
    logs: str


class ImageOutputDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="image"):
    index: int
    image: Image


class CodeInterpreterDelta(msgspec.Struct, frozen=True, kw_only=True):
    input: str | UnsetType = UNSET
    outputs: tuple[LogOutputDelta | ImageOutputDelta, ...] | UnsetType = UNSET


class CodeInterpreterCallDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="code_interpreter"):
    index: int
    id: str | UnsetType = UNSET
    code_interpreter: CodeInterpreterDelta


class FileSearchDelta(msgspec.Struct, frozen=True, kw_only=True):
    """Empty at first, as in the hosted API; then all that was found."""

    ranking_options: RankingOptions | UnsetType = UNSET
    results: tuple[SearchResult, ...] | UnsetType = UNSET


class FileSearchCallDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="file_search"):
    index: int
    id: str | UnsetType = UNSET
    file_search: FileSearchDelta = FileSearchDelta()


class FunctionDelta(msgspec.Struct, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    output: UnsetType | None = UNSET


class FunctionCallDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="function"):
    index: int
    id: str | UnsetType = UNSET
    function: FunctionDelta


ToolCallDelta = CodeInterpreterCallDelta | FileSearchCallDelta | FunctionCallDelta


class StepDelta(msgspec.Struct, frozen=True):
    """`thread.run.step.delta`"""

    step_id: str
    tool_calls: tuple[ToolCallDelta, ...]


class Done(msgspec.Struct, frozen=True):
    """`done`: nothing follows."""


class StreamError(msgspec.Struct, frozen=True, kw_only=True):
    """`error`: the stream itself failed (a run that fails says so by `thread.run.failed`)."""

    message: str
    code: Literal["server_error", "invalid_api_key"] = "server_error"


Event = ThreadCreated | RunEvent | StepEvent | MessageEvent | MessageDelta | StepDelta | Done | StreamError
