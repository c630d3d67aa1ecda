"""Behaviour 145: the files the code interpreter takes. What it does is in `tests/engine/test_code_interpreter.py`."""

from __future__ import annotations

from tests.conformance.api import Api
from tests.conformance.behaviours import behaviour
from tests.file_types import samples
from tests.models.upstream import Call, Text

FILES_OF_A_RESOURCE = 20


@behaviour(145, "Files of all 26 supported extensions are accepted, and are there for the code byte for byte")
def test_files_of_every_type_reach_the_code(api: Api) -> None:
    made = list(samples().values())
    assert len(made) == 26
    ids = []
    for sample in made:
        file = api.sdk.files.create(file=(sample.name, sample.content), purpose="assistants")
        assert (file.filename, file.bytes, file.status) == (sample.name, len(sample.content), "processed")
        assert api.sdk.files.content(file.id).read() == sample.content
        ids.append(file.id)
    tools = [{"type": "code_interpreter"}]
    resources = {"code_interpreter": {"file_ids": ids[:FILES_OF_A_RESOURCE]}}
    assistant = api.assistant(tools=tools, tool_resources=resources)
    attachments = [{"file_id": each, "tools": tools} for each in ids[FILES_OF_A_RESOURCE:]]
    thread = api.post("/threads", {"messages": [{"role": "user", "content": "Look.", "attachments": attachments}]})[
        "id"
    ]
    code = "import os\nfor name in sorted(os.listdir('/mnt/data')): print(name, os.path.getsize('/mnt/data/' + name))"
    run = api.run(Call("code_interpreter", {"code": code}), Text("Seen."), assistant=assistant, thread=thread)
    (call,) = api.steps(run)[0].step_details.tool_calls  # type: ignore[union-attr]
    seen = call.code_interpreter.outputs[0].logs  # type: ignore[union-attr]
    assert seen.splitlines() == sorted(f"{sample.name} {len(sample.content)}" for sample in made)
