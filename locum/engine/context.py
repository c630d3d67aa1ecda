"""From a thread to a prompt: instructions, the conversation, the files, and this run's own steps. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from locum.domain.files import File, mount_names
from locum.domain.messages import ImageFilePart, Message
from locum.domain.runs import Run
from locum.domain.steps import ImageOutput, Step
from locum.models.chat import ChatMessage, ChatRequest, ToolCall
from locum.tools import code_interpreter

FILES_HEADING = "Files available to the code interpreter:"


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a run when a turn begins.

    conversation: the thread's messages but for those of this run, as many as the run wants to see. steps: the turns
    that are done, in order. messages: this run's messages by id. mounted: file id -> name below /mnt/data. made: path
    below /mnt/data -> the file the thread's runs made there.
    """

    run: Run
    conversation: tuple[Message, ...]
    steps: tuple[Step, ...] = ()
    messages: dict[str, Message] = {}
    mounted: dict[str, str] = {}
    made: dict[str, File] = {}


def build(journal: Journal, *, must_answer: bool = False) -> ChatRequest:
    """The model call of the next turn. With `must_answer` the model may not call tools any more."""
    run = journal.run
    tools = (code_interpreter.DEFINITION,) if run.tools and run.tool_choice != "none" else ()
    messages = (*_system(journal), *_conversation(journal), *_own_steps(journal))
    return ChatRequest(
        model=run.model,
        messages=messages or (ChatMessage(role="system", content=""),),  # a run on an empty thread, uninstructed
        tools=tools,
        tool_choice=_tool_choice(run, is_first=not journal.steps, must_answer=must_answer) if tools else None,
        parallel_tool_calls=False if tools and not run.parallel_tool_calls else None,
        # What nobody asked for is left to the model: some refuse to be told any temperature.
        temperature=run.temperature,
        top_p=run.top_p,
        response_format=run.response_format if isinstance(run.response_format, dict) else None,
        reasoning_effort=run.reasoning_effort,
    )


def _system(journal: Journal) -> list[ChatMessage]:
    parts = [journal.run.instructions] if journal.run.instructions else []
    if journal.run.tools and journal.mounted:
        names = "\n".join(f"- /mnt/data/{name}" for name in journal.mounted.values())
        parts.append(f"{FILES_HEADING}\n{names}")
    return [ChatMessage(role="system", content="\n\n".join(parts))] if parts else []


def _conversation(journal: Journal) -> list[ChatMessage]:
    said = ((message.role, _text(message)) for message in journal.conversation)
    # A message without words (its run was cancelled before the first one) is refused by some servers.
    return [ChatMessage(role=role, content=text) for role, text in said if text]


def _text(message: Message) -> str:
    images = sum(isinstance(part, ImageFilePart) for part in message.content)
    shown = "[An image was shown here.]\n\n" * images
    return shown + message.text


def _own_steps(journal: Journal) -> list[ChatMessage]:
    """What this run has said and done, as the model's own earlier turns."""
    prompt: list[ChatMessage] = []
    said: str | None = None
    for step in journal.steps:
        if step.message_id:
            message = journal.messages.get(step.message_id)
            said = message.text if message else None
            continue
        calls = tuple(
            ToolCall(
                id=call.id,
                name=code_interpreter.NAME,
                arguments=json.dumps({"code": call.code_interpreter.input}, ensure_ascii=False),
            )
            for call in step.tool_calls
        )
        prompt.append(ChatMessage(role="assistant", content=said, tool_calls=calls))
        said = None
        prompt += [
            ChatMessage(role="tool", tool_call_id=call.id, content=code_interpreter.result_for_model(call))
            for call in step.tool_calls
        ]
    return prompt


def _tool_choice(run: Run, *, is_first: bool, must_answer: bool) -> str | dict[str, Any] | None:
    """A forced tool is forced in the first turn only: it would be called for ever otherwise."""
    if must_answer:
        return "none"
    if not is_first or run.tool_choice == "auto":
        return None
    if isinstance(run.tool_choice, dict):
        return {"type": "function", "function": {"name": code_interpreter.NAME}}
    return run.tool_choice


def new_images(steps: tuple[Step, ...]) -> tuple[str, ...]:
    """Ids of the images drawn since the run's last message: they stand before the text of the next one."""
    images: list[str] = []
    for step in steps:
        if step.message_id:
            images.clear()
        for call in step.tool_calls:
            images += [
                output.image.file_id
                for output in call.code_interpreter.outputs or ()
                if isinstance(output, ImageOutput)
            ]
    return tuple(images)


def visible_files(run: Run, thread_files: tuple[str, ...], known: Mapping[str, File]) -> dict[str, str]:
    """File id -> name below /mnt/data of the files of the assistant (or the run) and the thread that still exist."""
    wanted = dict.fromkeys((*run.tool_resources.code_interpreter_file_ids, *thread_files))
    return mount_names([known[file_id] for file_id in wanted if file_id in known])
