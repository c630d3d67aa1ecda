"""The process that ingests, beside a server: real, killed, stopped, and refused."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import openai
import pytest
from sqlalchemy import Connection

from locum.app.search import INGESTION_MODULE
from locum.documents import store as document_store
from locum.errors import StartupError, StorageFull, Unavailable
from locum.ingestion.process import ServerConnection, ServerDatabase
from locum.ingestion.protocol import Begin, WriteFailed
from locum.ingestion.supervisor import Supervisor
from locum.ingestion.writes import CompleteFiles
from locum.settings import Settings
from locum.signals.local import LocalSignals
from locum.store.data_dir import lock_derived
from locum.store.database import Database
from locum.store.sqlite import SQLite, SQLiteReader
from tests.ingestion import deadly_ingestion
from tests.ingestion.ingesting import RESOURCE, Ingestion
from tests.serving import ServerProcess, serving

T = TypeVar("T")

PATIENCE = 60


def ingesting_for(server: int) -> list[int]:
    """The processes that ingest for that one."""
    found = []
    for task in Path(f"/proc/{server}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            if b"locum: ingestion" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def wait_for_another(server: int, than: int | None = None) -> int:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for pid in ingesting_for(server):
            if pid != than:
                return pid
        time.sleep(0.01)
    raise AssertionError("there is no process that ingests")


def counts(client: openai.OpenAI, store: str) -> tuple[int, int]:
    """(completed, in progress); none failed."""
    said = client.vector_stores.retrieve(store).file_counts
    assert said.failed == said.cancelled == 0
    return said.completed, said.in_progress


def wait_until_completed(client: openai.OpenAI, store: str, least: int) -> None:
    end = time.monotonic() + PATIENCE
    while counts(client, store)[0] < least:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off") as running:
        yield running


def test_it_is_there_from_the_first_store_on_and_leaves_the_server_the_processor(server: ServerProcess) -> None:
    with server.openai() as client:
        client.beta.assistants.create(model="demo")
        assert ingesting_for(server.pid) == []
        client.vector_stores.create()
        pid = wait_for_another(server.pid)
        file = client.files.create(file=("sea.txt", b"The sea is blue."), purpose="assistants")
        store = client.vector_stores.create(file_ids=[file.id]).id
        wait_until_completed(client, store, 1)
        assert os.getpriority(os.PRIO_PROCESS, pid) >= min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        assert len(os.sched_getaffinity(pid)) == max(1, len(os.sched_getaffinity(server.pid)) - 1)
        assert os.getpgid(pid) != os.getpgid(server.pid)  # Ctrl-C is for the server
    server.stop()
    assert not Path(f"/proc/{pid}").exists()


def test_what_a_killed_one_had_in_hand_the_next_one_takes_up(server: ServerProcess) -> None:
    with server.openai() as client:
        files = [
            client.files.create(file=(f"{number}.txt", f"Note {number}. ".encode() * 400), purpose="assistants").id
            for number in range(60)
        ]
        store = client.vector_stores.create(file_ids=files).id
        for least in (10, 25):
            wait_until_completed(client, store, least)
            pid = wait_for_another(server.pid)
            os.kill(pid, signal.SIGKILL)
            assert wait_for_another(server.pid, than=pid)
        wait_until_completed(client, store, len(files))
        found = client.vector_stores.search(store, query="note 59", max_num_results=1).data
        assert [each.file_id for each in found] == [files[59]]


def test_what_ends_a_whole_service_does_not_end_it_before_the_server_does(server: ServerProcess) -> None:
    with server.openai() as client:
        store = client.vector_stores.create().id
        pid = wait_for_another(server.pid)
        file = client.files.create(file=("sea.txt", b"The sea is blue."), purpose="assistants").id
        client.vector_stores.files.create_and_poll(file, vector_store_id=store)
        os.kill(pid, signal.SIGTERM)
        another = client.files.create(file=("air.txt", b"The air is clear."), purpose="assistants").id
        client.vector_stores.files.create_and_poll(another, vector_store_id=store)
        assert ingesting_for(server.pid) == [pid]
    assert server.stop() == 0
    assert "has ended" not in server.output


# ---- in the tests' process


class Rows:
    """A database that has no room for the first files that are completed, and knows what it was asked for."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.refused = 0

    async def write(self, fn: Callable[[Connection], T]) -> T:
        if isinstance(fn, CompleteFiles) and not self.refused:
            self.refused += 1
            raise StorageFull("There is no room left on the disk.")
        return await self._db.write(fn)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await self._db.read(fn)

    async def close(self) -> None:
        await self._db.close()


class Scene(NamedTuple):
    supervisor: Supervisor
    files: Ingestion
    rows: Rows


@asynccontextmanager
async def beside(directory: Path, **options: Any) -> AsyncIterator[Scene]:
    """The server's end of it, and files for it."""
    await SQLite(directory / "search.db", document_store.prepare).close()
    rows, data, signals = Rows(SQLite(directory / "locum.db")), SQLiteReader(directory / "search.db"), LocalSignals()
    settings = Settings(data_dir=directory, sandbox="off").model_dump_json().encode()
    begin = Begin(settings=settings, owner="node_1", keyless=True)
    supervisor = Supervisor(rows, data, signals, begin, **{"module": INGESTION_MODULE, **options})
    supervisor.start()
    try:
        yield Scene(supervisor, Ingestion(rows, cast(Database, data), directory), rows)
    finally:
        await supervisor.stop()
        await data.close()
        await rows.close()


async def add(scene: Scene, store: str, content: bytes) -> str:
    file = await scene.files.upload(content)
    await scene.files.add(store, [file])
    scene.supervisor.wake()
    return file


@pytest.mark.long
def test_one_that_hangs_is_replaced(tmp_path: Path) -> None:
    async def go() -> None:
        async with beside(tmp_path, hung_seconds=10) as scene:
            store = await scene.files.make_store()
            await add(scene, store, b"one")
            assert await scene.supervisor.wait_until_ingested(RESOURCE, store, timeout=PATIENCE)
            hung = scene.supervisor.pid
            assert hung is not None
            os.kill(hung, signal.SIGSTOP)
            file = await add(scene, store, b"two")
            assert await scene.supervisor.wait_until_ingested(RESOURCE, store, timeout=PATIENCE)
            assert (await scene.files.file(store, file)).status == "completed"
            assert scene.supervisor.pid != hung

    asyncio.run(go())


@pytest.mark.long
def test_a_file_that_kills_it_again_and_again_fails_alone(tmp_path: Path) -> None:
    async def go() -> None:
        async with beside(tmp_path, module=deadly_ingestion.__name__) as scene:
            store = await scene.files.make_store()
            files = [await scene.files.upload(f"note {number}".encode()) for number in range(12)]
            deadly = await scene.files.upload(deadly_ingestion.DEADLY)
            await scene.files.add(store, [*files[:5], deadly, *files[5:]])
            scene.supervisor.wake()
            assert await scene.supervisor.wait_until_ingested(RESOURCE, store, timeout=PATIENCE)
            assert {(await scene.files.file(store, each)).status for each in files} == {"completed"}
            error = (await scene.files.file(store, deadly)).last_error
            assert error is not None
            assert error.code == "server_error"
            assert "3 attempts" in error.message

    asyncio.run(go())


def test_a_write_that_the_server_refuses_is_told_in_its_words_and_asked_for_again(tmp_path: Path) -> None:
    async def go() -> None:
        async with beside(tmp_path) as scene:
            store = await scene.files.make_store()
            file = await add(scene, store, b"one")
            assert await scene.supervisor.wait_until_ingested(RESOURCE, store, timeout=PATIENCE)
            assert (await scene.files.file(store, file)).status == "completed"
            assert scene.rows.refused == 1
            assert scene.supervisor.outcomes == {"completed": 1}
            assert scene.supervisor.is_healthy

    asyncio.run(go())


@pytest.mark.parametrize("error", [Unavailable, StorageFull])
def test_an_error_that_passes_is_the_same_on_the_other_side(error: type[Unavailable]) -> None:
    said = WriteFailed(1, error.__name__, "Not now.").exception()
    assert type(said) is error
    assert said.message == "Not now."


def test_any_other_error_is_told_by_its_name() -> None:
    said = WriteFailed(1, "IntegrityError", "UNIQUE constraint failed").exception()
    assert str(said) == "IntegrityError: UNIQUE constraint failed"


def test_nothing_but_what_ingestion_writes_can_be_asked_of_the_server(tmp_path: Path) -> None:
    rows = ServerDatabase(SQLiteReader(tmp_path / "locum.db"), cast(ServerConnection, None))
    with pytest.raises(TypeError, match="and not"):
        asyncio.run(rows.write(lambda conn: None))


def test_who_writes_search_data_waits_for_the_one_before(tmp_path: Path) -> None:
    async def go() -> None:
        before = await lock_derived(tmp_path)
        after = asyncio.create_task(lock_derived(tmp_path))
        with pytest.raises(StartupError, match="in use by another Locum process"):
            await lock_derived(tmp_path, patience=0)
        assert not after.done()
        before.close()
        (await after).close()

    asyncio.run(go())
