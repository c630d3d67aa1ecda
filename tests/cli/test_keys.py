"""`locum keys`: with a server that runs, and without one."""

from __future__ import annotations

import asyncio
import re
import socket
import stat
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import httpx2
import openai
import pytest
from sqlalchemy import Connection

from locum.access.keys import Keys
from locum.admin import protocol
from locum.clock import system_clock
from locum.errors import Unauthenticated, Unavailable
from locum.store.data_dir import lock_data_dir
from locum.store.sqlite import SQLite
from tests.cli.commands import assert_one_line, locum, said
from tests.databases import PostgresServer
from tests.models.upstream import Hang, ScriptedUpstream
from tests.serving import ServerProcess, serving

T = TypeVar("T")


def create(server: ServerProcess, *options: str) -> str:
    return said("keys", "create", "--data-dir", str(server.data_dir), *options, cwd=server.data_dir).strip()


def listed(server: ServerProcess, **env: str) -> list[list[str]]:
    """The lines of `locum keys list` below its heading, in words."""
    lines = said("keys", "list", "--data-dir", str(server.data_dir), cwd=server.data_dir, **env).splitlines()
    return [line.split() for line in lines[1:]]


def revoke(server: ServerProcess, key_id: str, **env: str) -> str:
    return said("keys", "revoke", key_id, "--data-dir", str(server.data_dir), cwd=server.data_dir, **env)


def is_let_in(server: ServerProcess, key: str) -> bool:
    with server.openai(api_key=key, max_retries=0) as client:
        try:
            client.beta.assistants.list()
        except openai.AuthenticationError:
            return False
    return True


def test_the_first_key_made_for_a_running_server_closes_it_to_all_without_one(tmp_path: Path) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off") as server:
        assert is_let_in(server, "any")
        key = create(server, "--name", "first")
        assert re.fullmatch(r"locum-[A-Za-z0-9]{40}", key)
        assert is_let_in(server, key)
        assert not is_let_in(server, "any")
        assert not is_let_in(server, key[:-1])


def test_a_key_is_kept_as_a_digest_only(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": "off"})
    with server:
        key = create(server, "--name", "of a colleague")
        ((key_id, resource, *moment, _, _, _),) = listed(server)
        assert key_id.startswith("key_")
        assert resource == "default"
        assert moment[-1] == "UTC"
        assert "of a colleague" in said("keys", "list", cwd=tmp_path, LOCUM_DATA_DIR="data")
    stored = b"".join(path.read_bytes() for path in server.data_dir.iterdir() if path.is_file())
    assert key_id.encode() in stored
    assert key.encode() not in stored
    assert key.removeprefix("locum-").encode() not in stored
    assert key not in server.output


def test_the_key_alone_goes_to_standard_output(tmp_path: Path) -> None:
    done = locum("keys", "create", cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 1
    assert "not shown again" in done.stderr


def test_a_revoked_key_stops_working_at_once(tmp_path: Path) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off") as server:
        kept = create(server, "--name", "kept")
        lost = create(server, "--name", "lost")
        assert is_let_in(server, kept)
        assert is_let_in(server, lost)
        (lost_id,) = [row[0] for row in listed(server) if row[-1] == "lost"]
        assert lost_id in revoke(server, lost_id)
        assert not is_let_in(server, lost)
        assert is_let_in(server, kept)
        assert [row[-1] for row in listed(server)] == ["kept"]


def test_a_server_whose_last_key_is_revoked_stays_closed(tmp_path: Path) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off") as server:
        create(server)
        ((key_id, *_),) = listed(server)
        done = locum("keys", "revoke", key_id, "--data-dir", str(server.data_dir), cwd=tmp_path)
        assert "the last key" in done.stderr
        assert not is_let_in(server, "any")
        assert is_let_in(server, create(server))


def test_resources_see_nothing_of_each_other(tmp_path: Path) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off") as server:
        with server.openai(api_key=create(server)) as client:
            assistant = client.beta.assistants.create(model="m").id
        with server.openai(api_key=create(server, "--resource", "other")) as client:
            assert client.beta.assistants.list().data == []
            with pytest.raises(openai.NotFoundError):
                client.beta.assistants.retrieve(assistant)


def test_keys_made_without_a_server_are_asked_for_by_the_next_one_on_any_address(tmp_path: Path) -> None:
    key = said("keys", "create", "--data-dir", "data", cwd=tmp_path).strip()
    with serving(tmp_path / "data", LOCUM_SANDBOX="off", LOCUM_HOST="0.0.0.0") as server:
        assert "locum keys create" in server.output
        assert is_let_in(server, key)
        assert not is_let_in(server, "any")
    ((key_id, *_),) = listed(server)
    revoke(server, key_id)
    done = locum("serve", "--port", "0", "--host", "0.0.0.0", "--data-dir", "data", cwd=tmp_path)
    assert_one_line(done, "locum keys create")


def test_the_key_of_the_settings_is_listed_and_changed_there_only(tmp_path: Path) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off", LOCUM_API_KEY="secret") as server:
        assert is_let_in(server, create(server, "--name", "another"))
        assert is_let_in(server, "secret")
        assert {row[-1] for row in listed(server)} == {"LOCUM_API_KEY", "another"}
        done = locum("keys", "revoke", "key_default", "--data-dir", str(server.data_dir), cwd=tmp_path)
        assert_one_line(done, "LOCUM_API_KEY")
        assert is_let_in(server, "secret")


def test_a_terminal_without_the_letters_is_no_reason_to_fail(tmp_path: Path) -> None:
    said("keys", "create", "--name", "열쇠", cwd=tmp_path)
    assert "??" in said("keys", "list", cwd=tmp_path, PYTHONIOENCODING="latin-1")
    assert "열쇠" in said("keys", "list", cwd=tmp_path, PYTHONIOENCODING="utf-8")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("create", "--resource", "a/b"), ("a/b", "letters")),
        (("create", "--name", ""), ("1 to 128 characters",)),
        (("create", "--name", "\x1b[2J"), ("can be printed",)),
    ],
)
def test_what_cannot_be_named_so_is_said_in_one_line(
    command: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    assert_one_line(locum("keys", *command, cwd=tmp_path), *words)


def test_an_unknown_key_is_said_in_one_line(tmp_path: Path) -> None:
    said("keys", "create", cwd=tmp_path)
    assert_one_line(locum("keys", "revoke", "key_none", cwd=tmp_path), "key_none", "locum keys list")


def test_a_directory_named_wrongly_is_not_made(tmp_path: Path) -> None:
    assert_one_line(locum("keys", "list", "--data-dir", "wrong", cwd=tmp_path), "wrong", "--data-dir")
    assert_one_line(locum("keys", "revoke", "key_a", "--data-dir", "wrong", cwd=tmp_path), "wrong", "--data-dir")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_data_directory_held_by_who_does_not_answer_is_left_alone(tmp_path: Path) -> None:
    said("keys", "create", "--data-dir", "data", cwd=tmp_path)
    with lock_data_dir(tmp_path / "data"):
        assert_one_line(locum("keys", "list", "--data-dir", "data", cwd=tmp_path), "in use", "data")


def test_servers_on_one_database_share_keys(tmp_path: Path, postgres: PostgresServer) -> None:
    url = postgres.create()
    first = ServerProcess(tmp_path / "1", env={"LOCUM_DATABASE_URL": url, "LOCUM_SANDBOX": "off"})
    second = ServerProcess(tmp_path / "2", env={"LOCUM_DATABASE_URL": url, "LOCUM_SANDBOX": "off"})
    key = said("keys", "create", cwd=tmp_path, LOCUM_DATABASE_URL=url).strip()
    assert not (tmp_path / "locum-data").exists()
    with first, second:
        assert is_let_in(first, key)
        assert is_let_in(second, create(first))


# ---- answers that last


def id_of(server: ServerProcess, name: str, **env: str) -> str:
    return next(row[0] for row in listed(server, **env) if row[-1] == name)


def start_run(api: openai.OpenAI) -> tuple[str, str]:
    """Start a run whose model says nothing more after its first words; return the ids of thread and run."""
    assistant = api.beta.assistants.create(model="m").id
    run = api.beta.threads.create_and_run(
        assistant_id=assistant, thread={"messages": [{"role": "user", "content": "hello"}]}
    )
    return run.thread_id, run.id


def follow_until_revoked(server: ServerProcess, key: str, run: tuple[str, str], revoke: Callable[[], object]) -> str:
    """Follow a run, revoke the key behind its first event, and return the rest of the stream."""
    path = f"{server.base_url}/threads/{run[0]}/runs/{run[1]}/events"
    headers = {"authorization": f"Bearer {key}", "openai-beta": "assistants=v2"}
    with httpx2.stream("GET", path, headers=headers, timeout=30) as response:
        lines = response.iter_lines()
        next(lines)
        revoke()
        return "\n".join(lines)


def test_revoked_key_ends_its_streams_and_its_held_requests_alone(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.script([Hang("part")] * 2)
        env = {"LOCUM_SANDBOX": "off", "LOCUM_MODEL_BASE_URL": upstream.base_url}
        with serving(tmp_path / "data", **env) as server, ThreadPoolExecutor() as pool:
            kept, lost = create(server, "--name", "kept"), create(server, "--name", "lost")
            lost_id = id_of(server, "lost")
            with server.openai(api_key=kept, max_retries=0) as api, server.openai(api_key=lost, max_retries=0) as held:
                run = start_run(api)
                runs = held.with_options(timeout=30).beta.threads.runs
                holding = pool.submit(runs.retrieve, run[1], thread_id=run[0], extra_query={"wait": "60"})
                rest = follow_until_revoked(server, lost, run, lambda: revoke(server, lost_id))
                assert rest.endswith("event: done\ndata: [DONE]\n")
                assert '"code":"invalid_api_key"' in rest
                with pytest.raises(openai.AuthenticationError):
                    holding.result(30)
                other = start_run(api)
                rest = follow_until_revoked(
                    server, kept, other, lambda: api.beta.threads.runs.cancel(other[1], thread_id=other[0])
                )
                assert "event: thread.run.cancelled" in rest


def test_revoked_key_ends_its_download(tmp_path: Path) -> None:
    size = 32 * 1024**2
    with serving(tmp_path / "data", LOCUM_SANDBOX="off") as server:
        create(server, "--name", "kept")
        key = create(server, "--name", "lost")
        with server.openai(api_key=key) as api:
            file = api.files.create(file=("a.txt", bytes(size)), purpose="assistants").id
        with (
            httpx2.stream(
                "GET", f"{server.base_url}/files/{file}/content", headers={"authorization": f"Bearer {key}"}, timeout=30
            ) as response,
            pytest.raises(httpx2.RemoteProtocolError, match="without sending complete message body"),
        ):
            pieces = response.iter_raw()
            next(pieces)
            revoke(server, id_of(server, "lost"))
            for _ in pieces:
                pass


def test_key_revoked_at_one_server_ends_its_streams_at_the_others(tmp_path: Path, postgres: PostgresServer) -> None:
    with ScriptedUpstream() as upstream:
        upstream.script([Hang("part")])
        database = {"LOCUM_DATABASE_URL": postgres.create()}
        env = {"LOCUM_SANDBOX": "off", "LOCUM_MODEL_BASE_URL": upstream.base_url, **database}
        with ServerProcess(tmp_path / "1", env=env) as first, ServerProcess(tmp_path / "2", env=env) as second:
            create(first, "--name", "kept")
            key = create(first, "--name", "lost")
            key_id = id_of(first, "lost", **database)
            with second.openai(api_key=key) as api:
                run = start_run(api)
            rest = follow_until_revoked(second, key, run, lambda: revoke(first, key_id, **database))
            assert '"code":"invalid_api_key"' in rest


# ---- the cache, with the time in the test's hand


@asynccontextmanager
async def two_servers(path: Path, *, now: list[float]) -> AsyncIterator[tuple[Keys, Keys]]:
    """The keys of two servers on one database."""
    db = SQLite(path / "locum.db")
    try:
        first, second = (Keys(db, system_clock, keyless=True, monotonic=lambda: now[0]) for _ in range(2))
        await first.apply_setting(None)
        await second.apply_setting(None)
        yield first, second
    finally:
        await db.close()


def test_what_one_server_makes_and_revokes_the_others_know_seconds_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        now = [1000.0]
        async with two_servers(tmp_path, now=now) as (first, second):
            assert (await second.authenticate([])).key_id is None
            row, key = await first.create("default", None)
            now[0] += 10
            with pytest.raises(Unauthenticated):
                await second.authenticate([])
            assert (await second.authenticate([key])).key_id == row.id
            await first.revoke(row.id)
            with pytest.raises(Unauthenticated):
                await first.authenticate([key])
            now[0] += 10
            with pytest.raises(Unauthenticated):
                await second.authenticate([key])

    asyncio.run(scenario())


def test_watch_ends_without_any_request_once_another_server_has_revoked_its_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        db = SQLite(tmp_path / "locum.db")
        first, second = (Keys(db, system_clock, keyless=False, fresh_seconds=0.01) for _ in range(2))
        row, key = await first.create("default", None)
        _, other = await first.create("default", None)
        await second.apply_setting(None)
        revoked, kept = asyncio.Event(), asyncio.Event()
        with second.watch([key], revoked.set), second.watch([other], kept.set):
            await first.revoke(row.id)
            await asyncio.wait_for(revoked.wait(), 10)
            assert not kept.is_set()
        await db.close()

    asyncio.run(scenario())


def test_watch_of_a_key_that_is_revoked_already_ends_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two_servers(tmp_path, now=[1000.0]) as (keys, _):
            row, key = await keys.create("default", None)
            await keys.revoke(row.id)
            revoked = asyncio.Event()
            with keys.watch([key], revoked.set):
                assert revoked.is_set()

    asyncio.run(scenario())


def test_watch_without_a_key_ends_once_the_first_key_exists(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two_servers(tmp_path, now=[1000.0]) as (keys, _):
            revoked = asyncio.Event()
            with keys.watch([], revoked.set):
                assert not revoked.is_set()
                await keys.create("default", None)
                assert revoked.is_set()

    asyncio.run(scenario())


def test_watch_outlasts_an_outage_of_the_database(tmp_path: Path) -> None:
    class FailingDatabase(SQLite):
        failures = 0

        async def read(self, fn: Callable[[Connection], T]) -> T:
            if self.failures:
                self.failures -= 1
                raise Unavailable("The database cannot be reached.")
            return await super().read(fn)

    async def scenario() -> None:
        db, failing = SQLite(tmp_path / "locum.db"), FailingDatabase(tmp_path / "locum.db")
        first = Keys(db, system_clock, keyless=False)
        second = Keys(failing, system_clock, keyless=False, fresh_seconds=0.01)
        row, key = await first.create("default", None)
        await second.apply_setting(None)
        revoked = asyncio.Event()
        with second.watch([key], revoked.set):
            failing.failures = 3
            await first.revoke(row.id)
            await asyncio.wait_for(revoked.wait(), 10)
        assert not failing.failures
        await failing.close()
        await db.close()

    asyncio.run(scenario())


def test_a_look_up_under_way_does_not_bring_a_revoked_key_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two_servers(tmp_path, now=[1000.0]) as (keys, _):
            row, key = await keys.create("default", None)
            await asyncio.gather(
                *(keys.authenticate([key]) for _ in range(20)), keys.revoke(row.id), return_exceptions=True
            )
            with pytest.raises(Unauthenticated):
                await keys.authenticate([key])

    asyncio.run(scenario())


# ---- the socket


def connected(server: ServerProcess) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    with protocol.socket_path(server.data_dir) as path:
        connection.connect(path)
    return connection


def test_the_admin_socket_is_its_owners_and_goes_with_the_server(tmp_path: Path) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off") as server:
        mode = (server.data_dir / "admin.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not (server.data_dir / "admin.sock").exists()


def test_the_socket_of_a_killed_server_is_in_nobodys_way(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": "off"})
    server.start()
    key = create(server)
    server.kill()
    assert (server.data_dir / "admin.sock").exists()
    assert len(listed(server)) == 1
    with server:
        assert is_let_in(server, key)
        assert len(listed(server)) == 1


def test_a_data_directory_deep_down_has_an_admin_socket_too(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with serving(deep / "data", LOCUM_SANDBOX="off") as server:
        assert is_let_in(server, create(server))


@pytest.mark.parametrize(
    "noise", [b"\n", b"{}\n", b'{"type":"format_disk"}\n', b"\xff\x00\n", b'{"type":"create_key"}\n']
)
def test_noise_on_the_admin_socket_is_answered_in_words(noise: bytes, tmp_path: Path, server: ServerProcess) -> None:
    with connected(server) as connection, connection.makefile("rb") as replies:
        connection.sendall(noise)
        reply = protocol.reply(replies.readline())
    assert isinstance(reply, protocol.Failure)
    assert "does not know this command" in reply.message


def test_who_connects_and_says_nothing_does_not_keep_a_server_from_stopping(tmp_path: Path) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off") as server, connected(server):
        assert server.stop() == 0
    assert "rror" not in server.output
