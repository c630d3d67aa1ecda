"""The sweep removes noted keys after their grace period, old trash, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from locum import ids
from locum.access.principals import Principal
from locum.domain.files import File, blob_key
from locum.errors import NotFound, Unavailable
from locum.services.blob_sweep import BlobSweep, adopt, claim, may_claim
from locum.services.files import Files
from locum.services.tracked_blobs import TrackedBlobs
from locum.services.uploads import Uploads
from locum.store import staged_blobs
from locum.store.sqlite import SQLite
from tests.blobs.conftest import Place

ME = Principal(resource="default")
HOUR = 3600.0
DAY = 24 * HOUR


class World:
    """Services over a place, by a clock that is set by hand."""

    def __init__(self, place: Place, directory: Path, *, keep_days: int = 7) -> None:
        self.now = time.time()
        self.place = place
        self.db = SQLite(directory / f"{ids.new('')}.db")
        self.tracked = TrackedBlobs(self.db, place.blobs, lambda: self.now, keep_days=keep_days)
        self.files = Files(self.db, self.tracked, lambda: self.now)
        self.uploads = Uploads(self.db, self.tracked, lambda: self.now)
        self.sweep = BlobSweep(self.db, self.tracked, lambda: self.now).sweep

    async def file(self, **more: Any) -> File:
        async with self.files.staged(content()) as staged:
            return await self.files.create(ME, staged, filename="a", purpose="assistants", surface="openai", **more)

    async def orphan(self) -> str:
        """Store bytes, and end as a server that is killed before the commit."""
        return (await self.tracked.put(ids.new(""), content(), max_bytes=3)).key

    async def notes(self) -> set[str]:
        return await self.db.read(staged_blobs.every)

    async def is_there(self, file: File) -> bool:
        try:
            _, chunks = await self.files.content(ME, file.id)
        except NotFound:
            return False
        return b"".join([chunk async for chunk in chunks]) == b"abc"

    def trash(self) -> set[str]:
        """Return keys in the trash."""
        return {name.rpartition("/")[2] for name in self.place.left() if "/deleted/" in f"/{name}"}


async def content() -> AsyncIterator[bytes]:
    yield b"abc"


@pytest.fixture
def worlds(place: Place, tmp_path: Path) -> Iterator[list[World]]:
    """Two databases that know one place."""
    worlds = [World(place, tmp_path), World(place, tmp_path)]
    yield worlds
    for world in worlds:
        asyncio.run(world.db.close())


@pytest.fixture
def world(worlds: list[World]) -> World:
    return worlds[0]


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def test_bytes_of_a_crash_between_put_and_row_are_swept_after_their_grace(world: World) -> None:
    async def scene() -> None:
        assert await world.sweep() == ()  # the place is this database's from now on
        kept, orphan = await world.file(), await world.orphan()
        world.place.add_foreign()
        untracked = (await world.place.blobs.put(ids.new(""), content(), max_bytes=3)).key
        world.now += HOUR - 1
        assert await world.sweep() == ()
        world.now += 2
        assert await world.sweep() == (orphan,)
        assert await world.sweep() == ()
        assert await world.place.blobs.keys() == {blob_key(kept.id), untracked}
        assert world.trash() - {"thesis.doc"} == {orphan}
        assert await world.notes() == set()
        assert await world.is_there(kept)

    run(scene())


def test_bytes_of_a_crash_between_the_deletion_of_a_row_and_of_its_bytes_are_swept_at_once(
    world: World,
) -> None:
    async def scene() -> None:
        file = await world.file()
        world.place.take_away()
        try:
            await world.files.delete(ME, file.id)  # the row is gone: the caller need not care about the bytes
        finally:
            world.place.bring_back()
        assert await world.notes() == {blob_key(file.id)}
        assert await world.sweep() == (blob_key(file.id),)
        assert await world.place.blobs.keys() == set()
        assert await world.notes() == set()

    run(scene())


def test_deleted_and_expired_files_stay_in_the_trash_for_the_days_that_are_set(world: World) -> None:
    async def scene() -> None:
        deleted, expired, kept = await world.file(), await world.file(expires_after_seconds=3600), await world.file()
        await world.files.delete(ME, deleted.id)
        world.now += HOUR
        await world.files.expire()
        keys = {blob_key(deleted.id), blob_key(expired.id)}
        assert await world.place.blobs.keys() == {blob_key(kept.id)}
        world.now += 6 * DAY
        assert await world.sweep() == ()
        assert world.trash() == keys
        world.now += 2 * DAY
        await world.sweep()
        assert world.trash() == set()
        assert await world.is_there(kept)

    run(scene())


def test_deleted_files_go_at_once_where_no_days_are_set(place: Place, tmp_path: Path) -> None:
    world = World(place, tmp_path, keep_days=0)

    async def scene() -> None:
        file, orphan = await world.file(), await world.orphan()
        await world.files.delete(ME, file.id)
        world.now += HOUR + 1
        assert await world.sweep() == (orphan,)
        assert world.trash() == set()
        assert await place.blobs.keys() == set()
        await world.db.close()

    run(scene())


def test_parts_of_uploads_are_noted_and_do_not_go_to_the_trash(world: World) -> None:
    async def scene() -> None:
        upload = await world.uploads.create(ME, filename="a", purpose="assistants", size=3)
        async with world.uploads.staged(ME, upload.id, content()) as staged:
            part = await world.uploads.add_part(ME, upload.id, staged)
        done = await world.uploads.complete(ME, upload.id, [part.id], surface="openai")
        assert done.file is not None
        assert await world.place.blobs.keys() == {blob_key(done.file.id)}
        assert (world.trash(), await world.notes()) == (set(), set())

    run(scene())


def test_row_is_refused_when_its_bytes_were_swept(world: World) -> None:
    async def scene() -> None:
        async with world.files.staged(content()) as staged:
            world.now += HOUR + 1
            assert await world.sweep() == (staged.written.key,)
            with pytest.raises(Unavailable, match="not stored in time"):
                await world.files.create(ME, staged, filename="a", purpose="assistants", surface="openai")
        assert await world.place.blobs.keys() == set()

    run(scene())


def test_note_is_renewed_while_bytes_arrive_slowly(world: World) -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(8):
            world.now += HOUR / 2
            assert await world.sweep() == ()
            yield b"a"

    async def scene() -> None:
        async with world.files.staged(slow()) as staged:
            assert await world.sweep() == ()
            file = await world.files.create(ME, staged, filename="a", purpose="assistants", surface="openai")
        assert blob_key(file.id) in await world.place.blobs.keys()

    run(scene())


def test_another_database_sweeps_and_purges_nothing(worlds: list[World]) -> None:
    async def scene() -> None:
        ours, other = worlds
        deleted, kept = await ours.file(), await ours.file()
        assert await ours.sweep() == ()
        await ours.files.delete(ME, deleted.id)
        await other.orphan()
        before = ours.place.left()
        other.now += 99 * DAY
        assert await claim(other.db, other.place.blobs) == "foreign"
        assert await other.sweep() == ()
        assert ours.place.left() == before
        assert await ours.is_there(kept)
        assert await adopt(other.db, other.place.blobs) is not None
        assert await claim(other.db, other.place.blobs) == "ours"
        assert len(await other.sweep()) == 1
        assert await claim(ours.db, ours.place.blobs) == "foreign"

    run(scene())


def test_database_claims_the_blobs_that_its_rows_know(worlds: list[World]) -> None:
    async def scene() -> None:
        ours, empty = worlds
        for _ in range(3):
            await ours.file()
        await ours.place.blobs.put(ids.new(""), content(), max_bytes=3)  # left by an earlier release
        assert await claim(empty.db, empty.place.blobs) == "unmarked"
        await empty.file()
        assert await claim(empty.db, empty.place.blobs) == "unmarked"
        assert await claim(ours.db, ours.place.blobs) == "ours"

    run(scene())


@pytest.mark.parametrize(
    ("stored", "rows", "notes", "lost", "expected"),
    [
        ("", "", "", "", True),
        ("", "ab", "", "ab", True),
        ("ab", "ab", "", "", True),
        ("abc", "ab", "c", "", True),
        ("a", "", "", "", False),
        ("a", "b", "", "b", False),
        ("abx", "ab", "", "", True),
        ("axy", "a", "", "", False),
        ("axyz", "a", "z", "", False),
        ("abx", "abc", "", "c", False),
        ("ab", "abc", "", "c", True),
    ],
)
def test_blobs_are_claimed_by_a_database_that_evidently_knows_them(
    stored: str, rows: str, notes: str, lost: str, expected: bool
) -> None:
    assert may_claim(set(stored), set(rows), set(notes), set(lost)) is expected
