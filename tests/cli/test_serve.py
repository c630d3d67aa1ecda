"""`locum serve` as its owner meets it: what it prints, and what keeps it from starting."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from locum.app.server import running
from locum.errors import StartupError
from locum.sandbox.client import end as end_sandbox
from locum.settings import Settings, refuse_untrusted
from tests.cli.commands import assert_one_line, locum, processes_naming
from tests.models.upstream import Hang, ScriptedUpstream
from tests.sandbox.conftest import wait_until
from tests.serving import ServerProcess, serving


def test_the_console_says_where_to_go_and_what_answers(server: ServerProcess) -> None:
    for words in (
        f"OpenAI base URL   {server.base_url}",
        f"Azure endpoint    {server.azure_endpoint}",
        "from openai import AzureOpenAI",
        "demo model",
        str(server.data_dir),
    ):
        assert words in server.output


def test_start_imports_nothing_that_only_other_settings_need() -> None:
    unused = ["aiohttp", "alembic", "asyncpg", "rich"]
    code = (
        f"import sys, locum.cli.serve, locum.logs, locum.app; print([name for name in {unused} if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_one_line(locum("serve", "--port", str(port), cwd=tmp_path), str(port), "is in use", "--port")


def test_a_data_directory_in_use_is_said_in_one_line(server: ServerProcess, tmp_path: Path) -> None:
    done = locum("serve", "--port", "0", "--data-dir", str(server.data_dir), cwd=tmp_path)
    assert_one_line(done, str(server.data_dir), "in use by another Locum process", "--data-dir")


def test_an_address_others_can_reach_needs_a_key(tmp_path: Path) -> None:
    assert_one_line(locum("serve", "--port", "0", "--host", "0.0.0.0", cwd=tmp_path), "LOCUM_API_KEY")


def test_short_key_is_refused_on_an_address_others_can_reach(tmp_path: Path) -> None:
    done = locum("serve", "--port", "0", "--host", "0.0.0.0", cwd=tmp_path, LOCUM_API_KEY="15-characters..")
    assert_one_line(done, "LOCUM_API_KEY has 15 characters", "0.0.0.0", "at least 16")
    with serving(
        tmp_path / "data", LOCUM_SANDBOX="off", LOCUM_HOST="0.0.0.0", LOCUM_API_KEY="of-16-characters"
    ) as server:
        wait_until(lambda: "your LOCUM_API_KEY" in server.output)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"LOCUM_PORT": "http"}, ("LOCUM_PORT", "http")),
        ({"LOCUM_SANDBOX": "maybe"}, ("LOCUM_SANDBOX", "maybe")),
        ({"LOCUM_MODEL_BASE_URL": "localhost:1"}, ("LOCUM_MODEL_BASE_URL",)),
        ({"LOCUM_RUN_SLOTS": "0"}, ("LOCUM_RUN_SLOTS",)),
    ],
)
def test_a_setting_that_cannot_be_is_named_in_one_line(
    env: dict[str, str], words: tuple[str, ...], tmp_path: Path
) -> None:
    assert_one_line(locum("serve", cwd=tmp_path, **env), *words)


def test_a_file_of_settings_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "locum.toml").write_text("port = ")
    assert_one_line(locum("serve", cwd=tmp_path), "locum.toml")


@pytest.mark.parametrize("command", ["serve", "doctor", "models"])
def test_toml_file_of_another_user_is_refused_and_gets_no_key(command: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("Only root can give a file to another user.")
    with ScriptedUpstream() as upstream:
        file = tmp_path / "locum.toml"
        file.write_text(f'model_base_url = "{upstream.base_url}"')
        os.chown(file, 65534, 65534)
        done = locum(command, cwd=tmp_path, LOCUM_MODEL_API_KEY="secret")
        assert_one_line(done, f"{file} belongs to another user (uid 65534)", "uid 0", f"chown 0 {file}")
        assert upstream.connections == 0


def test_toml_file_that_every_user_can_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "locum.toml"
    file.write_text('model = "m"')
    file.chmod(0o666)
    assert_one_line(
        locum("models", cwd=tmp_path), f"{file} can be written by every user (mode 0666)", f"chmod o-w {file}"
    )
    file.chmod(0o664)
    assert locum("models", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("owner", "mode", "words"),
    [
        (1000, 0o600, None),
        (0, 0o644, None),
        (1000, 0o664, None),
        (1001, 0o600, "uid 1001"),
        (1000, 0o602, "mode 0602"),
        (0, 0o666, "mode 0666"),
    ],
)
def test_settings_file_is_trusted_by_its_owner_and_mode(owner: int, mode: int, words: str | None) -> None:
    status = os.stat_result((stat.S_IFREG | mode, 0, 0, 1, owner, 0, 0, 0, 0, 0))
    if words is None:
        refuse_untrusted("locum.toml", status, user=1000)
    else:
        with pytest.raises(StartupError, match=words):
            refuse_untrusted("locum.toml", status, user=1000)


def test_health_and_readiness_answer_without_a_key(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", env={"LOCUM_API_KEY": "secret", "LOCUM_SANDBOX": "off"}) as server:
        for path in ("/healthz", "/readyz"):
            with urllib.request.urlopen(server.azure_endpoint + path) as response:
                assert json.load(response)["status"] == "ok"


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_console_readiness_and_doctor_say_the_same_of_the_code_interpreter(mode: str, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": mode}) as server:
        wait_until(lambda: "Ready." in server.output)
        with urllib.request.urlopen(server.azure_endpoint + "/readyz") as response:
            told = json.load(response)["code_interpreter"]
        (line,) = [line for line in server.output.splitlines() if "Code interpreter" in line]
        assert line == f"  Code interpreter  {told['tier']}: {told['reason']}"
    examined = locum("doctor", cwd=tmp_path, LOCUM_SANDBOX=mode, LOCUM_PORT="0").stdout
    assert f"Code interpreter  {told['tier']}: {told['reason']}\n" in examined
    assert (told["tier"] == "off") == (mode == "off")


def test_the_start_says_how_files_are_searched(tmp_path: Path) -> None:
    embedder = {"LOCUM_EMBEDDING_BASE_URL": "http://127.0.0.1:9/v1", "LOCUM_EMBEDDING_MODEL": "m"}
    for number, (env, words) in enumerate(
        [
            ({}, "by words alone: set LOCUM_EMBEDDING_BASE_URL"),
            (embedder, "by words and by meaning, with m at http://127"),
        ]
    ):
        with ServerProcess(tmp_path / f"data-{number}", env={"LOCUM_SANDBOX": "off", **env}) as server:
            wait_until(lambda: "Ready." in server.output)
            assert f"  File search       {words}" in server.output
            assert (server.data_dir / "search.db").exists()


def test_a_spoiled_search_database_keeps_the_server_from_starting_and_may_be_removed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "search.db").write_bytes(b"spoiled" * 1000)
    done = locum("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), cwd=tmp_path, LOCUM_SANDBOX="off")
    assert done.returncode == 1
    assert "search.db" in done.stderr
    assert "remove the file" in done.stderr


def test_with_a_key_only_the_key_is_served_and_a_new_one_replaces_it(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": "off"})
    server.start(LOCUM_API_KEY="first")
    try:
        for client in (server.openai(api_key="first"), server.azure(api_key="first")):
            client.beta.assistants.list()
            client.close()
        for client in (server.openai(api_key="wrong", max_retries=0), server.azure(api_key="wrong", max_retries=0)):
            with pytest.raises(openai.AuthenticationError):
                client.beta.assistants.list()
            client.close()
        server.stop()
        assert b"first" not in (server.data_dir / "locum.db").read_bytes()
        server.start(LOCUM_API_KEY="second")
        with server.openai(api_key="second") as client:
            client.beta.assistants.list()
        with server.openai(api_key="first", max_retries=0) as client, pytest.raises(openai.AuthenticationError):
            client.beta.assistants.list()
    finally:
        server.stop()


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": "off"})
    server.start()
    with server.openai() as client:
        assistant = client.beta.assistants.create(model="m", metadata={"k": "값"})
        file = client.files.create(file=("a.txt", b"content"), purpose="assistants")
    server.kill()
    server.start()
    with server.openai() as client:
        assert client.beta.assistants.retrieve(assistant.id) == assistant
        assert client.files.content(file.id).read() == b"content"
    assert server.stop() == 0


def test_the_server_stops_without_a_word_of_error(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    server.start()
    assert server.stop() == 0
    assert "Traceback" not in server.output
    assert "rror" not in server.output


def test_of_a_stopped_server_nothing_but_its_sessions_is_left_running(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    server.start()
    with server.openai() as client:
        assistant = client.beta.assistants.create(model="m", tools=[{"type": "code_interpreter"}]).id
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "solve x + 1 = 2"}]).id
        client.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    server.stop(keep_sessions=True)
    assert len(processes_naming(server.data_dir)) == 1  # its sessions, for a minute
    end_sandbox(server.data_dir / "sandbox")
    wait_until(lambda: not processes_naming(server.data_dir))


def test_a_held_request_does_not_keep_a_server_from_stopping(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.script([Hang("x")])
        env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
        with ServerProcess(tmp_path / "data", env=env) as server, server.openai(max_retries=0) as client:
            assistant = client.beta.assistants.create(model="m").id
            thread = client.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id
            run = client.beta.threads.runs.create(thread, assistant_id=assistant)
            with ThreadPoolExecutor(1) as pool:
                held = pool.submit(
                    client.beta.threads.runs.retrieve,
                    run.id,
                    thread_id=thread,
                    extra_headers={"X-Stainless-Poll-Helper": "true"},
                )
                upstream.wait(lambda: bool(upstream.requests))
                assert server.stop() == 0
                assert held.result().status == "in_progress"


def test_a_server_is_strict_when_told_so(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", env={"LOCUM_STRICT": "true", "LOCUM_SANDBOX": "off"}) as server:
        with server.azure(api_version="2024-06-01-preview") as client, pytest.raises(openai.NotFoundError):
            client.beta.assistants.list()
        with server.azure() as client:
            client.beta.assistants.list()


def test_what_expired_while_no_server_ran_is_removed_at_the_start(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": "off"})
    with server, server.openai() as client:
        client.files.create(
            file=("a.txt", b"a"), purpose="assistants", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        upload = client.uploads.create(filename="b", bytes=3, mime_type="text/plain", purpose="assistants")
        client.uploads.parts.create(upload.id, data=b"abc")
        kept = client.files.create(file=("c.txt", b"c"), purpose="assistants")
    blobs = server.data_dir / "blobs"
    assert len([*blobs.glob("??/*")]) == 3

    async def start_an_hour_later() -> None:
        settings = Settings.load(data_dir=server.data_dir, sandbox="off")
        async with running(settings, clock=lambda: time.time() + 3601), asyncio.timeout(20):
            while len([*blobs.glob("??/*")]) > 1:  # noqa: ASYNC110 - nobody tells when a sweep is over
                await asyncio.sleep(0.01)

    asyncio.run(start_an_hour_later())
    with server, server.openai() as client:
        assert [file.id for file in client.files.list()] == [kept.id]
        assert client.files.content(kept.id).read() == b"c"


ANSWERS = {
    "JSON": b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer a-key-of-24-characters-xx\r\n\r\n",
    "wrong key": b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "unknown path": b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "health": b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "figures": b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer a-key-of-24-characters-xx\r\n\r\n",
    "preflight": b"OPTIONS /v1/models HTTP/1.1\r\nhost: localhost\r\norigin: https://app.example.com\r\n"
    b"access-control-request-method: GET\r\n\r\n",
    "refused head": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    "no HTTP": b"nonsense\r\n\r\n",
}


def test_every_answer_forbids_browsers_to_guess_its_type(tmp_path: Path) -> None:
    env = {"LOCUM_API_KEY": "a-key-of-24-characters-xx", "LOCUM_CORS_ORIGINS": "https://app.example.com"}
    with serving(tmp_path / "data", LOCUM_SANDBOX="off", **env) as server:
        port = int(server.azure_endpoint.rpartition(":")[2])
        heads = {}
        for name, request in ANSWERS.items():
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(request)
                heads[name] = _head(connection)
        missing = [name for name, head in heads.items() if head.count(b"x-content-type-options: nosniff\r\n") != 1]
        assert not missing, heads


def _head(connection: socket.socket) -> bytes:
    """Read a response as far as the end of its head."""
    data = b""
    while b"\r\n\r\n" not in data and (piece := connection.recv(4096)):
        data += piece
    return data.partition(b"\r\n\r\n")[0] + b"\r\n"
