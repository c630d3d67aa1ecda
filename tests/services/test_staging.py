"""Staged bytes are removed unless a committed row refers to them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from locum.access.principals import Principal
from locum.blobs.disk import DiskBlobs
from locum.domain.files import File
from locum.domain.pages import Page
from locum.errors import InvalidRequest, OutcomeUnknown, TooLarge, Unavailable
from locum.services.files import Files
from locum.services.idempotency import IdempotencyKey
from locum.services.staging import Staged, stage
from locum.services.tracked_blobs import TrackedBlobs
from locum.services.uploads import Uploads
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLite
from tests.databases import PostgresServer

ME = Principal(resource="default")


async def content(value: bytes = b"abc") -> AsyncIterator[bytes]:
    yield value


class Place:
    """Services over a real database and a real disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "blobs"
        self.db = SQLite(directory / "locum.db")
        self.blobs = TrackedBlobs(self.db, DiskBlobs(self.directory), time.time)
        self.files = Files(self.db, self.blobs, time.time)
        self.uploads = Uploads(self.db, self.blobs, time.time)

    def blob_keys(self) -> list[str]:
        """Everything that takes room, drafts included."""
        return [path.name for path in self.directory.rglob("*") if path.is_file()]

    async def create_file(self, staged: Staged, *, key: str | None = None, body: str = "", **more: Any) -> File:
        idempotency_key = None if key is None else IdempotencyKey(key, body)
        new: Any = {"filename": "a", "purpose": "assistants", "surface": "openai", **more}
        return await self.files.create(ME, staged, idempotency_key=idempotency_key, **new)

    async def file(self, *, chunks: AsyncIterator[bytes] | None = None, **more: Any) -> File:
        async with self.files.staged(chunks or content()) as staged:
            return await self.create_file(staged, **more)

    async def upload_id(self) -> str:
        return (await self.uploads.create(ME, filename="a", purpose="assistants", size=3)).id

    async def part_id(self, upload_id: str) -> str:
        async with self.uploads.staged(ME, upload_id, content()) as staged:
            return (await self.uploads.add_part(ME, upload_id, staged)).id

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Keep the database's only writer busy: later writes wait in the queue."""
        begun, end = threading.Event(), threading.Event()

        def occupy(_: Connection) -> None:
            begun.set()
            assert end.wait(20)

        occupying = asyncio.create_task(self.db.write(occupy))
        await until(begun.is_set)
        try:
            yield
        finally:
            end.set()
            await occupying

    @asynccontextmanager
    async def cancelled_request(self, *, times: int = 1, **more: Any) -> AsyncIterator[asyncio.Task[File]]:
        """A request for a file, cancelled while its transaction waits for the writer, which is busy until the end."""
        is_read, is_sent = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            is_read.set()
            await is_sent.wait()
            yield b"abc"

        request = asyncio.create_task(self.file(chunks=body(), **more))
        await is_read.wait()
        async with self.busy():
            is_sent.set()
            await until(lambda: self.db._jobs.qsize() == 1)
            for _ in range(times):
                request.cancel()
                await asyncio.sleep(0)
            yield request


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.001)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    asyncio.run(place.db.close())


def test_file_keeps_its_bytes(place: Place) -> None:
    file = asyncio.run(place.file())
    assert place.blob_keys() == [file.id.removeprefix("file-")]


def test_part_keeps_its_bytes(place: Place) -> None:
    async def scene() -> None:
        part_id = await place.part_id(await place.upload_id())
        assert place.blob_keys() == [part_id.removeprefix("part_")]

    asyncio.run(scene())


@pytest.mark.parametrize("error", [InvalidRequest("no"), RuntimeError(), asyncio.CancelledError(), KeyboardInterrupt()])
def test_bytes_are_removed_when_the_request_fails_before_a_commit(place: Place, error: BaseException) -> None:
    async def scene() -> None:
        with pytest.raises(type(error)):
            async with place.files.staged(content()):
                assert len(place.blob_keys()) == 1
                raise error
        assert place.blob_keys() == []

    asyncio.run(scene())


def test_bytes_are_removed_when_no_commit_follows(place: Place) -> None:
    async def scene() -> None:
        async with place.files.staged(content()):
            pass
        assert place.blob_keys() == []

    asyncio.run(scene())


def test_bytes_beyond_the_limit_are_not_stored(place: Place) -> None:
    async def scene() -> None:
        with pytest.raises(TooLarge):
            async with stage(place.blobs, content(b"abc"), max_bytes=2):
                raise AssertionError
        assert place.blob_keys() == []

    asyncio.run(scene())


def test_replayed_request_keeps_the_first_bytes_only(place: Place) -> None:
    async def scene() -> None:
        first = await place.file(key="k")
        assert await place.file(key="k") == first
        with pytest.raises(InvalidRequest, match="same request"):
            await place.file(key="k", body="another")
        assert place.blob_keys() == [first.id.removeprefix("file-")]

    asyncio.run(scene())


def test_bytes_are_removed_when_the_database_is_unavailable(place: Place) -> None:
    async def scene() -> None:
        upload_id = await place.upload_id()
        async with place.uploads.staged(ME, upload_id, content()) as part, place.files.staged(content()) as file:
            await place.db.close()
            with pytest.raises(Unavailable):
                await place.create_file(file)
            with pytest.raises(Unavailable):
                await place.uploads.add_part(ME, upload_id, part)
        assert place.blob_keys() == []

    asyncio.run(scene())


def test_bytes_are_removed_when_the_transaction_fails_in_an_unforeseen_way(place: Place) -> None:
    async def scene() -> None:
        await place.db.write(lambda conn: conn.execute(sa.text("DROP TABLE once")))
        with pytest.raises(Unavailable):
            await place.file(key="k")
        with pytest.raises(OverflowError):
            await place.file(expires_after_seconds=2**80)
        assert place.blob_keys() == []

    asyncio.run(scene())


def test_cancelled_request_keeps_the_bytes_of_a_file_that_is_committed(place: Place) -> None:
    async def scene() -> None:
        async with place.cancelled_request(key="k") as request:
            pass
        with pytest.raises(asyncio.CancelledError):
            await request
        (file,) = (await place.files.list(ME, Page(limit=10, order="asc"))).data
        assert place.blob_keys() == [file.id.removeprefix("file-")]
        assert await place.file(key="k") == file

    asyncio.run(scene())


def test_cancelled_request_leaves_no_bytes_when_its_transaction_is_refused(place: Place) -> None:
    async def scene() -> None:
        first = await place.file(key="k")
        async with place.cancelled_request(key="k", body="another") as request:
            pass
        with pytest.raises(asyncio.CancelledError):
            await request
        assert place.blob_keys() == [first.id.removeprefix("file-")]

    asyncio.run(scene())


def test_request_that_is_cancelled_twice_leaves_no_bytes(place: Place) -> None:
    async def scene() -> None:
        first = await place.file(key="k")
        async with place.cancelled_request(key="k", body="another", times=3) as request:
            with pytest.raises(asyncio.CancelledError):
                await request
            assert len(place.blob_keys()) == 2
        await until(lambda: place.blob_keys() == [first.id.removeprefix("file-")])

    asyncio.run(scene())


def test_bytes_that_cannot_be_removed_leave_the_answer_as_it_is(place: Place) -> None:
    async def scene() -> None:
        first = await place.file(key="k")
        async with place.files.staged(content()) as staged:
            (blob,) = place.directory.rglob(staged.written.key)
            blob.unlink()
            blob.mkdir()  # a directory cannot be unlinked
            assert await place.create_file(staged, key="k") == first
        assert blob.is_dir()

    asyncio.run(scene())


def test_bytes_are_kept_when_the_outcome_of_the_commit_is_unknown(tmp_path: Path, postgres: PostgresServer) -> None:
    url = postgres.create()

    async def scene() -> None:
        db = await Postgres.open(url)
        blobs = TrackedBlobs(db, DiskBlobs(tmp_path), time.time)

        def lose_the_connection(conn: Connection) -> tuple[None, bool]:
            backend = conn.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
            killer = threading.Thread(target=postgres.end_connection, args=(backend,))
            killer.start()
            killer.join()
            return None, True

        try:
            with pytest.raises(OutcomeUnknown):
                async with stage(blobs, content(), max_bytes=3) as staged:
                    await staged.adopt(db.write(lose_the_connection))
            assert len(await blobs.store.keys()) == 1
        finally:
            await db.close()

    asyncio.run(scene())
