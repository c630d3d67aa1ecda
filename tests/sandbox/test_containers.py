"""What becomes of the code interpreter in containers: as Docker makes them, and with the profile in `deploy/`."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from typing import Any

import openai
import pytest
import yaml

from deploy.seccomp import FOR_NAMESPACES, SECCOMP, docker_default, locum_profile
from tests.sandbox.containers import CAPABILITIES, Container, container

pytestmark = pytest.mark.long

PROFILES: dict[str, dict[str, Any]] = {
    "Docker's profile": docker_default(),
    "deploy/seccomp.json": json.loads(SECCOMP.read_text()),
}
TIERS = [
    (0, "Docker's profile", "landlock"),
    (1000, "Docker's profile", "weak"),
    (0, "deploy/seccomp.json", "namespaces"),
    (1000, "deploy/seccomp.json", "namespaces"),
]

_LOOK = """
import asyncio, json, sys
from pathlib import Path
from locum.sandbox.client import Limits, Sandbox

async def main():
    sandbox = Sandbox(Path("/data/sandbox"), accepts_weak=True, limits=Limits(spare_sessions=0))
    status = await sandbox.start()
    seen = {"tier": status.tier, "reason": status.reason, "fix": status.fix}
    if status.tier != "off":
        await sandbox.open("a")
        result = await sandbox.execute("a", "1", sys.argv[1])
        seen |= {"printed": result.logs, "error": result.error, "files": [file.name for file in result.files]}
    await sandbox.close()
    print(json.dumps(seen))

asyncio.run(main())
"""
_CELL = "import os, pandas; pandas.DataFrame({'a': [1]}).to_csv(os.path.join('/mnt', 'data', 'a.csv'))"


def look(run: Container, cell: str = _CELL) -> dict[str, Any]:
    """What the sandbox inside says of itself, and of a cell, if it runs any."""
    done = run(["python", "-c", _LOOK, cell])
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.mark.parametrize(("user", "profile", "tier"), TIERS)
def test_a_container_has_the_tier_of_its_user_and_profile(user: int, profile: str, tier: str) -> None:
    with container(user=user, seccomp=PROFILES[profile]) as run:
        seen = look(run)
    assert seen["tier"] == tier, seen["reason"]
    assert (seen["error"], seen["files"]) == (None, ["a.csv"]), seen
    if tier != "namespaces":
        assert "unshare" in seen["reason"]
        assert "--security-opt seccomp=" in seen["fix"]


def test_the_compose_files_service_has_the_whole_isolation() -> None:
    service = yaml.safe_load((SECCOMP.parent / "compose.yaml").read_text())["services"]["locum"]
    options = dict(option.partition("=")[::2] for option in service["security_opt"])
    with container(
        user=int(service["user"].split(":")[0]),
        seccomp=json.loads((SECCOMP.parent / options["seccomp"]).read_text()),
        masks=options["systempaths"] != "unconfined",
        capabilities=[] if service["cap_drop"] == ["ALL"] else CAPABILITIES,
        no_new_privileges=options["no-new-privileges"] == "true",
        read_only=service["read_only"],
    ) as run:
        assert run(["touch", "/file"]).returncode == 1
        assert run(["touch", "/data/file"]).returncode == 0
        assert (seen := look(run))["tier"] == "namespaces", seen["reason"]


@pytest.mark.parametrize("user", [0, 1000])
def test_a_container_in_a_user_namespace_has_the_same(user: int) -> None:
    """Rootless engines, pods with `hostUsers: false`."""
    with container(user=user, seccomp=locum_profile(), user_namespace=True) as run:
        assert (seen := look(run))["tier"] == "namespaces", seen["reason"]


def test_root_of_a_user_namespace_may_have_every_right_in_it() -> None:
    """LXC, and what is privileged in a rootless engine."""
    rights = [*CAPABILITIES, "CAP_SYS_ADMIN"]
    with container(seccomp=None, capabilities=rights, user_namespace=True) as run:
        assert (seen := look(run))["tier"] == "namespaces", seen["reason"]


@pytest.mark.parametrize("user", [0, 1000])
def test_without_dockers_masks_a_session_sees_its_own_processes_and_no_others(user: int) -> None:
    with container(user=user, seccomp=locum_profile(), masks=False) as run:
        seen = look(run, "import os; print([name for name in os.listdir('/proc') if name.isdigit()])")
    assert seen["printed"] == "['1']\n"


@pytest.mark.parametrize("rule", FOR_NAMESPACES, ids=lambda rule: rule["names"][0])
def test_each_call_that_the_profile_adds_is_needed(rule: dict[str, Any]) -> None:
    profile = locum_profile()
    profile["syscalls"].remove(rule)
    with container(user=1000, seccomp=profile) as run:
        assert look(run)["tier"] != "namespaces"


_CALLS = """
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)

def refused(call, *args):
    return libc.syscall(call, *map(ctypes.c_ulong, args)) == -1 and ctypes.get_errno() in (1, 38)

CLONE, UNSHARE, SETNS, BPF, PERF, KEYCTL, IO_URING, FSOPEN, CLONE3 = 56, 272, 308, 321, 298, 250, 425, 430, 435
for name, outcome in {
    "cgroup namespace": refused(UNSHARE, 0x02000000),
    "clone into a user namespace": refused(CLONE, 0x10000000 | 17, 0, 0, 0, 0),
    "join a network": refused(SETNS, 0, 0x40000000),
    "join anything": refused(SETNS, 0, 0),
    "bpf": refused(BPF, 0, 0, 0),
    "perf": refused(PERF, 0, 0, 0, 0, 0),
    "keys": refused(KEYCTL, 0, 0, 0, 0, 0),
    "io_uring": refused(IO_URING, 1, 0),
    "mounts by descriptor": refused(FSOPEN, 0, 0),
    "clone3": refused(CLONE3, 0, 0),
}.items():
    print(name, outcome)
for family in (socket.AF_VSOCK, socket.AF_ALG):
    try:
        socket.socket(family, socket.SOCK_SEQPACKET if family == socket.AF_ALG else socket.SOCK_STREAM)
        print(family, False)
    except PermissionError:
        print(family, True)
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers above are those of x86_64")
@pytest.mark.parametrize("user", [0, 1000])
def test_the_profile_lets_nothing_else_through(user: int) -> None:
    with container(user=user, seccomp=locum_profile()) as run:
        done = run(["python", "-c", _CALLS])
    assert len(done.stdout.splitlines()) == 12, done.stderr
    assert "False" not in done.stdout, done.stdout


@pytest.mark.parametrize("user", [0, 1000])
def test_a_server_in_a_container_runs_an_assistants_code(user: int) -> None:
    with container(user=user, seccomp=locum_profile()) as run:
        process = run.start(["python", "-m", "locum", "serve", "--port", "0", "--data-dir", "/data/locum"])
        hung = threading.Timer(60, process.kill)
        hung.start()
        with process:
            base_url, said = _wait_until_ready(process)
            assert "Code interpreter  namespaces" in said
            with openai.OpenAI(base_url=base_url, api_key="any") as client:
                assert "x = 1" in _solve(client)
            process.terminate()
            assert process.wait(30) == 0
        hung.cancel()


def _wait_until_ready(process: subprocess.Popen[str]) -> tuple[str, str]:
    assert process.stdout is not None
    said = base_url = ""
    for line in process.stdout:
        said += line
        if "OpenAI base URL" in line:
            base_url = line.split()[-1]
        if "Ready." in line:
            return base_url, said
    raise AssertionError(f"the server did not start:\n{said}")


def _solve(client: openai.OpenAI) -> str:
    assistant = client.beta.assistants.create(model="demo", tools=[{"type": "code_interpreter"}])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Solve the equation 3x + 11 = 14."}])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed", run.last_error
    (step, *_) = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc").data
    assert step.type == "tool_calls"
    (part,) = client.beta.threads.messages.list(thread.id).data[0].content
    assert part.type == "text"
    return part.text.value
