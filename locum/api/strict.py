"""What the hosted service refused in bodies and Locum takes by default: looked for where `Call.strict` is set.

A body has been validated before, so its lists are lists and its objects are objects (or null).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from locum.api.dialect import Call
from locum.errors import InvalidRequest

MAX_RUN_TOOLS = 20
_ALIASES = ("code-interpreter", "code interpreter")


def check(call: Call, body: dict[str, Any]) -> None:
    """Raise InvalidRequest, in the hosted words, for the first thing that was refused there."""
    _check_tools(call, body)
    _check_tool_resources(body)
    for path, message in _messages(body):
        if call.version == 2 and "file_ids" in message:
            raise _unknown(f"{path}file_ids")
        for index, attachment in enumerate(message.get("attachments") or ()):
            _check_types(attachment.get("tools"), f"{path}attachments[{index}].tools")


def _messages(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The messages in a body, each with what its parameters' paths begin with; the body may be one itself."""
    if "role" in body:
        yield "", body
    thread = body.get("thread") or {}
    lists = (
        ("messages", body.get("messages")),
        ("additional_messages", body.get("additional_messages")),
        ("thread.messages", thread.get("messages")),
    )
    for name, messages in lists:
        for index, message in enumerate(messages or ()):
            yield f"{name}[{index}].", message


def _check_tools(call: Call, body: dict[str, Any]) -> None:
    tools = body.get("tools") or ()
    if "assistant_id" in body and len(tools) > MAX_RUN_TOOLS:
        raise InvalidRequest(
            f"Invalid 'tools': array too long. Expected an array with maximum length {MAX_RUN_TOOLS}, "
            f"but got an array with length {len(tools)} instead.",
            param="tools",
            code="array_above_max_length",
        )
    _check_types(tools, "tools")
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        _check_type(choice, "tool_choice")
    if call.surface == "azure" and any(tool["type"] == "retrieval" for tool in tools):
        raise InvalidRequest(
            "Azure OpenAI Retrieval v1 tool is not supported in favor of the more advanced v2 file_search tool. "
            "Please use `file_search` in the v2 api."
        )


def _check_tool_resources(body: dict[str, Any]) -> None:
    thread = body.get("thread") or {}
    for path, owner in (("tool_resources", body), ("thread.tool_resources", thread)):
        for key in owner.get("tool_resources") or ():
            if key in _ALIASES:
                raise _unknown(f"{path}.{key}")


def _check_types(tools: Sequence[dict[str, Any]] | None, path: str) -> None:
    for index, tool in enumerate(tools or ()):
        _check_type(tool, f"{path}[{index}]")


def _check_type(said: dict[str, Any], path: str) -> None:
    if said["type"] in _ALIASES:
        raise InvalidRequest(
            f"Invalid value: '{said['type']}'. Supported values are: 'code_interpreter', 'function', and "
            "'file_search'.",
            param=f"{path}.type",
            code="invalid_value",
        )


def _unknown(path: str) -> InvalidRequest:
    return InvalidRequest(f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")
