"""Budgets, windows and images: what the model is sent, and what becomes of a run that runs short."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.engine.test_functions import CLOCK, outputs
from tests.engine.test_runs import texts
from tests.models.upstream import Call, ScriptedUpstream, Status, Text, Usage
from tests.serving import ServerProcess, serving

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def assistant(api: openai.AzureOpenAI) -> str:
    return api.beta.assistants.create(model="gpt-4o", tools=[CLOCK], temperature=0, top_p=0).id


def test_the_second_call_of_a_run_has_what_the_first_has_left_of_its_budgets(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Call("clock", {}, usage=Usage(200, 300)), Text("Noon.", usage=Usage(250, 10))])
    before = len(upstream.requests)
    run = api.beta.threads.runs.create_and_poll(
        thread_id=thread, assistant_id=assistant, max_prompt_tokens=500, max_completion_tokens=1000
    )
    run = api.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread, tool_outputs=outputs(run, "12")
    )
    assert (run.status, run.max_prompt_tokens, run.max_completion_tokens) == ("completed", 500, 1000)
    first, second = upstream.requests[before:]
    assert (first["max_tokens"], second["max_tokens"]) == (1000, 700)
    assert (first["temperature"], first["top_p"]) == (0, 0)


def test_an_answer_that_uses_up_the_budget_stays_as_far_as_it_came(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Text("Once upon a", usage=Usage(10, 256), finish_reason="length")])
    with api.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant, max_completion_tokens=256) as stream:
        names = [event.event for event in stream]
    assert names[-3:] == ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"]
    message = api.beta.threads.messages.list(thread).data[0]
    assert message.incomplete_details is not None
    assert (message.status, message.incomplete_details.reason) == ("incomplete", "max_tokens")
    assert texts(api, thread)[-1] == ("assistant", "Once upon a")
    run = api.beta.threads.runs.list(thread).data[0]
    assert run.incomplete_details is not None
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert run.completed_at is not None
    assert run.expires_at is None
    api.beta.threads.messages.create(thread, role="user", content="go on")


def test_an_answer_that_ends_at_the_models_own_limit_completes_its_run(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Text("Once upon a", finish_reason="length")])
    assert api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant).status == "completed"


def test_a_prompt_budget_that_is_used_up_by_an_earlier_turn_ends_the_run(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, thread: str
) -> None:
    upstream.script([Call("clock", {}, usage=Usage(256, 5))])
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant, max_prompt_tokens=256)
    run = api.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread, tool_outputs=outputs(run, "12")
    )
    assert run.incomplete_details is not None
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")


def test_a_prompt_that_cannot_be_cut_to_its_budget_is_not_sent(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str
) -> None:
    before = len(upstream.requests)
    thread = api.beta.threads.create(messages=[{"role": "user", "content": "many words " * 300}]).id
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant, max_prompt_tokens=256)
    assert run.incomplete_details is not None
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")
    assert len(upstream.requests) == before


def test_a_long_thread_is_cut_in_its_middle_to_the_budget(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str
) -> None:
    upstream.script([Text("Yes.")])
    before = len(upstream.requests)
    messages: Any = [{"role": "user", "content": f"number {n}: " + "word " * 40} for n in range(30)]
    thread = api.beta.threads.create(messages=messages).id
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant, max_prompt_tokens=500)
    assert run.status == "completed"
    kept = [int(m["content"].split()[1].rstrip(":")) for m in upstream.requests[before]["messages"]]
    assert kept[0] == 0
    assert kept[-1] == 29
    assert kept[1:] == list(range(kept[1], 30))
    assert 7 <= len(kept) <= 11  # 500 tokens, 45 to 50 each


def test_a_prompt_that_is_too_long_for_the_models_server_is_cut_and_sent_again(tmp_path: Path) -> None:
    with (
        ScriptedUpstream() as upstream,
        serving(tmp_path / "data", LOCUM_MODEL_BASE_URL=upstream.base_url, LOCUM_SANDBOX="off") as server,
        server.azure(max_retries=0) as api,
    ):
        _cut_and_sent_again(api, upstream)


def _cut_and_sent_again(api: openai.AzureOpenAI, upstream: ScriptedUpstream) -> None:
    assistant = api.beta.assistants.create(model="gpt-4o", tools=[CLOCK]).id
    said = {
        "error": {"message": "This model's maximum context length is 1000 tokens.", "code": "context_length_exceeded"}
    }
    upstream.script([Status(400, body=said), Text("Yes.")])
    before = len(upstream.requests)
    messages: Any = [{"role": "user", "content": f"{n}: " + "word " * 40} for n in range(60)]
    thread = api.beta.threads.create(messages=messages).id
    run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant, model="small")
    assert run.status == "completed"
    first, second = upstream.requests[before:]
    assert len(first["messages"]) == 60
    assert 5 < len(second["messages"]) < 22
    assert second["messages"][-1]["content"].startswith("59:")

    upstream.script([Text("Yes.")])
    api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant, model="small")
    assert len(upstream.requests[-1]["messages"]) < 22  # it has been learned


def vllm(window: int) -> Any:
    """A server that refuses a limit for which it has no room beside the prompt. A word is a token there."""

    def answer(body: dict[str, Any]) -> Any:
        prompt = sum(len(str(message["content"]).split()) for message in body["messages"])
        limit = body.get("max_tokens", 0)
        if prompt + limit > window:
            words = f"This model's maximum context length is {window} tokens. You requested {prompt + limit} tokens."
            return Status(400, body={"object": "error", "message": words, "type": "BadRequestError", "code": 400})
        return Text("Yes.", usage=Usage(prompt, 1))

    return answer


def test_an_answer_may_be_limited_beyond_what_the_model_has_room_for(tmp_path: Path) -> None:
    with (
        ScriptedUpstream() as upstream,
        serving(tmp_path / "data", LOCUM_MODEL_BASE_URL=upstream.base_url, LOCUM_SANDBOX="off") as server,
        server.azure(max_retries=0) as api,
    ):
        upstream.answer = vllm(4096)
        assistant = api.beta.assistants.create(model="small").id
        for limit in (8192, 100_000):
            thread = api.beta.threads.create(messages=[{"role": "user", "content": "word " * 500}]).id
            run = api.beta.threads.runs.create_and_poll(
                thread_id=thread, assistant_id=assistant, max_completion_tokens=limit
            )
            assert run.status == "completed", run.last_error
        limits = [body["max_tokens"] for body in upstream.requests]
        assert limits[0] == 8192
        assert all(3000 < limit < 3600 for limit in limits[1:])  # the window is known after the first
        assert len(limits) == 3


def test_a_model_that_counts_twice_as_many_tokens_is_met_and_remembered(tmp_path: Path) -> None:
    with (
        ScriptedUpstream() as upstream,
        serving(tmp_path / "data", LOCUM_MODEL_BASE_URL=upstream.base_url, LOCUM_SANDBOX="off") as server,
        server.azure(max_retries=0) as api,
    ):

        def answer(body: dict[str, Any]) -> Any:
            prompt = 3 * sum(len(str(message["content"]).split()) for message in body["messages"])
            words = {"error": {"message": "This model's maximum context length is 4096 tokens.", "code": None}}
            return Status(400, body=words) if prompt > 4096 else Text("Yes.", usage=Usage(prompt, 1))

        upstream.answer = answer
        assistant = api.beta.assistants.create(model="small").id
        messages: Any = [{"role": "user", "content": f"{n}: " + "word " * 99} for n in range(90)]
        thread = api.beta.threads.create(messages=messages).id
        for _ in range(2):
            run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
            assert run.status == "completed", run.last_error
        assert 3 <= len(upstream.requests) <= 6
        assert len(upstream.requests[-1]["messages"]) <= len(upstream.requests[-2]["messages"]) + 3


def test_images_reach_the_model_as_it_expects_them(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str
) -> None:
    upstream.script([Text("A dot.")])
    image = api.files.create(file=("dot.png", PNG), purpose="vision")
    content: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_file", "image_file": {"file_id": image.id, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
    ]
    thread = api.beta.threads.create(messages=[{"role": "user", "content": content}])
    message = api.beta.threads.messages.list(thread.id).data[0]
    assert [part.to_dict() for part in message.content] == [
        {"type": "text", "text": {"value": "What is this?", "annotations": []}},
        *content[1:],
    ]
    run = api.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant)
    assert run.status == "completed"
    assert upstream.requests[-1]["messages"][-1]["content"] == [
        {"type": "text", "text": "What is this?"},
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64," + base64.b64encode(PNG).decode(), "detail": "low"},
        },
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
    ]


def test_a_file_that_is_no_image_or_is_gone_is_named_and_not_shown(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str
) -> None:
    upstream.script([Text("Nothing.")])
    text = api.files.create(file=("dot.png", b"not a picture"), purpose="vision")
    gone = api.files.create(file=("dot.png", PNG), purpose="vision")
    content: Any = [{"type": "image_file", "image_file": {"file_id": each.id}} for each in (text, gone)]
    thread = api.beta.threads.create(messages=[{"role": "user", "content": content}])
    api.files.delete(gone.id)
    assert api.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant).status == "completed"
    assert [part["type"] for part in upstream.requests[-1]["messages"][-1]["content"]] == ["text", "text"]


def test_an_image_that_does_not_exist_is_refused(api: openai.AzureOpenAI) -> None:
    content: Any = [{"type": "image_file", "image_file": {"file_id": "assistant-missing"}}]
    with pytest.raises(openai.NotFoundError, match=r"Files \[assistant-missing\] were not found"):
        api.beta.threads.create(messages=[{"role": "user", "content": content}])


def test_the_owners_limits_of_a_model_are_kept(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    toml = '[models."small"]\ncontext_window = 1000\nmax_output_tokens = 100\n'
    (tmp_path / "locum.toml").write_text(toml)
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
    upstream.script([Text("Yes.", finish_reason="length"), Text("No.")])
    with ServerProcess(tmp_path / "data", env=env, cwd=tmp_path) as server, server.azure(max_retries=0) as api:
        assistant = api.beta.assistants.create(model="small").id
        messages: Any = [{"role": "user", "content": f"{n}: " + "word " * 40} for n in range(60)]
        thread = api.beta.threads.create(messages=messages).id
        run = api.beta.threads.runs.create_and_poll(
            thread_id=thread, assistant_id=assistant, max_completion_tokens=5000
        )
        assert run.status == "completed"  # not the run's own budget ended the answer
        assert upstream.requests[-1]["max_tokens"] == 100
        assert 10 < len(upstream.requests[-1]["messages"]) < 21
        huge = api.beta.threads.create(messages=[{"role": "user", "content": "word " * 2000}]).id
        run = api.beta.threads.runs.create_and_poll(thread_id=huge, assistant_id=assistant)
        assert run.status == "failed"
        assert run.last_error is not None
        assert "context window of 1000 tokens" in run.last_error.message
