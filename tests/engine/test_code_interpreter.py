"""The code interpreter through the unmodified SDK: a scripted model writes the code, the real sandbox runs it."""

from __future__ import annotations

import io
import os
import signal
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.beta.threads import Message, Run
from openai.types.beta.threads.runs import CodeInterpreterToolCall

from tests.engine.test_runs import wait_for
from tests.models.upstream import Call, Calls, ScriptedUpstream, Text
from tests.serving import ServerProcess

PNG = b"\x89PNG\r\n\x1a\n"


class Conversation:
    """One thread whose runs execute the code they are given."""

    def __init__(self, api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str, **thread: Any) -> None:
        self.api = api
        self.upstream = upstream
        self.assistant = assistant
        self.thread = api.beta.threads.create(messages=[{"role": "user", "content": "go"}], **thread).id

    def run(self, code: str, answer: str = "Done.") -> Run:
        self.upstream.script([Call("code_interpreter", {"code": code}), Text(answer)])
        return self.api.beta.threads.runs.create_and_poll(thread_id=self.thread, assistant_id=self.assistant)

    def calls(self, run: Run) -> list[CodeInterpreterToolCall]:
        steps = self.api.beta.threads.runs.steps.list(run.id, thread_id=self.thread, order="asc").data
        return [call for step in steps if step.type == "tool_calls" for call in step.step_details.tool_calls]  # type: ignore[union-attr, misc]

    def logs(self, code: str) -> str:
        (call,) = self.calls(self.run(code))
        return "".join(each.logs for each in call.code_interpreter.outputs if each.type == "logs")

    def answer(self) -> Message:
        return self.api.beta.threads.messages.list(self.thread).data[0]


@pytest.fixture
def conversation(api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str) -> Conversation:
    return Conversation(api, upstream, assistant)


def upload(api: openai.AzureOpenAI, name: str, content: bytes) -> str:
    return api.files.create(file=(name, io.BytesIO(content)), purpose="assistants").id


def test_what_code_prints_and_its_last_value_are_the_steps_logs(conversation: Conversation) -> None:
    run = conversation.run("print('한국어')\n6 * 7")
    assert run.status == "completed"
    (call,) = conversation.calls(run)
    assert call.code_interpreter.input == "print('한국어')\n6 * 7"
    (output,) = call.code_interpreter.outputs
    assert output.type == "logs"
    assert output.logs.split() == ["한국어", "42"]


def test_usage_is_the_sum_over_the_steps(conversation: Conversation) -> None:
    run = conversation.run("1")
    steps = conversation.api.beta.threads.runs.steps.list(run.id, thread_id=conversation.thread).data
    assert run.usage is not None
    assert len(steps) == 2
    assert run.usage.total_tokens == sum(step.usage.total_tokens for step in steps if step.usage) == 30


def test_a_failing_cell_is_a_completed_step_with_its_traceback_and_the_model_tries_again(
    conversation: Conversation,
) -> None:
    conversation.upstream.script(
        [Call("code_interpreter", {"code": "{}['x']"}), Call("code_interpreter", {"code": "'ok'"}), Text("Fixed.")]
    )
    asked = len(conversation.upstream.requests)
    run = conversation.api.beta.threads.runs.create_and_poll(
        thread_id=conversation.thread, assistant_id=conversation.assistant
    )
    assert run.status == "completed"
    first, second = conversation.calls(run)
    assert "KeyError" in first.code_interpreter.outputs[0].logs  # type: ignore[union-attr]
    assert "ok" in second.code_interpreter.outputs[0].logs  # type: ignore[union-attr]
    told = conversation.upstream.requests[asked + 1]["messages"][-1]
    assert told["role"] == "tool"
    assert "KeyError" in told["content"]


def test_several_calls_of_one_answer_are_made_in_order_in_one_step(conversation: Conversation) -> None:
    calls = [
        Call("code_interpreter", {"code": "x = 1"}, id="same"),
        Call("code_interpreter", {"code": "x + 1"}, id="same"),
    ]
    conversation.upstream.script([Calls(calls), Text("Done.")])
    run = conversation.api.beta.threads.runs.create_and_poll(
        thread_id=conversation.thread, assistant_id=conversation.assistant
    )
    first, second = conversation.calls(run)
    assert first.id != second.id
    assert first.code_interpreter.outputs == []
    assert second.code_interpreter.outputs[0].logs.strip() == "2"  # type: ignore[union-attr]


def test_variables_and_files_survive_from_run_to_run_of_a_thread(conversation: Conversation) -> None:
    conversation.run("x = 41\nopen('note.txt', 'w').write('kept')")
    assert "42 kept" in conversation.logs("print(x + 1, open('/mnt/data/note.txt').read())")


def test_two_threads_have_two_sessions_and_see_nothing_of_each_other(
    conversation: Conversation, api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str
) -> None:
    conversation.run("secret = 'thread one'\nopen('/mnt/data/secret.txt', 'w').write(secret)")
    other = Conversation(api, upstream, assistant)
    said = other.logs("import os\nprint('secret' in globals(), os.listdir('/mnt/data'))")
    assert "False []" in said


@pytest.mark.parametrize(
    ("attempt", "seen"),
    [
        ("print(open('/etc/shadow').read())", "root:"),
        ("import os\nprint(os.listdir({data_dir!r}))", "locum.db"),
        ("print(open('/proc/1/environ').read())", "LOCUM_"),
        ("import os\nprint([p for p in os.listdir('/proc') if p.isdigit()])", "'{pid}'"),
        ("import urllib.request\nprint(urllib.request.urlopen({url!r}).read())", "status"),
        ("import os\nos.kill({pid}, 0)\nprint('signalled')", "\nsignalled"),
        (
            "import subprocess\nprint(subprocess.run('cat {data_dir}/locum.db', shell=True, capture_output=True))",
            "SQLite",
        ),
    ],
)
def test_nothing_of_the_host_is_seen_from_inside(
    conversation: Conversation, scripted_server: ServerProcess, attempt: str, seen: str
) -> None:
    facts = {
        "data_dir": str(scripted_server.data_dir),
        "pid": scripted_server.pid,
        "url": scripted_server.azure_endpoint + "/healthz",
    }
    assert seen.format(**facts) not in "\n" + conversation.logs(attempt.format(**facts))


def test_a_figure_is_an_image_output_and_stands_before_the_text(conversation: Conversation) -> None:
    run = conversation.run("import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()", "See the plot.")
    (call,) = conversation.calls(run)
    (output,) = [each for each in call.code_interpreter.outputs if each.type == "image"]
    image, text = conversation.answer().content
    assert image.type == "image_file"
    assert text.type == "text"
    assert image.image_file.file_id == output.image.file_id
    assert conversation.api.files.content(output.image.file_id).read().startswith(PNG)
    stored = conversation.api.files.retrieve(output.image.file_id)
    assert stored.purpose == "assistants_output"
    assert stored.id.startswith("assistant-")


def test_a_written_file_is_annotated_attached_and_downloadable(conversation: Conversation) -> None:
    conversation.run("open('/mnt/data/표 1.csv', 'w').write('a,b')", "여기: [표](sandbox:/mnt/data/표 1.csv) 😀")
    message = conversation.answer()
    (part,) = message.content
    assert part.type == "text"
    (annotation,) = part.text.annotations
    assert annotation.type == "file_path"
    assert part.text.value[annotation.start_index : annotation.end_index] == annotation.text
    file_id = annotation.file_path.file_id
    assert conversation.api.files.content(file_id).read() == b"a,b"
    assert conversation.api.files.retrieve(file_id).filename == "표 1.csv"
    assert [attachment.file_id for attachment in message.attachments or []] == [file_id]


def test_a_link_to_a_file_of_an_earlier_run_is_annotated_with_its_newest_content(conversation: Conversation) -> None:
    conversation.run("open('out.txt', 'w').write('old')")
    conversation.run("open('out.txt', 'w').write('new!')")
    conversation.upstream.script([Text("[out](sandbox:/mnt/data/out.txt)")])
    conversation.api.beta.threads.runs.create_and_poll(
        thread_id=conversation.thread, assistant_id=conversation.assistant
    )
    (annotation,) = conversation.answer().content[0].text.annotations  # type: ignore[union-attr]
    assert conversation.api.files.content(annotation.file_path.file_id).read() == b"new!"  # type: ignore[union-attr]


def test_files_of_assistant_thread_and_message_stand_in_mnt_data(
    api: openai.AzureOpenAI, upstream: ScriptedUpstream
) -> None:
    of_assistant, of_thread, of_message = (upload(api, f"{name}.txt", name.encode()) for name in ("a", "t", "m"))
    assistant = api.beta.assistants.create(
        model="m",
        tools=[{"type": "code_interpreter"}],
        tool_resources={"code_interpreter": {"file_ids": [of_assistant]}},
    ).id
    conversation = Conversation(
        api, upstream, assistant, tool_resources={"code_interpreter": {"file_ids": [of_thread]}}
    )
    api.beta.threads.messages.create(
        conversation.thread,
        role="user",
        content="more",
        attachments=[{"file_id": of_message, "tools": [{"type": "code_interpreter"}]}],
    )
    resources = api.beta.threads.retrieve(conversation.thread).tool_resources
    assert resources is not None
    assert resources.code_interpreter is not None
    assert resources.code_interpreter.file_ids == [of_thread, of_message]
    said = conversation.logs("import os\nfor n in sorted(os.listdir('.')): print(n, open(n).read())")
    assert said.split() == ["a.txt", "a", "m.txt", "m", "t.txt", "t"]
    system = upstream.requests[-1]["messages"][0]["content"]
    assert all(f"- /mnt/data/{name}.txt" in system for name in "atm")


def test_two_files_of_one_name_are_both_there(api: openai.AzureOpenAI, upstream: ScriptedUpstream) -> None:
    first, second = upload(api, "data.csv", b"first"), upload(api, "data.csv", b"second")
    assistant = api.beta.assistants.create(model="m", tools=[{"type": "code_interpreter"}]).id
    resources = {"code_interpreter": {"file_ids": [first, second]}}
    conversation = Conversation(api, upstream, assistant, tool_resources=resources)
    said = conversation.logs("import os\nprint(sorted(open(n).read() for n in os.listdir('.')), len(os.listdir('.')))")
    assert "['first', 'second'] 2" in said


def test_files_that_do_not_fit_are_said_and_the_code_runs_without_them(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX_DISK_BYTES": str(4 * 1024 * 1024)}
        with ServerProcess(tmp_path / "data", env=env) as server, server.azure() as api:
            assistant = api.beta.assistants.create(model="m", tools=[{"type": "code_interpreter"}]).id
            big, small = upload(api, "big.bin", bytes(8 * 1024 * 1024)), upload(api, "small.txt", b"here")
            resources = {"code_interpreter": {"file_ids": [big, small]}}
            conversation = Conversation(api, upstream, assistant, tool_resources=resources)
            said = conversation.logs("import os\nprint(os.listdir('.'))")
            assert "big.bin is not in /mnt/data" in said
            assert "['small.txt']" in said


def test_long_output_is_cut_in_the_middle(conversation: Conversation) -> None:
    said = conversation.logs("print('start'); print('x' * 1_000_000); print('end')")
    assert len(said) < 64 * 1024
    assert said.startswith("start")
    assert said.rstrip().endswith("end")


def test_a_cell_that_takes_too_long_is_stopped_and_its_session_goes_on(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX_CELL_SECONDS": "1"}
        with ServerProcess(tmp_path / "data", env=env) as server, server.azure() as api:
            assistant = api.beta.assistants.create(model="m", tools=[{"type": "code_interpreter"}]).id
            conversation = Conversation(api, upstream, assistant)
            assert "KeyboardInterrupt" in conversation.logs("x = 5\nwhile True: pass")
            assert conversation.logs("x").strip() == "5"


def test_pip_explains_itself(conversation: Conversation) -> None:
    said = conversation.logs("!pip install requests")
    assert "no internet" in said.lower() or "no network" in said.lower()
    assert "pandas" in said


def test_cancelling_stops_the_code_and_keeps_the_variables(conversation: Conversation) -> None:
    conversation.run("x = 5")
    conversation.upstream.script([Call("code_interpreter", {"code": "import time\ntime.sleep(60)"})])
    run = conversation.api.beta.threads.runs.create(conversation.thread, assistant_id=conversation.assistant)
    deadline = time.monotonic() + 20
    while not conversation.calls(run):
        assert time.monotonic() < deadline
    began = time.monotonic()
    conversation.api.beta.threads.runs.cancel(run.id, thread_id=conversation.thread)
    wait_for(conversation.api, run, "cancelled")
    assert time.monotonic() - began < 10
    assert conversation.logs("x").strip() == "5"


def test_a_sandboxd_that_is_killed_in_mid_cell_costs_the_variables_not_the_run(
    conversation: Conversation, scripted_server: ServerProcess
) -> None:
    conversation.run("x = 5")
    conversation.upstream.script(
        [
            Call("code_interpreter", {"code": "import time\ntime.sleep(60)"}),
            Call("code_interpreter", {"code": "print('x' in globals())"}),
            Text("Done."),
        ]
    )
    asked = len(conversation.upstream.requests)
    run = conversation.api.beta.threads.runs.create(conversation.thread, assistant_id=conversation.assistant)
    deadline = time.monotonic() + 20
    while not conversation.calls(run):
        assert time.monotonic() < deadline
    os.kill(sandboxd_of(scripted_server), signal.SIGKILL)
    run = wait_for(conversation.api, run, "completed", "failed")
    assert run.status == "completed", run.last_error
    told = conversation.upstream.requests[asked + 1]["messages"][-1]["content"]
    assert "variables were reset" in told
    _, second = conversation.calls(run)
    assert "False" in second.code_interpreter.outputs[0].logs  # type: ignore[union-attr]


def sandboxd_of(server: ServerProcess) -> int:
    """The process id of this server's sandboxd."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(b"sandboxd" in word for word in words) and str(server.data_dir / "sandbox").encode() in words:
            return int(path.parent.name)
    raise AssertionError("no sandboxd is running")


def test_without_a_sandbox_the_tool_says_why_and_everything_else_works(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
        with ServerProcess(tmp_path / "data", env=env) as server, server.azure() as api:
            assistant = api.beta.assistants.create(model="m", tools=[{"type": "code_interpreter"}]).id
            conversation = Conversation(api, upstream, assistant)
            said = conversation.logs("1 + 1")
            assert said.startswith("The code interpreter is not available on this server.")
            assert "LOCUM_SANDBOX" in said
            assert "2" not in said.split()
            assert conversation.answer().content[0].text.value == "Done."  # type: ignore[union-attr]


def test_a_streamed_code_run_shows_code_then_outputs_then_words(conversation: Conversation) -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nprint('drawn')"
    conversation.upstream.script([Call("code_interpreter", {"code": code}, fragments=5), Text("There you are.")])
    with conversation.api.beta.threads.runs.stream(
        thread_id=conversation.thread, assistant_id=conversation.assistant
    ) as stream:
        events = list(stream)
        steps, messages = stream.get_final_run_steps(), stream.get_final_messages()
    names = [event.event for event in events]
    deltas = [event for event in events if event.event == "thread.run.step.delta"]
    assert names[:5] == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
    ]
    assert events[3].data.step_details.tool_calls == []
    opening = deltas[0].data.delta.step_details.tool_calls[0]
    assert (opening.index, opening.code_interpreter.input, opening.code_interpreter.outputs) == (0, "", [])
    assert opening.id.startswith("call_")
    pieces = [d.data.delta.step_details.tool_calls[0].code_interpreter for d in deltas[1:]]
    assert "".join(piece.input or "" for piece in pieces) == code
    assert len([piece for piece in pieces if piece.input]) > 1
    assert [(o.index, o.type) for piece in pieces for o in piece.outputs or []] == [(0, "logs"), (1, "image")]
    rest = names[5 + len(deltas) :]
    assert rest[:5] == [
        "thread.run.step.completed",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
    ]
    assert rest[-3:] == ["thread.message.completed", "thread.run.step.completed", "thread.run.completed"]
    stored = conversation.api.beta.threads.runs.steps.list(
        events[0].data.id, thread_id=conversation.thread, order="asc"
    )
    # The SDK gathers a step's details from deltas; they must come out as what is stored.
    assert [step.id for step in steps] == [step.id for step in stored.data]
    details = ("step_details", "tool_calls", 0, "code_interpreter")
    assert without_indices(dig(steps[0].model_dump(), *details)) == dig(stored.data[0].model_dump(), *details)
    assert [part.type for part in messages[0].content] == ["image_file", "text"]
    assert messages[0].content[1].text.value == conversation.answer().content[1].text.value  # type: ignore[union-attr]


def dig(value: Any, *path: str | int) -> Any:
    for key in path:
        value = value[key]
    return value


def without_indices(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_indices(each) for key, each in value.items() if key != "index"}
    return [without_indices(each) for each in value] if isinstance(value, list) else value
