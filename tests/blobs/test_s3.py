"""What holds for S3 only. The rest is in test_blobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from locum import ids
from locum.blobs.s3 import S3Blobs
from locum.errors import Unavailable
from tests.blobs.buckets import BUCKET, S3Server
from tests.blobs.test_blobs import MB, content, put, read, whole


def test_a_blob_is_one_object_below_the_prefix(s3: S3Server) -> None:
    key = asyncio.run(put(S3Blobs(BUCKET, "a/b"), 5))
    assert s3.objects() == {f"a/b/{key}"}


def test_a_prefix_may_be_left_out(s3: S3Server) -> None:
    key = asyncio.run(put(S3Blobs(BUCKET, ""), 5))
    assert s3.objects() == {key}


def test_prefixes_do_not_see_each_other(s3: S3Server) -> None:
    async def check() -> None:
        key = await put(S3Blobs(BUCKET, "a"), 5)
        await put(S3Blobs(BUCKET, "ab"), 5)
        assert await S3Blobs(BUCKET, "a").keys() == {key}

    asyncio.run(check())


def test_object_that_the_store_does_not_copy_is_retired_whole(s3: S3Server) -> None:
    async def check() -> None:
        blobs = S3Blobs(BUCKET, "a", most_copied=9 * MB)
        key = await put(blobs, 20 * MB)
        await blobs.retire(key, "2026-12-01")
        assert await read(S3Blobs(BUCKET, "a/deleted/2026-12-01"), key) == whole(20 * MB)

    asyncio.run(check())
    assert len(s3.objects()) == 1


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_no_place_to_store(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Unavailable) as raised:
        asyncio.run(put(S3Blobs("not-there", ""), 5))
    assert "not-there" not in raised.value.message
    assert "NoSuchBucket" in "".join(capfd.readouterr())  # the operator is told


def test_a_store_that_goes_away_during_an_upload_ends_it(s3: S3Server) -> None:
    async def check() -> None:
        blobs = S3Blobs(BUCKET, "")

        async def chunks() -> AsyncIterator[bytes]:
            async for chunk in content(12 * MB):
                yield chunk
            s3.stop()
            async for chunk in content(40 * MB):
                yield chunk

        try:
            with pytest.raises(Unavailable):
                await blobs.put(ids.new(""), chunks(), max_bytes=MB * 100)
        finally:
            s3.start()
        assert s3.objects() == set()
        assert len(await read(blobs, await put(blobs, 12 * MB))) == 12 * MB

    asyncio.run(check())


@asynccontextmanager
async def far_away(port: int, seconds: float) -> AsyncIterator[str]:
    """The store as from the other side of the world: requests arrive at once, answers that much later. Its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store_reader, store_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(carry(reader, store_writer, 0))
                group.create_task(carry(store_reader, writer, seconds))
        except* ConnectionError:
            pass

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, delay: float) -> None:
        with closing(target):
            while data := await source.read(MB):
                await asyncio.sleep(delay)
                target.write(data)
                await target.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.mark.parametrize("moment", [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75])
def test_an_upload_that_is_cancelled_while_the_store_answers_leaves_nothing(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, moment: float
) -> None:
    async def check() -> None:
        async with far_away(s3.port, 0.2) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            upload = asyncio.create_task(put(S3Blobs(BUCKET, ""), 9 * MB))
            done, _ = await asyncio.wait([upload], timeout=moment)
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
            assert s3.uploads() == set()
            assert len(s3.objects()) == len(done)

    asyncio.run(check())


def test_many_uploads_at_once_come_back_each_as_it_was(s3: S3Server) -> None:
    async def check() -> None:
        blobs = S3Blobs(BUCKET, "")

        async def through(size: int) -> None:
            assert len(await read(blobs, await put(blobs, size))) == size

        await asyncio.gather(*(through(9 * MB + each) for each in range(8)))

    asyncio.run(check())
    assert s3.uploads() == set()
