"""The setting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from locum.blobs.disk import DiskBlobs
from locum.blobs.open import open_blobs
from locum.blobs.s3 import S3Blobs
from locum.errors import StartupError


def test_without_a_url_blobs_are_in_the_data_directory(tmp_path: Path) -> None:
    assert isinstance(open_blobs(None, tmp_path), DiskBlobs)
    assert (tmp_path / "blobs").is_dir()


def test_a_folder_may_be_named(tmp_path: Path) -> None:
    assert isinstance(open_blobs((tmp_path / "my files").as_uri(), tmp_path / "data"), DiskBlobs)
    assert [path.name for path in tmp_path.iterdir()] == ["my files"]


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://my.bucket-1/a", "s3://bucket/a/b_c/"])
def test_a_bucket_may_be_named(url: str, tmp_path: Path) -> None:
    assert isinstance(open_blobs(url, tmp_path), S3Blobs)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket",
        "/srv/blobs",
        "file:///",
        "file://server/share",
        "file:///dev/null/x",
        "gs://bucket/prefix",
        "S3:///prefix",
        "s3://",
        "s3://B_UCKET/x",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "s3://bucket/a b",
        "s3://bucket/a?region=x",
        "s3://bucket/a#b",
        "s3://bucket:9000/a",
        "s3://[bucket/a",
    ],
)
def test_a_url_that_cannot_be_used_is_said_in_one_line(url: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError) as raised:
        open_blobs(url, tmp_path)
    assert raised.value.message.startswith(f"LOCUM_BLOB_URL={url} cannot be used: ")
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("url", ["s3://key:secret@bucket/a", "s3://key:sec/ret@bucket/a", "s3://key:secret@bucket?x"])
def test_a_secret_in_a_url_is_refused_and_not_shown(url: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError) as raised:
        open_blobs(url, tmp_path)
    assert "ret" not in raised.value.message.replace("AWS_SECRET", "")


def test_a_missing_client_is_said_with_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['obstore'] = None\n"
        "from pathlib import Path\n"
        "from locum.blobs.open import open_blobs\n"
        "from locum.errors import StartupError\n"
        "open_blobs(None, Path(sys.argv[1]))\n"
        "try:\n    open_blobs('s3://bucket', Path())\n"
        "except StartupError as error:\n    print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert "pip install 'locum[s3]'" in done.stdout
