"""A server that keeps its files in S3."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import openai
import pytest

from tests.blobs.buckets import BUCKET, S3Server
from tests.blobs.test_blobs import MB, whole
from tests.serving import ServerProcess


def test_files_live_in_the_bucket_and_survive_an_outage(s3: S3Server, tmp_path: Path) -> None:
    env = {**s3.env, "LOCUM_BLOB_URL": f"s3://{BUCKET}/files", "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path / "data", env=env) as server, server.openai(max_retries=0) as api:
        file = api.files.create(file=("a.bin", whole(20 * MB)), purpose="assistants")
        assert s3.objects() - {"files/database-id"} == {f"files/{file.id.removeprefix('file-')}"}
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
        day = datetime.now(UTC).date().isoformat()
        assert s3.objects() == {"files/database-id", f"files/deleted/{day}/{file.id.removeprefix('file-')}"}
    assert not (tmp_path / "data" / "blobs").exists()


def test_a_bad_url_keeps_the_server_from_starting_and_says_why(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", env={"LOCUM_BLOB_URL": "gs://bucket"})
    server.start()
    assert server.wait_until_dead() != 0
    assert "LOCUM_BLOB_URL=gs://bucket cannot be used: expected file:///folder or s3://bucket/prefix" in server.output
