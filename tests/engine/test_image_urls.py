"""Addresses of images: refused where they come in, and withheld from the model where they came before the rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from tests.models.upstream import ScriptedUpstream, Text
from tests.serving import serving

METADATA = "http://169.254.169.254/latest/meta-data/"


def _message(url: str) -> Any:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


def test_every_way_in_refuses_a_private_address(api: openai.AzureOpenAI) -> None:
    assistant = api.beta.assistants.create(model="gpt-4o").id
    thread = api.beta.threads.create().id
    runs, bad = api.beta.threads.runs, _message(METADATA)
    ways = {
        "content[0]": lambda: api.beta.threads.messages.create(thread, **bad),
        "messages[1].content[0]": lambda: api.beta.threads.create(
            messages=[_message("https://example.com/a.png"), bad]
        ),
        "additional_messages[0].content[0]": lambda: runs.create(
            thread, assistant_id=assistant, additional_messages=[bad]
        ),
        "thread.messages[0].content[0]": lambda: api.beta.threads.create_and_run(
            assistant_id=assistant, thread={"messages": [bad]}
        ),
    }
    for path, way in ways.items():
        with pytest.raises(openai.BadRequestError) as refused:
            way()
        assert refused.value.body == {
            "message": f"Invalid '{path}.image_url.url': Images from the host '169.254.169.254' are not allowed. "
            "Expected a base64-encoded data URL with an image MIME type, or a URL of a public host.",
            "type": "invalid_request_error",
            "param": f"{path}.image_url.url",
            "code": "invalid_value",
        }
    assert api.beta.threads.messages.list(thread).data == []


def test_a_stored_address_that_the_rule_refuses_never_reaches_the_model(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
    kept = "https://example.com/cat.png"
    with serving(tmp_path / "data", **env, LOCUM_IMAGE_URLS="public,169.254.169.254") as server:
        client = server.openai()
        assistant = client.beta.assistants.create(model="gpt-4o").id
        thread = client.beta.threads.create(messages=[_message(METADATA), _message(kept)]).id
    upstream.script([Text("A cat."), Text("Nothing.")])
    for rule, shown in ("public", [_image(kept)]), ("off", [_NOT_SHOWN]):
        with serving(tmp_path / "data", **env, LOCUM_IMAGE_URLS=rule) as server:
            run = server.openai().beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
            assert run.status == "completed", run.last_error
        users = [message["content"] for message in upstream.requests[-1]["messages"] if message["role"] == "user"]
        assert users == [_NOT_SHOWN["text"], shown if rule == "public" else _NOT_SHOWN["text"]]


_NOT_SHOWN = {"type": "text", "text": "[An image that cannot be shown.]"}


def _image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}
