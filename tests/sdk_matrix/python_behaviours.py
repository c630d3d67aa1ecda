"""What the SDK matrix asks of every Python SDK, sync and async. `node_behaviours.mjs` has the same list.

    python python_behaviours.py sync|async [part of a name ...]

Each behaviour stands alone: it makes what it needs, and others may use the server at the same time.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import openai
from python_sdk import (
    NotInSdk,
    Sdk,
    all_of,
    behaviour,
    contains,
    equal,
    holds,
    is_png,
    items_of,
    must_take,
    now,
    opened,
    refused,
    report,
)

CSV = b"item,amount\npens,40\nbooks,2\n"
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg==")
CODE = {"type": "code_interpreter"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


# ---- assistants


@behaviour
async def assistant_from_create_to_delete(sdk: Sdk) -> None:
    assistants = sdk.client.beta.assistants
    made = await now(assistants.create(model="gpt-4o", name="Tutor", instructions="Solve.", metadata={"a": "b"}))
    equal((made.object, made.model, made.name, made.metadata), ("assistant", "gpt-4o", "Tutor", {"a": "b"}))
    holds(made.id.startswith("asst_"), made.id)
    equal(await now(assistants.retrieve(made.id)), made)
    changed = await now(assistants.update(made.id, name="Teacher", metadata={}))
    equal((changed.name, changed.metadata, changed.instructions), ("Teacher", {}, "Solve."))
    gone = await now(assistants.delete(made.id))
    equal((gone.id, gone.object, gone.deleted), (made.id, "assistant.deleted", True))
    await refused(openai.NotFoundError, lambda: assistants.retrieve(made.id))


@behaviour
async def assistant_with_every_field(sdk: Sdk) -> None:
    fields: dict[str, Any] = {
        "model": "gpt-4o",
        "name": "n" * 256,
        "description": "d" * 512,
        "instructions": "i",
        "tools": [CODE, WEATHER],
        "metadata": {str(n): "v" * 512 for n in range(16)},
    }
    if not sdk.speaks_v1:
        fields |= {"temperature": 0, "top_p": 0.5, "response_format": {"type": "json_object"}}
    made = await now(sdk.client.beta.assistants.create(**fields))
    shown = made.model_dump(exclude_unset=True)
    equal({name: shown[name] for name in fields}, fields)


@behaviour
async def assistants_page_after_page(sdk: Sdk) -> None:
    assistants = sdk.client.beta.assistants
    made = [(await now(assistants.create(model="gpt-4o", name=str(n)))).id for n in range(5)]
    first = await now(assistants.list(limit=2, order="asc", after=made[0]))
    holds(first.has_next_page(), "there is a next page")
    holds(len((await now(first.get_next_page())).data) == 2, "the next page has two more")
    walked = [each.id for each in await all_of(assistants.list(limit=2, order="asc", after=made[0]))]
    equal([each for each in walked if each in made], made[1:])
    newest = [each.id for each in (await now(assistants.list(limit=100))).data]
    equal([each for each in newest if each in made], made[::-1])


@behaviour
async def explicit_nulls_mean_nothing_was_said(sdk: Sdk) -> None:
    beta = sdk.client.beta
    made = await now(
        beta.assistants.create(model="gpt-4o", name=None, description=None, instructions=None, metadata=None)
    )
    equal((made.name, made.description, made.instructions, made.metadata, made.tools), (None, None, None, {}, []))
    thread = await now(beta.threads.create(metadata=None))
    await now(beta.threads.messages.create(thread.id, role="user", content="say: ok", metadata=None))
    nulls = dict.fromkeys(("model", "instructions", "additional_instructions", "tools", "metadata", "temperature"))
    run = await now(beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=made.id, **nulls))
    equal((run.status, run.model), ("completed", "gpt-4o"))
    named = await now(beta.assistants.update(made.id, name="named"))
    cleared = await now(beta.assistants.update(made.id, name=None))
    equal((named.name, cleared.name), ("named", None))


# ---- threads and messages


@behaviour
async def thread_from_create_to_delete(sdk: Sdk) -> None:
    threads = sdk.client.beta.threads
    made = await now(threads.create(metadata={"a": "b"}))
    equal((made.object, made.metadata), ("thread", {"a": "b"}))
    equal(await now(threads.retrieve(made.id)), made)
    equal((await now(threads.update(made.id, metadata={"c": "d"}))).metadata, {"c": "d"})
    gone = await now(threads.delete(made.id))
    equal((gone.id, gone.object, gone.deleted), (made.id, "thread.deleted", True))
    await refused(openai.NotFoundError, lambda: threads.retrieve(made.id))


@behaviour
async def thread_created_with_messages(sdk: Sdk) -> None:
    threads = sdk.client.beta.threads
    thread = await now(
        threads.create(messages=[{"role": "user", "content": "one"}, {"role": "user", "content": "two"}])
    )
    newest_first = (await now(threads.messages.list(thread.id))).data
    equal([text_of(message) for message in newest_first], ["two", "one"])
    equal({(each.role, each.run_id, each.assistant_id) for each in newest_first}, {("user", None, None)})


@behaviour
async def message_from_create_to_update(sdk: Sdk) -> None:
    threads = sdk.client.beta.threads
    thread = await now(threads.create())
    made = await now(threads.messages.create(thread.id, role="user", content="hello", metadata={"a": "b"}))
    equal((made.object, made.thread_id, text_of(made)), ("thread.message", thread.id, "hello"))
    equal(made.content[0].text.annotations, [])
    equal(await now(threads.messages.retrieve(made.id, thread_id=thread.id)), made)
    changed = await now(threads.messages.update(made.id, thread_id=thread.id, metadata={"c": "d"}))
    equal((changed.metadata, text_of(changed)), ({"c": "d"}, "hello"))


@behaviour
async def message_is_deleted(sdk: Sdk) -> None:
    messages = sdk.client.beta.threads.messages
    if not hasattr(messages, "delete"):
        raise NotInSdk("messages.delete")
    thread = await now(sdk.client.beta.threads.create(messages=[{"role": "user", "content": "one"}]))
    (message,) = (await now(messages.list(thread.id))).data
    gone = await now(messages.delete(message.id, thread_id=thread.id))
    equal((gone.id, gone.object, gone.deleted), (message.id, "thread.message.deleted", True))
    equal((await now(messages.list(thread.id))).data, [])


@behaviour
async def messages_in_order_and_in_pages(sdk: Sdk) -> None:
    messages = sdk.client.beta.threads.messages
    thread = await now(sdk.client.beta.threads.create())
    sent = [(await now(messages.create(thread.id, role="user", content=str(n)))).id for n in range(7)]
    equal([each.id for each in await all_of(messages.list(thread.id, limit=3, order="asc"))], sent)
    equal([each.id for each in await all_of(messages.list(thread.id, limit=3))], sent[::-1])
    after = await now(messages.list(thread.id, limit=2, order="asc", after=sent[2]))
    equal([each.id for each in after.data], sent[3:5])
    before = await now(messages.list(thread.id, limit=2, order="asc", before=sent[5]))
    equal([each.id for each in before.data], sent[3:5])


@behaviour
async def picture_in_a_message_reaches_the_model(sdk: Sdk) -> None:
    if sdk.speaks_v1:
        raise NotInSdk("pictures in messages")
    file = await now(sdk.client.files.create(file=("dot.png", PNG), purpose="vision"))
    picture = {"type": "image_file", "image_file": {"file_id": file.id, "detail": "low"}}
    parts = [{"type": "text", "text": "repeat"}, picture]
    thread = await now(sdk.client.beta.threads.create(messages=[{"role": "user", "content": parts}]))
    assistant = await now(sdk.client.beta.assistants.create(model="gpt-4o"))
    run = await now(sdk.client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    equal((run.status, run.last_error), ("completed", None))
    answer, question = (await now(sdk.client.beta.threads.messages.list(run.thread_id))).data
    equal([part.type for part in question.content], ["text", "image_file"])
    equal((question.content[1].image_file.file_id, question.content[0].text.value), (file.id, "repeat"))
    equal(json.loads(text_of(answer))["pictures"], [base64.b64encode(PNG).decode()])


@behaviour
async def unicode_comes_back_as_it_went(sdk: Sdk) -> None:
    text = "한국어 \U0001f642 e\u0301 \u2028 \ud7a3 \\u0041 \t\r\n«»"
    run, message = await answered(sdk, f"say: {text}", metadata={"키": text})
    equal(text_of(message), text)
    equal(run.metadata, {"키": text})
    uploaded = await now(sdk.client.files.create(file=("보고서 최종.csv", CSV), purpose="assistants"))
    equal(uploaded.filename, "보고서 최종.csv")


# ---- files


@behaviour
async def file_from_bytes_comes_back_exact(sdk: Sdk) -> None:
    data = bytes(range(256)) * 300
    made = await now(sdk.client.files.create(file=("data.bin", data), purpose="assistants"))
    equal((made.object, made.bytes, made.filename, made.purpose), ("file", len(data), "data.bin", "assistants"))
    equal(await now(sdk.client.files.retrieve(made.id)), made)
    equal((await now(sdk.client.files.wait_for_processing(made.id))).status, "processed")
    holds((await downloaded(sdk, made.id)) == data, "the bytes differ")


@behaviour
async def file_from_a_path(sdk: Sdk) -> None:
    path = Path("from a path.csv")
    path.write_bytes(CSV)  # noqa: ASYNC240 - nobody waits
    made = await now(sdk.client.files.create(file=path, purpose="assistants"))
    equal((made.filename, made.bytes), (path.name, len(CSV)))
    content = await now(sdk.client.files.content(made.id))
    await now(content.write_to_file("copy.csv"))
    equal(Path("copy.csv").read_bytes(), CSV)  # noqa: ASYNC240


@behaviour
async def file_from_a_stream(sdk: Sdk) -> None:
    with io.BytesIO(CSV) as stream:
        stream.name = "stream.csv"
        made = await now(sdk.client.files.create(file=stream, purpose="assistants"))
    equal((made.filename, made.bytes), ("stream.csv", len(CSV)))
    equal(await downloaded(sdk, made.id), CSV)


@behaviour
async def files_listed_by_purpose_and_deleted(sdk: Sdk) -> None:
    files = sdk.client.files
    made = await now(files.create(file=("a.csv", CSV), purpose="assistants"))
    other = await now(files.create(file=("b.jsonl", b"{}\n"), purpose="batch"))
    listed = [each.id for each in await all_of(files.list(purpose="assistants"))]
    equal((made.id in listed, other.id in listed), (True, False))
    gone = await now(files.delete(made.id))
    equal((gone.id, gone.object, gone.deleted), (made.id, "file", True))
    await refused(openai.NotFoundError, lambda: files.retrieve(made.id))
    await refused(openai.NotFoundError, lambda: files.content(made.id))


@behaviour
async def upload_in_parts(sdk: Sdk) -> None:
    if not hasattr(sdk.client, "uploads"):
        raise NotInSdk("uploads")
    uploads = sdk.client.uploads
    upload = await now(
        uploads.create(filename="big.csv", purpose="assistants", bytes=2 * len(CSV), mime_type="text/csv")
    )
    equal((upload.object, upload.status), ("upload", "pending"))
    parts = [(await now(uploads.parts.create(upload.id, data=CSV))).id for _ in range(2)]
    done = await now(uploads.complete(upload.id, part_ids=parts))
    equal((done.status, done.file.filename, done.file.bytes), ("completed", "big.csv", 2 * len(CSV)))
    equal(await downloaded(sdk, done.file.id), CSV * 2)
    other = await now(uploads.create(filename="x.csv", purpose="assistants", bytes=1, mime_type="text/csv"))
    equal((await now(uploads.cancel(other.id))).status, "cancelled")


@behaviour
async def file_of_the_assistant_is_read_by_code(sdk: Sdk) -> None:
    file = await now(sdk.client.files.create(file=("sales.csv", CSV), purpose="assistants"))
    where = {"file_ids": [file.id]}
    fields = where if sdk.speaks_v1 else {"tool_resources": {"code_interpreter": where}}
    assistant = await now(sdk.client.beta.assistants.create(model="gpt-4o", tools=[CODE], **fields))
    _, message = await answered(sdk, "total", assistant_id=assistant.id)
    equal(text_of(message), "The total is 42.")


@behaviour
async def file_of_a_message_is_read_by_code(sdk: Sdk) -> None:
    file = await now(sdk.client.files.create(file=("sales.csv", CSV), purpose="assistants"))
    fields = {"file_ids": [file.id]} if sdk.speaks_v1 else {"attachments": [{"file_id": file.id, "tools": [CODE]}]}
    _, message = await answered(sdk, "total", tools=[CODE], of_message=fields)
    equal(text_of(message), "The total is 42.")


# ---- runs


@behaviour
async def run_created_and_polled(sdk: Sdk) -> None:
    run, message = await answered(sdk, "say: Hello there.")
    equal((run.object, run.status, run.last_error, run.required_action), ("thread.run", "completed", None, None))
    equal((text_of(message), message.role, message.run_id), ("Hello there.", "assistant", run.id))
    equal(message.assistant_id, run.assistant_id)
    equal((run.usage.prompt_tokens, run.usage.completion_tokens, run.usage.total_tokens), (10, 5, 15))
    holds(run.created_at <= run.started_at <= run.completed_at, "its times are in order")


@behaviour
async def run_followed_by_retrieving_it(sdk: Sdk) -> None:
    run = await begun(sdk, "say: Hello.")
    equal((run.status, run.started_at, run.usage), ("queued", None, None))
    equal(run.expires_at, run.created_at + 600)
    run = await finished(sdk, run)
    equal((run.status, run.expires_at), ("completed", None))


@behaviour
async def runs_listed_and_labelled(sdk: Sdk) -> None:
    runs = sdk.client.beta.threads.runs
    first = await finished(sdk, await begun(sdk, "say: one"))
    second = await now(runs.create_and_poll(thread_id=first.thread_id, assistant_id=first.assistant_id))
    equal([each.id for each in await all_of(runs.list(first.thread_id, limit=1))], [second.id, first.id])
    labelled = await now(runs.update(first.id, thread_id=first.thread_id, metadata={"a": "b"}))
    equal((labelled.metadata, labelled.status), ({"a": "b"}, "completed"))


@behaviour
async def run_is_cancelled(sdk: Sdk) -> None:
    runs = sdk.client.beta.threads.runs
    run = await begun(sdk, "wait")
    equal((await now(runs.cancel(run.id, thread_id=run.thread_id))).status, "cancelling")
    run = await now(runs.poll(run.id, thread_id=run.thread_id))
    equal((run.status, run.cancelled_at is None), ("cancelled", False))
    error = await refused(openai.BadRequestError, lambda: runs.cancel(run.id, thread_id=run.thread_id))
    equal(said_by(error), "Cannot cancel run with status 'cancelled'.")


@behaviour
async def what_a_run_says_reaches_the_model(sdk: Sdk) -> None:
    run, message = await answered(
        sdk,
        "say: not this",
        instructions="Be brief.",
        additional_instructions="Be kind.",
        additional_messages=[{"role": "user", "content": "repeat"}],
        temperature=0,
        model="gpt-4o-mini",
    )
    told = json.loads(text_of(message))
    contains(told["instructions"], "Be brief.")
    holds(told["instructions"].index("Be brief.") < told["instructions"].index("Be kind."), "in this order")
    equal((told["users"], told["temperature"]), (["say: not this", "repeat"], 0))
    equal((run.model, run.temperature), ("gpt-4o-mini", 0))


@behaviour
async def steps_of_a_run(sdk: Sdk) -> None:
    run, message = await answered(sdk, "chart", tools=[CODE])
    steps = sdk.client.beta.threads.runs.steps
    last, first = (await now(steps.list(run.id, thread_id=run.thread_id))).data
    equal((first.object, first.type, first.status), ("thread.run.step", "tool_calls", "completed"))
    equal((last.type, last.step_details.message_creation.message_id), ("message_creation", message.id))
    (call,) = first.step_details.tool_calls
    contains(call.code_interpreter.input, "plt.plot")
    logs, image = call.code_interpreter.outputs
    equal((logs.type, logs.logs.strip(), image.type), ("logs", "drawn", "image"))
    equal(await now(steps.retrieve(first.id, thread_id=run.thread_id, run_id=run.id)), first)
    equal(first.usage.total_tokens + last.usage.total_tokens, run.usage.total_tokens)


@behaviour
async def thread_created_and_run(sdk: Sdk) -> None:
    threads = sdk.client.beta.threads
    assistant = await now(sdk.client.beta.assistants.create(model="gpt-4o"))
    thread = {"messages": [{"role": "user", "content": "say: one"}]}
    run = await finished(sdk, await now(threads.create_and_run(assistant_id=assistant.id, thread=thread)))
    equal((run.status, text_of(await newest(sdk, run.thread_id))), ("completed", "one"))
    run = await now(threads.create_and_run_poll(assistant_id=assistant.id, thread=thread))
    equal((run.status, text_of(await newest(sdk, run.thread_id))), ("completed", "one"))


@behaviour
async def run_that_fails_says_why(sdk: Sdk) -> None:
    run = await finished(sdk, await begun(sdk, "fail"))
    equal((run.status, run.failed_at is None), ("failed", False))
    contains(["server_error", "invalid_prompt"], run.last_error.code)
    holds(run.last_error.message, "the error has words")


@behaviour
async def run_ends_incomplete_at_its_budget(sdk: Sdk) -> None:
    must_take(sdk.client.beta.threads.runs.create, "max_completion_tokens")
    run = await finished(sdk, await begun(sdk, "ramble", max_completion_tokens=256, max_prompt_tokens=256))
    equal((run.status, run.max_completion_tokens, run.max_prompt_tokens), ("incomplete", 256, 256))
    equal(run.incomplete_details.reason, "max_completion_tokens")
    equal((await newest(sdk, run.thread_id)).status, "incomplete")


@behaviour
async def run_sees_the_last_messages_only(sdk: Sdk) -> None:
    must_take(sdk.client.beta.threads.runs.create_and_poll, "truncation_strategy")
    thread = await now(
        sdk.client.beta.threads.create(messages=[{"role": "user", "content": each} for each in ("a", "b", "repeat")])
    )
    assistant = await now(sdk.client.beta.assistants.create(model="gpt-4o"))
    run = await now(
        sdk.client.beta.threads.runs.create_and_poll(
            thread_id=thread.id,
            assistant_id=assistant.id,
            truncation_strategy={"type": "last_messages", "last_messages": 2},
        )
    )
    equal((run.truncation_strategy.type, run.truncation_strategy.last_messages), ("last_messages", 2))
    equal(json.loads(text_of(await newest(sdk, thread.id)))["users"], ["b", "repeat"])


# ---- errors


@behaviour
async def unknown_id_is_not_found(sdk: Sdk) -> None:
    error = await refused(openai.NotFoundError, lambda: sdk.client.beta.assistants.retrieve("asst_unknown"))
    equal(said_by(error), "No assistant found with id 'asst_unknown'.")
    equal((error.status_code, error.type, error.param, error.code), (404, "invalid_request_error", None, None))


@behaviour
async def unknown_parameter_is_a_bad_request(sdk: Sdk) -> None:
    create = sdk.client.beta.assistants.create
    error = await refused(openai.BadRequestError, lambda: create(model="gpt-4o", extra_body={"colour": "red"}))
    equal(said_by(error), "Unknown parameter: 'colour'.")
    equal((error.status_code, error.type), (400, "invalid_request_error"))
    equal((error.param, error.code), ("colour", "unknown_parameter"))


@behaviour
async def wrong_key_is_an_authentication_error(sdk: Sdk) -> None:
    client = sdk.openai(api_key="wrong")
    error = await refused(openai.AuthenticationError, lambda: client.beta.assistants.create(model="gpt-4o"))
    equal((error.status_code, error.code), (401, "invalid_api_key"))
    await refused(openai.AuthenticationError, lambda: client.files.create(file=("a.csv", CSV), purpose="assistants"))


@behaviour
async def busy_thread_is_refused_and_not_retried(sdk: Sdk) -> None:
    client, sent = sdk.counting()
    run = await begun(sdk, "wait")
    thread = client.beta.threads
    error = await refused(
        openai.BadRequestError, lambda: thread.messages.create(run.thread_id, role="user", content="x")
    )
    equal(said_by(error), f"Can't add messages to {run.thread_id} while a run {run.id} is active.")
    error = await refused(
        openai.BadRequestError, lambda: thread.runs.create(run.thread_id, assistant_id=run.assistant_id)
    )
    equal(said_by(error), f"Thread {run.thread_id} already has an active run {run.id}.")
    equal((error.type, error.param, error.code), ("invalid_request_error", None, None))
    equal(len(sent), 2)
    await now(sdk.client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id))
    equal((await finished(sdk, run)).status, "cancelled")
    await now(thread.messages.create(run.thread_id, role="user", content="x"))


# ---- streams


@behaviour
async def stream_calls_every_handler(sdk: Sdk) -> None:
    listener, run = await streamed(sdk, "say: It streams 한국어 well.")
    heard = [name for name, *_ in listener.heard]
    equal(
        [name for name, _ in groupby(name for name in heard if name not in ("on_event", "on_message_delta"))],
        [
            "on_run_step_created",
            "on_message_created",
            "on_text_created",
            "on_text_delta",
            "on_text_done",
            "on_message_done",
            "on_run_step_done",
            "on_end",
        ],
    )
    equal(heard.count("on_text_delta"), heard.count("on_message_delta"))
    holds(heard.count("on_text_delta") > 2, "it came in several pieces")
    pieces = [delta.value for name, delta, *_ in each_heard(listener, "on_text_delta")]
    equal("".join(pieces), "It streams 한국어 well.")
    equal(await now(listener.get_final_run()), run)
    equal(await now(listener.get_final_messages()), [await newest(sdk, run.thread_id)])
    steps = await now(sdk.client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc"))
    equal([step for _, step in each_heard(listener, "on_run_step_done")], steps.data)
    equal([step.id for step in await now(listener.get_final_run_steps())], [step.id for step in steps.data])


@behaviour
async def stream_without_a_handler(sdk: Sdk) -> None:
    thread = await now(sdk.client.beta.threads.create(messages=[{"role": "user", "content": "say: One two three."}]))
    assistant = await now(sdk.client.beta.assistants.create(model="gpt-4o"))
    async with opened(sdk.client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id)) as stream:
        equal("".join(await all_of(stream.text_deltas)), "One two three.")


@behaviour
async def stream_of_plain_events_is_in_order(sdk: Sdk) -> None:
    thread = await now(sdk.client.beta.threads.create(messages=[{"role": "user", "content": "say: One two three."}]))
    assistant = await now(sdk.client.beta.assistants.create(model="gpt-4o"))
    runs = sdk.client.beta.threads.runs
    events = await all_of(await now(runs.create(thread.id, assistant_id=assistant.id, stream=True)))
    equal(names_of(events), RUN_IN_WORDS)
    stored = {each.id: each for each in (await now(runs.list(thread.id))).data}
    equal(events[-1].data, stored[events[0].data.id])


@behaviour
async def stream_of_a_new_thread(sdk: Sdk) -> None:
    threads = sdk.client.beta.threads
    assistant = await now(sdk.client.beta.assistants.create(model="gpt-4o"))
    thread = {"messages": [{"role": "user", "content": "say: One two three."}]}
    events = await all_of(await now(threads.create_and_run(assistant_id=assistant.id, thread=thread, stream=True)))
    equal(names_of(events), ["thread.created", *RUN_IN_WORDS])
    listener = sdk.listener()
    manager = threads.create_and_run_stream(assistant_id=assistant.id, thread=thread, event_handler=listener)
    async with opened(manager) as stream:
        await now(stream.until_done())
    equal((await now(listener.get_final_run())).status, "completed")
    equal(text_of((await now(listener.get_final_messages()))[0]), "One two three.")


@behaviour
async def stream_of_the_code_interpreter(sdk: Sdk) -> None:
    listener, run = await streamed(sdk, "chart", tools=[CODE])
    equal(run.status, "completed")
    steps = await now(sdk.client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc"))
    equal([step for _, step in each_heard(listener, "on_run_step_done")], steps.data)
    (call,) = steps.data[0].step_details.tool_calls
    ((_, created),) = each_heard(listener, "on_tool_call_created")
    equal((created.type, created.id), ("code_interpreter", call.id))
    deltas = [delta.code_interpreter for _, delta, _ in each_heard(listener, "on_tool_call_delta")]
    equal("".join(delta.input or "" for delta in deltas), call.code_interpreter.input)
    equal([output.type for delta in deltas for output in delta.outputs or ()], ["logs", "image"])
    done = each_heard(listener, "on_tool_call_done")[-1][1]
    equal((done.id, done.code_interpreter.input), (call.id, call.code_interpreter.input))
    message = await newest(sdk, run.thread_id)
    equal(await now(listener.get_final_messages()), [message])
    equal([image for _, image in each_heard(listener, "on_image_file_done")], [message.content[0].image_file])


@behaviour
async def stream_of_a_run_that_fails(sdk: Sdk) -> None:
    listener, run = await streamed(sdk, "fail")
    equal((run.status, (await now(listener.get_final_run())).status), ("failed", "failed"))


@behaviour
async def stream_left_early_does_not_stop_the_run(sdk: Sdk) -> None:
    thread = await now(sdk.client.beta.threads.create(messages=[{"role": "user", "content": "say: One two three."}]))
    assistant = await now(sdk.client.beta.assistants.create(model="gpt-4o"))
    runs = sdk.client.beta.threads.runs
    async with opened(await now(runs.create(thread.id, assistant_id=assistant.id, stream=True))) as stream:
        first = await anext(items_of(stream))
    run = await finished(sdk, first.data)
    equal((run.status, text_of(await newest(sdk, thread.id))), ("completed", "One two three."))


# ---- code interpreter


@behaviour
async def picture_and_table_are_downloaded(sdk: Sdk) -> None:
    _, message = await answered(sdk, "chart", tools=[CODE])
    image, words = message.content
    equal((image.type, words.type), ("image_file", "text"))
    is_png(await downloaded(sdk, image.image_file.file_id))
    (annotation,) = words.text.annotations
    equal((annotation.type, annotation.text), ("file_path", "sandbox:/mnt/data/table.csv"))
    equal(words.text.value[annotation.start_index : annotation.end_index], annotation.text)
    equal(await downloaded(sdk, annotation.file_path.file_id), b"n,square\n1,1\n2,4\n3,9\n")
    table = await now(sdk.client.files.retrieve(annotation.file_path.file_id))
    equal((table.filename.rpartition("/")[2], table.purpose), ("table.csv", "assistants_output"))


# ---- functions


@behaviour
async def function_is_called_and_answered(sdk: Sdk) -> None:
    runs = sdk.client.beta.threads.runs
    run = await asked_weather(sdk, "weather: Seoul")
    equal(run.required_action.type, "submit_tool_outputs")
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    equal(
        (call.type, call.function.name, json.loads(call.function.arguments)),
        ("function", "get_weather", {"city": "Seoul"}),
    )
    holds(call.id.startswith("call_"), call.id)
    outputs = [{"tool_call_id": call.id, "output": "맑음"}]
    run = await now(runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs))
    equal((run.status, run.required_action), ("queued", None))
    run = await finished(sdk, run)
    equal((run.status, text_of(await newest(sdk, run.thread_id))), ("completed", "맑음"))
    _, step = (await now(runs.steps.list(run.id, thread_id=run.thread_id))).data
    equal(step.step_details.tool_calls[0].function.output, "맑음")


@behaviour
async def functions_are_called_in_parallel(sdk: Sdk) -> None:
    runs = sdk.client.beta.threads.runs
    run = await asked_weather(sdk, "weather: Seoul, Busan, Jeju")
    outputs = weather_of(run)
    equal([each["output"] for each in outputs], ["rain in Seoul", "rain in Busan", "rain in Jeju"])
    run = await now(runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs))
    equal(run.status, "completed")
    equal(text_of(await newest(sdk, run.thread_id)), "rain in Seoul; rain in Busan; rain in Jeju")
    _, step = (await now(runs.steps.list(run.id, thread_id=run.thread_id))).data
    equal([each.id for each in step.step_details.tool_calls], [each["tool_call_id"] for each in outputs])


@behaviour
async def functions_are_called_one_at_a_time(sdk: Sdk) -> None:
    runs = sdk.client.beta.threads.runs
    must_take(runs.create_and_poll, "parallel_tool_calls")
    run = await asked_weather(sdk, "weather: Seoul, Busan", parallel_tool_calls=False)
    for city in ("Seoul", "Busan"):
        outputs = weather_of(run)
        equal([each["output"] for each in outputs], [f"rain in {city}"])
        run = await now(runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs))
    equal((run.status, text_of(await newest(sdk, run.thread_id))), ("completed", "rain in Seoul; rain in Busan"))


@behaviour
async def function_outputs_are_streamed(sdk: Sdk) -> None:
    runs = sdk.client.beta.threads.runs
    listener, run = await streamed(sdk, "weather: Seoul, Busan", tools=[WEATHER])
    equal((run.status, (await now(listener.get_final_run())).status), ("requires_action", "requires_action"))
    calls = [call.function.name for _, call in each_heard(listener, "on_tool_call_created")]
    equal(calls, ["get_weather", "get_weather"])
    asked: dict[int, str] = {}
    for _, delta, _ in each_heard(listener, "on_tool_call_delta"):
        asked[delta.index] = asked.get(delta.index, "") + (delta.function.arguments or "")
    equal([json.loads(each) for each in asked.values()], [{"city": "Seoul"}, {"city": "Busan"}])
    second = sdk.listener()
    manager = runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=weather_of(run), event_handler=second
    )
    async with opened(manager) as stream:
        await now(stream.until_done())
    equal(second.heard[0][1].event, "thread.run.step.completed")
    equal((await now(second.get_final_run())).status, "completed")
    equal(text_of((await now(second.get_final_messages()))[0]), "rain in Seoul; rain in Busan")


@behaviour
async def wrong_function_outputs_are_refused(sdk: Sdk) -> None:
    runs = sdk.client.beta.threads.runs
    run = await asked_weather(sdk, "weather: Seoul, Busan")
    first, second = weather_of(run)
    error = await refused(
        openai.BadRequestError,
        lambda: runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=[first]),
    )
    seoul, busan = first["tool_call_id"], second["tool_call_id"]
    equal(said_by(error), f"Expected tool outputs for call_ids ['{seoul}', '{busan}'], got ['{seoul}']")
    run = await now(runs.cancel(run.id, thread_id=run.thread_id))
    run = await finished(sdk, run)
    error = await refused(
        openai.BadRequestError,
        lambda: runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=[first, second]),
    )
    equal(said_by(error), 'Runs in status "cancelled" do not accept tool outputs.')


# ---- what the SDK offers for each request


@behaviour
async def raw_response_has_headers(sdk: Sdk) -> None:
    raw = await now(sdk.client.beta.assistants.with_raw_response.create(model="gpt-4o"))
    holds(raw.headers["x-request-id"].startswith("req_"), "a request id")
    equal(raw.http_response.status_code, 200)
    equal((await now(raw.parse())).object, "assistant")


@behaviour
async def response_is_read_as_it_comes(sdk: Sdk) -> None:
    data = bytes(range(256)) * 4000
    made = await now(sdk.client.files.create(file=("data.bin", data), purpose="assistants"))
    async with opened(sdk.client.files.with_streaming_response.content(made.id)) as response:
        holds(b"".join(await all_of(response.iter_bytes())) == data, "the bytes differ")
    async with opened(sdk.client.beta.assistants.with_streaming_response.create(model="gpt-4o")) as response:
        equal((await now(response.parse())).object, "assistant")


@behaviour
async def headers_and_query_of_ones_own(sdk: Sdk) -> None:
    assistants = sdk.client.beta.assistants
    made = [(await now(assistants.create(model="gpt-4o"))).id for _ in range(2)]
    page = await now(assistants.list(extra_query={"limit": 1}, extra_headers={"X-Trace": "a"}))
    equal(len(page.data), 1)
    unknown = await now(assistants.retrieve(made[0], extra_headers={"X-Trace": "a"}, extra_query={"trace": "a"}))
    equal(unknown.id, made[0])
    wrong = {"Authorization": "Bearer wrong"}
    await refused(openai.AuthenticationError, lambda: assistants.retrieve(made[0], extra_headers=wrong))


@behaviour
async def timeouts_are_kept(sdk: Sdk) -> None:
    client = sdk.client.with_options(max_retries=0)
    big = ("big.bin", bytes(4 * 1024**2))
    await refused(openai.APITimeoutError, lambda: client.files.create(file=big, purpose="assistants", timeout=1e-4))
    equal((await now(client.files.create(file=big, purpose="assistants", timeout=30))).bytes, 4 * 1024**2)


@behaviour
async def models_are_listed(sdk: Sdk) -> None:
    first = (await all_of(sdk.client.models.list()))[0]
    equal((await now(sdk.client.models.retrieve(first.id))).id, first.id)


# ---- Azure


@behaviour
async def azure_client(sdk: Sdk) -> None:
    await works_on_azure(sdk, sdk.azure())


@behaviour
async def azure_client_with_a_deployment(sdk: Sdk) -> None:
    await works_on_azure(sdk, sdk.azure(azure_deployment="my-deployment"))


@behaviour
async def azure_client_with_a_token(sdk: Sdk) -> None:
    await works_on_azure(sdk, sdk.azure(api_key=None, azure_ad_token=sdk.key))


@behaviour
async def azure_client_at_the_v1_address(sdk: Sdk) -> None:
    client = sdk.azure(base_url=f"{sdk.endpoint}/openai/v1/", api_version="preview")
    made = await now(client.beta.assistants.create(model="my-deployment"))
    equal((await now(client.beta.assistants.retrieve(made.id))).id, made.id)


@behaviour
async def azure_sample_streams(sdk: Sdk) -> None:
    client = sdk.azure()
    assistant = await now(client.beta.assistants.create(name="Math Tutor", tools=[CODE], model="gpt-4-1106-preview"))
    thread = await now(client.beta.threads.create())
    await now(client.beta.threads.messages.create(thread_id=thread.id, role="user", content="chart"))
    handler = AsyncEventHandler() if sdk.is_async else EventHandler()
    manager = client.beta.threads.runs.stream(
        thread_id=thread.id,
        assistant_id=assistant.id,
        instructions="Please address the user as Jane Doe. The user has a premium account.",
        event_handler=handler,
    )
    async with opened(manager) as stream:
        await now(stream.until_done())
    screen = handler.screen.getvalue()
    contains(screen, "\nassistant > code_interpreter\n")
    contains(screen, "plt.plot([1, 4, 9])")
    contains(screen, "\n\noutput >\n\ndrawn")
    contains(screen, "\nassistant > The table: [table.csv](sandbox:/mnt/data/table.csv)")


@behaviour
async def azure_errors(sdk: Sdk) -> None:
    wrong = sdk.azure(api_key="wrong")
    error = await refused(openai.AuthenticationError, lambda: wrong.beta.assistants.create(model="m"))
    contains(said_by(error), "Access denied due to invalid subscription key")
    old = sdk.azure(api_version="1999-01-01")
    error = await refused(openai.NotFoundError, lambda: old.beta.assistants.create(model="m"))
    equal((said_by(error), error.code), ("Resource not found", "404"))


# ---- v1


@behaviour
async def v1_files_of_an_assistant(sdk: Sdk) -> None:
    assistants = sdk.client.beta.assistants
    if not hasattr(assistants, "files"):
        raise NotInSdk("assistants.files")
    first, second = [await now(sdk.client.files.create(file=("a.csv", CSV), purpose="assistants")) for _ in range(2)]
    made = await now(assistants.create(model="gpt-4o", tools=[CODE], file_ids=[first.id]))
    equal(made.file_ids, [first.id])
    link = await now(assistants.files.create(made.id, file_id=second.id))
    equal((link.id, link.object, link.assistant_id), (second.id, "assistant.file", made.id))
    equal({each.id for each in await all_of(assistants.files.list(made.id))}, {first.id, second.id})
    equal((await now(assistants.files.retrieve(second.id, assistant_id=made.id))).id, second.id)
    gone = await now(assistants.files.delete(second.id, assistant_id=made.id))
    equal((gone.id, gone.object, gone.deleted), (second.id, "assistant.file.deleted", True))
    equal((await now(assistants.retrieve(made.id))).file_ids, [first.id])
    equal((await now(sdk.client.files.retrieve(second.id))).id, second.id)


@behaviour
async def v1_files_of_a_message(sdk: Sdk) -> None:
    messages = sdk.client.beta.threads.messages
    if not hasattr(messages, "files"):
        raise NotInSdk("messages.files")
    file = await now(sdk.client.files.create(file=("a.csv", CSV), purpose="assistants"))
    thread = await now(sdk.client.beta.threads.create())
    made = await now(messages.create(thread.id, role="user", content="x", file_ids=[file.id]))
    equal(made.file_ids, [file.id])
    (link,) = (await now(messages.files.list(made.id, thread_id=thread.id))).data
    equal((link.id, link.object, link.message_id), (file.id, "thread.message.file", made.id))
    equal(await now(messages.files.retrieve(file.id, thread_id=thread.id, message_id=made.id)), link)


@behaviour
async def v1_retrieval_is_file_search(sdk: Sdk) -> None:
    if not sdk.speaks_v1:
        raise NotInSdk("the retrieval tool")
    assistant = await now(sdk.client.beta.assistants.create(model="gpt-4o", tools=[{"type": "retrieval"}]))
    equal([tool.type for tool in assistant.tools], ["retrieval"])
    contains(assistant.id, "asst_")


@behaviour
async def v1_and_v2_show_the_same_objects(sdk: Sdk) -> None:
    old, new = sdk.azure(api_version="2024-02-15-preview"), sdk.azure(api_version="2024-05-01-preview")
    file = await now(old.files.create(file=("a.csv", CSV), purpose="assistants"))
    made = await now(old.beta.assistants.create(model="m", tools=[CODE], extra_body={"file_ids": [file.id]}))
    equal(shown(made, "file_ids"), [file.id])
    seen = await now(new.beta.assistants.retrieve(made.id))
    equal(shown(seen, "tool_resources")["code_interpreter"]["file_ids"], [file.id])
    message = {"role": "user", "content": "x", "file_ids": [file.id]}
    thread = await now(old.beta.threads.create(messages=[message]))
    (before,) = (await now(old.beta.threads.messages.list(thread.id))).data
    equal(shown(before, "file_ids"), [file.id])
    (after,) = (await now(new.beta.threads.messages.list(thread.id))).data
    equal([each["file_id"] for each in shown(after, "attachments")], [file.id])
    resources = {"tool_resources": {"code_interpreter": {"file_ids": [file.id]}}}
    error = await refused(openai.BadRequestError, lambda: old.beta.assistants.create(model="m", extra_body=resources))
    equal((error.param, error.code), ("tool_resources", "unknown_parameter"))


# ---- vector stores


@behaviour
async def vector_store_from_create_to_delete(sdk: Sdk) -> None:
    stores = getattr(sdk.client, "vector_stores", None) or getattr(sdk.client.beta, "vector_stores", None)
    if stores is None:
        raise NotInSdk("vector stores")
    made = await now(stores.create(name="Documents"))
    equal((made.object, made.name, made.status), ("vector_store", "Documents", "completed"))
    equal((await now(stores.retrieve(made.id))).id, made.id)
    equal((await now(stores.update(made.id, name="Papers"))).name, "Papers")
    contains([each.id for each in await all_of(stores.list())], made.id)
    file = await now(sdk.client.files.create(file=("a.txt", b"words"), purpose="assistants"))
    added = await now(stores.files.create(made.id, file_id=file.id))
    equal((added.id, added.object, added.vector_store_id), (file.id, "vector_store.file", made.id))
    equal([each.id for each in await all_of(stores.files.list(made.id))], [file.id])
    equal((await now(stores.files.retrieve(file.id, vector_store_id=made.id))).id, file.id)
    batch = await now(stores.file_batches.create(made.id, file_ids=[file.id]))
    equal((batch.file_counts.total, batch.vector_store_id), (1, made.id))
    batch = await now(stores.file_batches.cancel(batch.id, vector_store_id=made.id))
    contains(("cancelled", "completed"), batch.status)
    equal((await now(stores.files.delete(file.id, vector_store_id=made.id))).deleted, True)
    equal((await now(stores.delete(made.id))).deleted, True)
    equal((await now(sdk.client.files.retrieve(file.id))).id, file.id)


# ---- what several of them need

RUN_IN_WORDS = [
    "thread.run.created",
    "thread.run.queued",
    "thread.run.in_progress",
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
]
"""A streamed run that answers in words; its deltas count as one."""


def names_of(events: list[Any]) -> list[str]:
    """The events' names, those that follow themselves once."""
    return [name for name, _ in groupby(event.event for event in events)]


def each_heard(listener: Any, callback: str) -> list[Any]:
    return [heard for heard in listener.heard if heard[0] == callback]


def text_of(message: Any) -> str:
    """The words of a message that has nothing else."""
    (part,) = message.content
    return part.text.value


def shown(thing: Any, name: str) -> Any:
    """A field that this SDK may not know."""
    return thing.model_dump()[name]


def said_by(error: Any) -> str:
    return error.body["message"]


async def downloaded(sdk: Sdk, file_id: str) -> bytes:
    content = await now(sdk.client.files.content(file_id))
    return content.read()


async def begun(sdk: Sdk, words: str, **options: Any) -> Any:
    """A run of a new assistant on a new thread whose user says this."""
    assistant = await now(sdk.client.beta.assistants.create(model="gpt-4o"))
    thread = await now(sdk.client.beta.threads.create(messages=[{"role": "user", "content": words}]))
    return await now(sdk.client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **options))


async def finished(sdk: Sdk, run: Any) -> Any:
    """The run once it moves no more, asked for as often as it takes."""
    while run.status in ("queued", "in_progress", "cancelling"):
        await asyncio.sleep(0.02)
        run = await now(sdk.client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    return run


async def answered(
    sdk: Sdk, words: str, *, assistant_id: str | None = None, of_message: Any = None, **options: Any
) -> tuple[Any, Any]:
    """A completed run on a new thread whose user says this, and the answer."""
    threads = sdk.client.beta.threads
    assistant_id = assistant_id or (await now(sdk.client.beta.assistants.create(model="gpt-4o"))).id
    thread = await now(threads.create())
    await now(threads.messages.create(thread.id, role="user", content=words, **(of_message or {})))
    run = await now(threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant_id, **options))
    equal((run.status, run.last_error), ("completed", None))
    return run, await newest(sdk, thread.id)


async def newest(sdk: Sdk, thread_id: str) -> Any:
    return (await now(sdk.client.beta.threads.messages.list(thread_id))).data[0]


async def streamed(sdk: Sdk, words: str, **options: Any) -> tuple[Any, Any]:
    """What a listener heard of a run on a new thread whose user says this, and the run as it is stored."""
    assistant = await now(sdk.client.beta.assistants.create(model="gpt-4o"))
    thread = await now(sdk.client.beta.threads.create(messages=[{"role": "user", "content": words}]))
    runs = sdk.client.beta.threads.runs
    listener = sdk.listener()
    manager = runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=listener, **options)
    async with opened(manager) as stream:
        await now(stream.until_done())
    (run,) = (await now(runs.list(thread.id))).data
    return listener, run


async def asked_weather(sdk: Sdk, words: str, **options: Any) -> Any:
    """A run that waits for get_weather's outputs."""
    assistant = await now(sdk.client.beta.assistants.create(model="gpt-4o", tools=[WEATHER]))
    thread = await now(sdk.client.beta.threads.create(messages=[{"role": "user", "content": words}]))
    runs = sdk.client.beta.threads.runs
    run = await now(runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, **options))
    equal((run.status, run.last_error), ("requires_action", None))
    return run


def weather_of(run: Any) -> list[dict[str, str]]:
    """The outputs a run asks for."""
    calls = run.required_action.submit_tool_outputs.tool_calls
    return [
        {"tool_call_id": call.id, "output": f"rain in {json.loads(call.function.arguments)['city']}"} for call in calls
    ]


async def works_on_azure(sdk: Sdk, client: Any) -> None:
    """Each family of paths, through this client."""
    file = await now(client.files.create(file=("a.csv", CSV), purpose="assistants"))
    holds(file.id.startswith("assistant-"), file.id)
    content = await now(client.files.content(file.id))
    equal(content.read(), CSV)
    resources = {"tool_resources": {"code_interpreter": {"file_ids": [file.id]}}}
    assistant = await now(client.beta.assistants.create(model="my-deployment", tools=[CODE], extra_body=resources))
    thread = await now(client.beta.threads.create(messages=[{"role": "user", "content": "total"}]))
    run = await now(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    equal(run.status, "completed")
    equal(text_of((await now(client.beta.threads.messages.list(thread.id))).data[0]), "The total is 42.")


class EventHandler(openai.AssistantEventHandler):
    """Prints as the handler of Azure's how-to does, on a screen of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.screen = io.StringIO()

    def on_text_created(self, text: Any) -> None:
        print("\nassistant > ", end="", file=self.screen)

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        print(delta.value, end="", file=self.screen)

    def on_tool_call_created(self, tool_call: Any) -> None:
        print(f"\nassistant > {tool_call.type}\n", file=self.screen)

    def on_tool_call_delta(self, delta: Any, snapshot: Any) -> None:
        if delta.type == "code_interpreter":
            if delta.code_interpreter.input:
                print(delta.code_interpreter.input, end="", file=self.screen)
            if delta.code_interpreter.outputs:
                print("\n\noutput >", file=self.screen)
                for output in delta.code_interpreter.outputs:
                    if output.type == "logs":
                        print(f"\n{output.logs}", file=self.screen)


class AsyncEventHandler(openai.AsyncAssistantEventHandler):
    """The same for the async client."""

    def __init__(self) -> None:
        super().__init__()
        self._printer = EventHandler()
        self.screen = self._printer.screen

    async def on_text_created(self, text: Any) -> None:
        self._printer.on_text_created(text)

    async def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self._printer.on_text_delta(delta, snapshot)

    async def on_tool_call_created(self, tool_call: Any) -> None:
        self._printer.on_tool_call_created(tool_call)

    async def on_tool_call_delta(self, delta: Any, snapshot: Any) -> None:
        self._printer.on_tool_call_delta(delta, snapshot)


if __name__ == "__main__":
    asyncio.run(report(*sys.argv[1:]))
