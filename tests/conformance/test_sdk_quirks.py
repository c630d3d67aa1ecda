"""Behaviours 158-160: how the SDKs are used besides plain calls, the hosted samples, and moving from v1 to v2.

157, the SDKs of every generation, is `make sdk-matrix`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.api import Api
from tests.conformance.behaviours import behaviour
from tests.models.upstream import Call, Text


@behaviour(158, "Raw and streaming responses, extra headers, queries and bodies work; an Idempotency-Key makes once")
def test_the_sdks_other_ways_work(api: Api) -> None:
    assistants = api.sdk.beta.assistants
    raw = assistants.with_raw_response.create(model="m", name="raw")
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.status_code == 200
    made = raw.parse()
    assert made.name == "raw"
    with assistants.with_streaming_response.retrieve(made.id) as streaming:
        assert b'"name":"raw"' in streaming.read().replace(b": ", b":")
    seen = assistants.retrieve(made.id, extra_headers={"x-own": "1"}, extra_query={"trace": "1"}, timeout=30)
    assert seen == made
    changed = assistants.update(made.id, extra_body={"name": "other"})
    assert changed.name == "other"
    assert made._request_id is None or made._request_id.startswith("req_")
    key = {"Idempotency-Key": f"key-{made.id}"}
    threads = [api.sdk.beta.threads.create(metadata={"a": "b"}, extra_headers=key) for _ in range(2)]
    assert threads[0] == threads[1]
    file = api.sdk.files.create(file=("a.txt", b"content"), purpose="assistants").id
    with api.sdk.files.with_streaming_response.content(file) as content:
        assert b"".join(content.iter_bytes()) == b"content"
    api.upstream.script([Text("Hi.")])
    run = api.sdk.beta.threads.runs.with_raw_response.create(api.thread(), assistant_id=made.id).parse()
    assert api.stopped(run).status == "completed"


@behaviour(159, 'The hosted sample, with its "code interpreter", runs end to end and its image is a valid PNG')
@pytest.mark.parametrize("api_version", ["2024-05-01-preview"])
def test_the_hosted_sample_runs_to_its_image(on_azure: Api, tmp_path: Path, api_version: str) -> None:
    client = on_azure.sdk
    (tmp_path / "speech.py").write_text("x = [1, 2, 3]\n")
    with (tmp_path / "speech.py").open("rb") as opened:
        file = client.files.create(file=opened, purpose="assistants")
    assistant = client.beta.assistants.create(
        instructions="You are an AI assistant that can write code to help answer math questions",
        model="gpt-4-1106-preview",
        tools=[{"type": "code_interpreter"}],
        tool_resources={"code interpreter": {"file_ids": [file.id]}},  # type: ignore[typeddict-unknown-key]
    )
    thread = client.beta.threads.create(
        messages=[
            {
                "role": "user",
                "content": "I need to solve the equation `3x + 11 = 14`. Can you help me?",
                "file_ids": [file.id],  # type: ignore[typeddict-unknown-key]
            }
        ]
    )
    code = "exec(open('/mnt/data/speech.py').read())\nimport matplotlib.pyplot as plt\nplt.plot(x)\nplt.show()"
    on_azure.upstream.script([Call("code_interpreter", {"code": code}), Text("x = 1")])
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    while run.status not in ["completed", "cancelled", "expired", "failed"]:
        run = client.beta.threads.runs.retrieve(thread_id=thread.id, run_id=run.id)
    assert run.status == "completed"
    answer = client.beta.threads.messages.list(thread_id=thread.id, limit="20").data[0]  # type: ignore[arg-type]
    assert [part.type for part in answer.content] == ["image_file", "text"]
    content = client.files.content(answer.content[0].image_file.file_id)  # type: ignore[union-attr]
    content.write_to_file(tmp_path / "image.png")
    assert (tmp_path / "image.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (tmp_path / "image.png").read_bytes()[-8:-4] == b"IEND"


@behaviour(160, "A thread, assistant or run made in v1 is read in v2, and the other way round")
@pytest.mark.parametrize("surface", ["openai", "azure"])
def test_v1_and_v2_see_the_same_things(on_openai: Api, surface: str) -> None:
    with on_openai.speaking(surface=surface, version=1) as v1, on_openai.speaking(surface=surface) as v2:
        file = v1.sdk.files.create(file=("a.csv", b"a\n1\n"), purpose="assistants").id
        assistant = v1.post("/assistants", {"model": "m", "tools": [{"type": "code_interpreter"}], "file_ids": [file]})
        newer = v2.get(f"/assistants/{assistant['id']}")
        assert newer["tool_resources"] == {"code_interpreter": {"file_ids": [file]}}
        old = v1.post("/threads", {"messages": [{"role": "user", "content": "old", "file_ids": [file]}]})["id"]
        (message,) = v2.get(f"/threads/{old}/messages")["data"]
        assert [each["file_id"] for each in message["attachments"]] == [file]
        assert v2.get(f"/threads/{old}")["tool_resources"]["code_interpreter"]["file_ids"] == [file]
        attached = {"file_id": file, "tools": [{"type": "code_interpreter"}]}
        new = v2.post("/threads", {"messages": [{"role": "user", "content": "new", "attachments": [attached]}]})["id"]
        (message,) = v1.get(f"/threads/{new}/messages")["data"]
        assert (message["file_ids"], message["content"][0]["text"]["value"]) == ([file], "new")
        for thread in (old, new):
            run = v2.run(Text("Hi."), assistant=assistant["id"], thread=thread)
            seen = v1.get(f"/threads/{thread}/runs/{run.id}")
            assert (seen["status"], seen["file_ids"]) == ("completed", [file])
            assert [each["role"] for each in v1.get(f"/threads/{thread}/messages")["data"]] == ["assistant", "user"]
            assert v1.get(f"/threads/{thread}/runs/{run.id}/steps")["data"][0]["type"] == "message_creation"
        v1.upstream.script([Text("Hi.")])
        events = v1.stream(f"/threads/{new}/runs", {"assistant_id": assistant["id"]})
        assert events[0].data["file_ids"] == [file]
        assert events[-1].name == "done"
