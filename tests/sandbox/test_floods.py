"""One session takes all it can while others, and the server's API, go on as if it were not there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.upstream import Call, ScriptedUpstream, Text
from tests.sandbox.conftest import SMALL, Box, start
from tests.serving import ServerProcess

FLOODS = {
    "output": "while True: print('x' * 10_000)",
    "processes": """
import os
while True:
    try:
        if os.fork() == 0:
            while True: pass
    except OSError: pass
""",
    "memory of many processes": """
import os, time
for _ in range(20):
    if os.fork() == 0:
        held = bytearray(60 << 20); time.sleep(60)
time.sleep(60)
""",
    "shared memory": """
import mmap
while True:
    try: mmap.mmap(-1, 1 << 20)
    except OSError: pass
""",
    "disk": """
import os
while True:
    try:
        for n in range(10**6):
            with open(f'{n}', 'wb') as file: file.write(bytes(1 << 16))
    except OSError:
        for name in os.listdir(): os.remove(name)
""",
    "sockets": """
import socket
pairs = []
while True:
    try:
        pairs.append(socket.socketpair())
        pairs[-1][0].setblocking(False)
        while True: pairs[-1][0].send(bytes(1 << 16))
    except OSError: pass
""",
    "little that many processes share": """
import mmap, os, time
m = mmap.mmap(-1, 200 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
m.madvise(15)
for at in range(0, len(m), 4096): m[at] = 1
for _ in range(25):
    if os.fork() == 0: time.sleep(60); os._exit(0)
while True: pass
""",
    "files to look through": """
while True:
    for n in range(1900):
        with open(f'/run/session/images/{n}.png', 'wb') as file: file.truncate(1 << 20)
""",
}
SECONDS, LEAST_CELLS = 4.0, 20


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = start(tmp_path_factory.mktemp("data") / "sandbox", SMALL)
    yield box
    box.close()


@pytest.mark.long
@pytest.mark.parametrize("flood", FLOODS)
def test_others_compute_on_while_one_takes_all_it_can(flood: str, own: Box) -> None:
    hostile, other = own.session(), own.session()
    own.cell(other, "total = 0")

    async def side_by_side() -> list[str]:
        begun = asyncio.Event()
        code = f"print('begun', flush=True)\n{FLOODS[flood]}"
        flooding = asyncio.create_task(own.sandbox.execute(hostile, "flood", code, lambda piece: begun.set()))
        await begun.wait()
        answers: list[str] = []
        async with asyncio.timeout(4 * SECONDS):
            end = asyncio.get_running_loop().time() + SECONDS
            while len(answers) < LEAST_CELLS or asyncio.get_running_loop().time() < end:
                result = await own.sandbox.execute(other, f"{flood}-{len(answers)}", "total += 1; total")
                answers.append(result.logs.strip())
        assert not flooding.done() or not (await flooding).ok
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        return answers

    answers = own.run(side_by_side())
    assert answers == [str(number + 1) for number in range(len(answers))]
    own.run(own.sandbox.delete(hostile))
    assert own.cell(own.session(), "6 * 7").logs == "42\n"


@pytest.mark.long
def test_the_api_answers_and_other_threads_run_code_while_one_takes_all_it_can(tmp_path: Path) -> None:
    start(tmp_path / "needed").close()
    with ScriptedUpstream() as upstream:
        env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX_CELL_SECONDS": "8"}
        with ServerProcess(tmp_path / "data", env=env) as server, server.azure(max_retries=0) as api:
            codes = {"hostile": f"import os\nprint('begun')\n{FLOODS['processes']}", "other": "print(6 * 7)"}

            def answer(body: dict[str, list[dict[str, str]]]) -> Call | Text:
                last = body["messages"][-1]
                code = codes.get(str(last["content"]))
                return (
                    Text("Done.")
                    if last["role"] == "tool" or code is None
                    else Call("code_interpreter", {"code": code})
                )

            upstream.answer = answer
            assistant = api.beta.assistants.create(model="gpt-4o", tools=[{"type": "code_interpreter"}]).id

            def ask(who: str) -> str:
                return api.beta.threads.create(messages=[{"role": "user", "content": who}]).id

            hostile = ask("hostile")
            run = api.beta.threads.runs.create(thread_id=hostile, assistant_id=assistant)
            upstream.wait(lambda: len(upstream.requests) == 1)
            for _ in range(5):
                thread = ask("other")
                done = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
                assert done.status == "completed"
                (step,) = [
                    step
                    for step in api.beta.threads.runs.steps.list(done.id, thread_id=thread).data
                    if step.type == "tool_calls"
                ]
                (output,) = step.step_details.tool_calls[0].code_interpreter.outputs  # type: ignore[union-attr]
                assert output.logs.strip() == "42"  # type: ignore[union-attr]
                assert api.beta.assistants.retrieve(assistant).id == assistant
            assert api.beta.threads.runs.retrieve(run.id, thread_id=hostile).status in ("in_progress", "completed")
