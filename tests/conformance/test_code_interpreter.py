"""Behaviours 138-145: the code interpreter. More of it is in `tests/engine/test_code_interpreter.py`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.api import Api
from tests.conformance.behaviours import behaviour
from tests.conformance.conftest import Servers
from tests.conformance.wire import Wire
from tests.file_types import samples
from tests.models.upstream import Call, ScriptedUpstream, Text
from tests.sandbox.conftest import Gate, wait_until
from tests.serving import ServerProcess

CODE: dict[str, Any] = {"type": "code_interpreter"}
PNG = b"\x89PNG\r\n\x1a\n"
FILES_OF_A_RESOURCE = 20


def code(text: str) -> Call:
    return Call("code_interpreter", {"code": text})


def cells(api: Api, run: Any) -> list[Any]:
    """The calls of a run's steps: input and outputs."""
    steps = [step.step_details for step in api.steps(run) if step.type == "tool_calls"]
    return [call.code_interpreter for details in steps for call in details.tool_calls]  # type: ignore[union-attr]


def logs(api: Api, text: str, *, thread: str, assistant: str) -> str:
    """What code prints in that thread's session."""
    (cell,) = cells(api, api.run(code(text), Text("Done."), thread=thread, assistant=assistant))
    return "".join(each.logs for each in cell.outputs if each.type == "logs")


def upload(api: Api, name: str, content: bytes) -> str:
    return api.sdk.files.create(file=(name, content), purpose="assistants").id


@behaviour(138, "Simple maths: the step has the code and its output, the message completes")
def test_simple_maths(api: Api) -> None:
    thread = api.thread("What is 6 times 7?")
    run = api.run(code("6 * 7"), Text("It is 42."), thread=thread, assistant=api.assistant(tools=[CODE]))
    assert run.status == "completed"
    (cell,) = cells(api, run)
    assert (cell.input, [each.logs for each in cell.outputs]) == ("6 * 7", ["42\n"])
    assert [step.status for step in api.steps(run)] == ["completed", "completed"]
    assert api.texts(thread)[-1] == ("assistant", "It is 42.")
    assert api.asked()[-1]["messages"][-1]["content"] == "42"


@behaviour(139, "A figure becomes an image of the step and of the message, and a file to download")
def test_a_figure_is_an_image(api: Api) -> None:
    thread = api.thread("Draw.")
    draw = "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()"
    run = api.run(code(draw), Text("See the plot."), thread=thread, assistant=api.assistant(tools=[CODE]))
    (cell,) = cells(api, run)
    (output,) = [each for each in cell.outputs if each.type == "image"]
    image, text = api.messages(thread)[-1].content
    assert (image.type, text.type) == ("image_file", "text")
    assert image.image_file.file_id == output.image.file_id  # type: ignore[union-attr]
    file = api.sdk.files.retrieve(output.image.file_id)
    assert file.purpose == "assistants_output"
    assert file.id.startswith("assistant-" if api.is_azure else "file-")
    content = api.sdk.files.content(file.id).read()
    assert content.startswith(PNG)
    assert len(content) == file.bytes


@behaviour(140, "A written file becomes a link with a file_path annotation, and a file to download")
def test_a_written_file_is_linked(api: Api) -> None:
    thread = api.thread("Write.")
    write = "open('/mnt/data/표 x.csv', 'w').write('a,b')"
    said = "😀 Here: [table](sandbox:/mnt/data/표 x.csv)."
    api.run(code(write), Text(said), thread=thread, assistant=api.assistant(tools=[CODE]))
    message = api.messages(thread)[-1]
    (part,) = message.content
    assert part.type == "text"
    (annotation,) = part.text.annotations
    assert annotation.type == "file_path"
    assert annotation.text == "sandbox:/mnt/data/표 x.csv"
    assert part.text.value[annotation.start_index : annotation.end_index] == annotation.text
    file = api.sdk.files.retrieve(annotation.file_path.file_id)
    assert (file.filename, file.purpose, file.bytes) == ("표 x.csv", "assistants_output", 3)
    assert api.sdk.files.content(file.id).read() == b"a,b"


@behaviour(141, "A file of assistant, thread or message is at /mnt/data under its name")
def test_attached_files_are_there(api: Api) -> None:
    a, t, m = (upload(api, f"{name} file.txt", name.encode()) for name in ("a", "t", "m"))
    assistant = api.assistant(tools=[CODE], tool_resources={"code_interpreter": {"file_ids": [a]}})
    attached = {"role": "user", "content": "Look.", "attachments": [{"file_id": m, "tools": [CODE]}]}
    thread = api.sdk.beta.threads.create(tool_resources={"code_interpreter": {"file_ids": [t]}}).id
    api.post(f"/threads/{thread}/messages", attached)
    show = "import os\nfor name in sorted(os.listdir('/mnt/data')): print(name, open('/mnt/data/' + name).read())"
    assert logs(api, show, thread=thread, assistant=assistant) == "a file.txt a\nm file.txt m\nt file.txt t\n"


@behaviour(142, "An exception is in the logs, the step completes, and the model may try again")
def test_an_exception_is_a_result(api: Api) -> None:
    run = api.run(code("{}['x']"), code("'fixed'"), Text("Fixed."), assistant=api.assistant(tools=[CODE]))
    assert run.status == "completed"
    failed, fixed = cells(api, run)
    assert "Traceback" in failed.outputs[0].logs
    assert "KeyError: 'x'" in failed.outputs[0].logs
    assert fixed.outputs[0].logs == "'fixed'\n"
    assert {step.status for step in api.steps(run)} == {"completed"}
    assert "KeyError: 'x'" in api.asked()[-2]["messages"][-1]["content"]


@behaviour(143, "Variables and files last through the runs of a thread, and are no other thread's; idle sessions end")
@pytest.mark.parametrize("idle", [False, pytest.param(True, marks=pytest.mark.long)], ids=["used", "idle"])
def test_state_lasts_from_run_to_run(
    idle: bool, servers: Servers, main_server: ServerProcess, wire: Wire, upstream: ScriptedUpstream
) -> None:
    server = servers.start(LOCUM_SANDBOX_SESSION_SECONDS="1") if idle else main_server
    api = Api(servers.endpoint(server), wire, upstream)
    assistant, thread = api.assistant(tools=[CODE]), api.thread()
    gate = Gate()  # its file tells whether the session is there
    keep = (
        "x = 41\nimport os\nos.makedirs('sub')\nopen('sub/kept', 'w').write('kept')\n"
        f"open({gate.name!r}, 'w').write('gate')"
    )
    logs(api, keep, thread=thread, assistant=assistant)
    look = "print(globals().get('x'), open('/mnt/data/sub/kept').read())"
    if idle:
        wait_until(lambda: gate.folder is None)
        said = logs(api, look, thread=thread, assistant=assistant)
        assert said.splitlines() == [
            "Note: the files of earlier calls are in /mnt/data again.",
            "[This session is new: the variables of earlier calls are gone.]",
            "None kept",
        ]
    else:
        assert logs(api, look, thread=thread, assistant=assistant) == "41 kept\n"
        other = "import os\nprint('x' in globals(), os.listdir('/mnt/data'))"
        assert logs(api, other, thread=api.thread(), assistant=assistant) == "False []\n"
    api.close()


@behaviour(144, "Two threads have two sessions, which see nothing of each other, the server or the network")
def test_two_threads_at_once_have_two_sessions(
    api: Api, main_server: ServerProcess, upstream: ScriptedUpstream
) -> None:
    assistant = api.assistant(tools=[CODE])
    gates = [Gate(), Gate()]
    threads = [api.thread(), api.thread()]
    runs = []
    for gate, thread in zip(gates, threads, strict=True):
        asked = len(upstream.requests)
        runs.append(api.start(code(f"x = {thread!r}\n{gate.code}"), assistant=assistant, thread=thread))
        upstream.wait(lambda asked=asked: len(upstream.requests) > asked)  # type: ignore[misc]
        wait_until(lambda gate=gate: gate.folder)  # type: ignore[misc]
    assert len({gate.folder for gate in gates}) == 2  # both run
    upstream.script([Text("Done."), Text("Done.")])
    for gate, run in zip(gates, runs, strict=True):
        gate.open()
        assert api.stopped(run).status == "completed"
    attempts = f"""
import os, urllib.request
print(x, sorted(os.listdir('/mnt/data')))
print(os.path.exists({str(main_server.data_dir)!r}), os.path.exists('/etc/shadow'))
print([name for name in os.environ if 'LOCUM' in name or 'KEY' in name])
try:
    print(urllib.request.urlopen({f"{main_server.azure_endpoint}/healthz"!r}).read())
except OSError as refused:
    print('refused')
"""
    for gate, thread in zip(gates, threads, strict=True):
        said = logs(api, attempts, thread=thread, assistant=assistant)
        assert said.splitlines()[:3] == [f"{thread} {[gate.name]}", "False False", "[]"]
        assert "refused" in said


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
