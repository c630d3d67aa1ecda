"""From a thread to a prompt: instructions, the conversation, the files, and this run's own steps. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, Protocol, assert_never

import msgspec

from locum.domain.files import File, mount_names
from locum.domain.messages import (
    FileCitationAnnotation,
    ImageFilePart,
    ImageURL,
    ImageURLPart,
    Message,
    RefusalPart,
    Text,
    TextPart,
)
from locum.domain.runs import Run
from locum.domain.steps import (
    CodeInterpreterCall,
    FileSearchCall,
    FunctionCall,
    ImageOutput,
    Step,
    ToolCall,
    total_usage,
)
from locum.engine.images import NOT_SHOWN
from locum.models import chat
from locum.models.chat import ChatMessage, ChatRequest, ToolDefinition
from locum.tools import code_interpreter, file_search, functions
from locum.tools.functions import Offer, offer

_MAX_NAMES, _MAX_NAME = 20, 100
"""How many attached files are named with a message, and in how many characters each."""
_SHORTENED = (32_000, 8_000, 2_000)
"""Characters that are left of a tool's result where this run's own results do not fit, tried in this order."""


class Counter(Protocol):
    """How many tokens a prompt takes."""

    def at_most(self, messages: tuple[ChatMessage, ...], tools: tuple[ToolDefinition, ...] = ()) -> int:
        """Never less than `count`, and cheap."""
        ...

    def count(self, messages: tuple[ChatMessage, ...], tools: tuple[ToolDefinition, ...] = ()) -> int: ...


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a run when a turn begins.

    conversation: the thread's messages but for those of this run, as many as the run wants to see. steps: the turns
    that are done, in order. messages: this run's messages by id. mounted: file id -> name below /mnt/data. made: path
    below /mnt/data -> the file the thread's runs made there. images: file id -> data URL of the conversation's images.
    thread_stores: ids of the vector stores that the thread itself has. attached: file id -> name of the files that came
    with the conversation's messages to be searched.
    """

    run: Run
    conversation: tuple[Message, ...]
    steps: tuple[Step, ...] = ()
    messages: dict[str, Message] = {}
    mounted: dict[str, str] = {}
    made: dict[str, File] = {}
    images: dict[str, str] = {}
    thread_stores: tuple[str, ...] = ()
    attached: dict[str, str] = {}

    @property
    def offer(self) -> Offer:
        """The tools of the run; `tool_choice` none offers none."""
        return offer(() if self.run.tool_choice == "none" else self.run.tools)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """All calls of the run's turns so far, in order."""
        return tuple(call for step in self.steps for call in step.tool_calls)

    @property
    def left_to_read(self) -> int | None:
        """What is left of the run's budget of prompt tokens; None where it has none."""
        return _left(self.run.max_prompt_tokens, total_usage(list(self.steps)).prompt_tokens)

    @property
    def left_to_write(self) -> int | None:
        """What is left of the run's budget of completion tokens; None where it has none."""
        return _left(self.run.max_completion_tokens, total_usage(list(self.steps)).completion_tokens)

    @property
    def exhausted(self) -> Literal["max_prompt_tokens", "max_completion_tokens"] | None:
        """The budget of which nothing is left."""
        if self.left_to_read is not None and self.left_to_read <= 0:
            return "max_prompt_tokens"
        if self.left_to_write is not None and self.left_to_write <= 0:
            return "max_completion_tokens"
        return None

    @property
    def is_pending(self) -> bool:
        """The last step has calls that have not been made."""
        return bool(self.steps) and self.steps[-1].is_open

    @property
    def turns_without_caller(self) -> int:
        """Turns with tools since the caller last submitted outputs (or since the beginning)."""
        count = 0
        for step in reversed(self.steps):
            if any(isinstance(call, FunctionCall) for call in step.tool_calls):
                break
            count += bool(step.tool_calls)
        return count


def _left(budget: int | None, used: int) -> int | None:
    return None if budget is None else budget - used


class DoesNotFit(Exception):
    """Instructions, last message and this run's own steps take more than there is room for."""


def build(journal: Journal, *, counter: Counter, room: int, must_answer: bool = False) -> ChatRequest:
    """The model call of the next turn, in at most `room` tokens; DoesNotFit when that is impossible.

    With `must_answer` the model may not call tools any more.
    """
    run, offered = journal.run, journal.offer
    tools = offered.definitions
    own = partial(_own_steps, journal, offered)
    messages = fit(_system(journal), _conversation(journal), own, tools, counter=counter, room=room)
    return ChatRequest(
        model=run.model,
        messages=messages or (ChatMessage(role="system", content=""),),  # a run on an empty thread, uninstructed
        tools=tools,
        tool_choice=_tool_choice(run, offered, is_first=not journal.steps, must_answer=must_answer) if tools else None,
        parallel_tool_calls=False if tools and not run.parallel_tool_calls else None,
        # What nobody asked for is left to the model: some refuse to be told any temperature.
        temperature=run.temperature,
        top_p=run.top_p,
        max_completion_tokens=journal.left_to_write,
        response_format=run.response_format if isinstance(run.response_format, dict) else None,
        reasoning_effort=run.reasoning_effort,
    )


def fit(
    system: tuple[ChatMessage, ...],
    conversation: tuple[ChatMessage, ...],
    own: Callable[[int | None], tuple[ChatMessage, ...]],
    tools: tuple[ToolDefinition, ...],
    *,
    counter: Counter,
    room: int,
) -> tuple[ChatMessage, ...]:
    """The prompt in at most `room` tokens: messages are dropped from the middle of the conversation.

    own: what this run has done, with each tool's result whole, or in so many characters.

    What stays in any case: the instructions, the last user message and what this run has done. Of the others the newest
    stay, and the very first where it takes no more than half of what is left. Results of this run's tools are shortened
    when they alone are too long.
    """
    done = own(None)
    whole = (*system, *conversation, *done)
    if counter.at_most(whole, tools) <= room:
        return whole
    last = _last_question(conversation)
    for kept in (done, *map(own, _SHORTENED)):
        left = room - counter.count((*system, *conversation[last : last + 1], *kept), tools)
        if left >= 0:
            break
    else:
        raise DoesNotFit
    return (*system, *_cut(conversation, last, left, counter), *kept)


def _last_question(conversation: tuple[ChatMessage, ...]) -> int:
    """Where the last user message stands; where there is none, the last message."""
    users = (index for index in reversed(range(len(conversation))) if conversation[index].role == "user")
    return next(users, max(0, len(conversation) - 1))


def _cut(conversation: tuple[ChatMessage, ...], last: int, left: int, counter: Counter) -> list[ChatMessage]:
    """The message at `last`, and of the others what fits into `left` tokens: the first, and the newest in one piece."""
    kept = {last}
    if last > 0 and (cost := counter.count(conversation[:1])) <= left // 2:
        kept.add(0)
        left -= cost
    for index in reversed(range(len(conversation))):
        if index in kept:
            continue
        left -= counter.count(conversation[index : index + 1])
        if left < 0:
            break
        kept.add(index)
    return [conversation[index] for index in sorted(kept)] if conversation else []


def _system(journal: Journal) -> tuple[ChatMessage, ...]:
    parts = [journal.run.instructions] if journal.run.instructions else []
    if journal.offer.code_name and journal.mounted:
        names = "\n".join(f"- /mnt/data/{name}" for name in journal.mounted.values())
        parts.append(f"{code_interpreter.FILES_HEADING}\n{names}")
    return (ChatMessage(role="system", content="\n\n".join(parts)),) if parts else ()


def _conversation(journal: Journal) -> tuple[ChatMessage, ...]:
    said = ((message.role, _content(message, journal)) for message in journal.conversation)
    # A message without words (its run was cancelled before the first one) is refused by some servers.
    return tuple(ChatMessage(role=role, content=content) for role, content in said if content)


def _content(message: Message, journal: Journal) -> str | list[dict[str, Any]]:
    """Text where there is only text. Images go to the model as a user's only: no server takes an assistant's."""
    note, images = _attached(message, journal), journal.images
    if message.role == "assistant" or not any(
        isinstance(part, ImageFilePart | ImageURLPart) for part in message.content
    ):
        return "\n\n".join(text for text in (_text(message), note) if text)
    parts: list[dict[str, Any]] = []
    for part in message.content:
        match part:
            case ImageURLPart(image_url=image):
                parts.append(_image(image.url, image))
            case ImageFilePart(image_file=image) if image.file_id in images:
                parts.append(_image(images[image.file_id], image))
            case ImageFilePart():
                parts.append({"type": "text", "text": NOT_SHOWN})
            case TextPart(text=text):
                parts.append({"type": "text", "text": text.value})
            case RefusalPart(refusal=refusal):
                parts.append({"type": "text", "text": refusal})
    return [*parts, {"type": "text", "text": note}] if note else parts


def _attached(message: Message, journal: Journal) -> str:
    """That files came with the message, for a model that is to search them: `this` may mean one of them."""
    names = [journal.attached[file_id] for file_id in searchable(message) if file_id in journal.attached]
    if not names or not journal.offer.search_name:
        return ""
    shown = [" ".join(name.split())[:_MAX_NAME] for name in names[:_MAX_NAMES]]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"[Attached files, to be read with {journal.offer.search_name}: {', '.join(shown)}{more}]"


def searchable(message: Message) -> tuple[str, ...]:
    """Ids of the files that came with a message to be searched."""
    return tuple(each.file_id for each in message.attachments if each.is_for_search)


def _image(url: str, image: Any) -> dict[str, Any]:
    detail = {} if image.detail is None else {"detail": image.detail}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def _text(message: Message) -> str:
    shown = []
    for part in message.content:
        match part:
            case TextPart(text=text):
                shown.append(_uncited(text))
            case RefusalPart(refusal=refusal):
                shown.append(refusal)
            case ImageURLPart(image_url=ImageURL(url=url)):
                shown.append(f"[An image was shown here: {url[:200]}]")
            case ImageFilePart():
                shown.append("[An image was shown here.]")
    return "\n\n".join(each for each in shown if each)


def _uncited(text: Text) -> str:
    """A text without its citations: in another run the same markers stand for something else."""
    value = text.value
    for each in sorted(text.annotations, key=lambda annotation: annotation.start_index, reverse=True):
        if isinstance(each, FileCitationAnnotation):
            value = value[: each.start_index] + value[each.end_index :]
    return value


def _own_steps(journal: Journal, offered: Offer, most: int | None = None) -> tuple[ChatMessage, ...]:
    """What this run has said and done, as the model's own earlier turns; the results in at most so many characters."""
    prompt: list[ChatMessage] = []
    said: str | None = None
    for step in journal.steps:
        if step.message_id:
            message = journal.messages.get(step.message_id)
            said = message.text if message else None
            continue
        calls = tuple(_call(call, offered) for call in step.tool_calls)
        prompt.append(ChatMessage(role="assistant", content=said, tool_calls=calls))
        said = None
        prompt += [
            ChatMessage(role="tool", tool_call_id=call.id, content=result_for_model(call, most))
            for call in step.tool_calls
        ]
    return tuple(prompt)


def _call(call: ToolCall, offered: Offer) -> chat.ToolCall:
    if isinstance(call, CodeInterpreterCall):
        arguments = json.dumps({"code": call.code_interpreter.input}, ensure_ascii=False)
        return chat.ToolCall(id=call.id, name=offered.code_name or code_interpreter.NAME, arguments=arguments)
    if isinstance(call, FileSearchCall):
        arguments = json.dumps({"queries": call.file_search.queries}, ensure_ascii=False)
        return chat.ToolCall(id=call.id, name=offered.search_name or file_search.NAME, arguments=arguments)
    return chat.ToolCall(id=call.id, name=call.function.name, arguments=_repeatable(call.function.arguments))


def _repeatable(arguments: str) -> str:
    """Arguments that are no JSON object are the caller's to see as they came; servers refuse to be told them again."""
    try:
        is_object = isinstance(json.loads(arguments or "{}"), dict)
    except (ValueError, RecursionError):
        is_object = False
    return (arguments or "{}") if is_object else json.dumps({"not_json": arguments}, ensure_ascii=False)


def result_for_model(call: ToolCall, most: int | None = None) -> str:
    """What the model reads of a call that is done; in about so many characters. Of a search the best is kept, of any
    other call the beginning and the end."""
    match call:
        case CodeInterpreterCall():
            return _shortened(code_interpreter.result_for_model(call), most)
        case FileSearchCall():
            return file_search.result_for_model(call, most)
        case FunctionCall():
            return _shortened(functions.result_for_model(call), most)
        case _:
            assert_never(call)


def _shortened(text: str, most: int | None) -> str:
    if most is None or len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"


def _tool_choice(run: Run, offered: Offer, *, is_first: bool, must_answer: bool) -> str | dict[str, Any] | None:
    """A forced tool is forced in the first turn only: it would be called for ever otherwise."""
    if must_answer:
        return "none"
    if not is_first or run.tool_choice == "auto":
        return None
    if isinstance(run.tool_choice, str):
        return run.tool_choice
    match run.tool_choice["type"]:
        case "function":
            name = run.tool_choice["function"]["name"]
        case "file_search":
            name = offered.search_name
        case _:
            name = offered.code_name
    return {"type": "function", "function": {"name": name}}


def new_images(steps: tuple[Step, ...]) -> tuple[str, ...]:
    """Ids of the images drawn since the run's last message: they stand before the text of the next one."""
    images: list[str] = []
    for step in steps:
        if step.message_id:
            images.clear()
        for call in step.tool_calls:
            if isinstance(call, CodeInterpreterCall):
                outputs = call.code_interpreter.outputs or ()
                images += [output.image.file_id for output in outputs if isinstance(output, ImageOutput)]
    return tuple(images)


def visible_files(run: Run, thread_files: tuple[str, ...], known: Mapping[str, File]) -> dict[str, str]:
    """File id -> name below /mnt/data of the files of the assistant (or the run) and the thread that still exist."""
    wanted = dict.fromkeys((*run.tool_resources.code_interpreter_file_ids, *thread_files))
    return mount_names([known[file_id] for file_id in wanted if file_id in known])
