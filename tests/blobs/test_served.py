"""A server that keeps its files in S3."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest

from locum import ids
from locum.access.principals import Principal
from locum.services.files import Files
from locum.store.sqlite import SQLite
from tests.blobs.buckets import BUCKET, S3Server
from tests.blobs.conftest import Place
from tests.blobs.test_blobs import MB, whole
from tests.serving import ServerProcess


def test_files_live_in_the_bucket_and_survive_an_outage(s3: S3Server, tmp_path: Path) -> None:
    env = {**s3.env, "LOCUM_BLOB_URL": f"s3://{BUCKET}/files", "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path / "data", env=env) as server, server.openai(max_retries=0) as api:
        file = api.files.create(file=("a.bin", whole(20 * MB)), purpose="assistants")
        assert {key for key in s3.objects() if key.startswith("files/")} == {f"files/{file.id.removeprefix('file-')}"}
        assert api.files.content(file.id).read() == whole(20 * MB)
        part = api.files.content(file.id, extra_headers={"range": "bytes=9000000-9999999"}).read()
        assert part == whole(20 * MB)[9_000_000:10_000_000]

        s3.stop()
        try:
            with pytest.raises(openai.InternalServerError) as raised:
                api.files.create(file=("b.bin", b"x"), purpose="assistants")
            assert raised.value.status_code == 503
            assert int(raised.value.response.headers["retry-after"]) > 0
            with pytest.raises(openai.InternalServerError, match="file store"):
                api.files.content(file.id)
            assert api.files.retrieve(file.id).bytes == 20 * MB  # rows are not there
        finally:
            s3.start()
        assert api.files.content(file.id).read() == whole(20 * MB)
        api.files.delete(file.id)
        assert s3.objects() == set()
    assert not (tmp_path / "data" / "blobs").exists()


def test_what_never_became_a_file_is_swept_once_it_is_old_enough_and_nothing_else(place: Place, tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    async def scene() -> None:
        db = SQLite(tmp_path / "locum.db")
        files = Files(db, place.blobs, time.time)
        me = Principal(resource="default")
        async with files.staged(chunks()) as staged:
            kept = await files.create(me, staged, filename="a", purpose="assistants", surface="openai")
        orphan = await place.blobs.put(ids.new(""), chunks(), max_bytes=1)
        place.add_foreign()
        try:
            assert await files.sweep(time.time() - 3600) == ()
            assert await files.sweep(time.time() + 60) == (orphan.key,)
            assert await files.sweep(time.time() + 60) == ()
            _, content = await files.content(me, kept.id)
            assert [piece async for piece in content] == [b"x"]
        finally:
            await db.close()

    asyncio.run(scene())


def test_a_bad_url_keeps_the_server_from_starting_and_says_why(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", env={"LOCUM_BLOB_URL": "gs://bucket"})
    server.start()
    assert server.wait_until_dead() != 0
    assert "LOCUM_BLOB_URL=gs://bucket cannot be used: expected file:///folder or s3://bucket/prefix" in server.output
