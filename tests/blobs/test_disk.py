"""What holds for the disk only. The rest is in test_blobs."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from locum.blobs.disk import DiskBlobs
from locum.errors import StorageFull
from tests.blobs.test_blobs import MB, put, read


@pytest.fixture
def small_files() -> Iterator[None]:
    """The system takes no file beyond 4 MB and a bit, as a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MB + 1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("size", [4 * MB + 1001, 20 * MB])
def test_a_file_without_room_is_refused_in_words_and_leaves_nothing(tmp_path: Path, size: int) -> None:
    blobs = DiskBlobs(tmp_path)
    with pytest.raises(StorageFull, match="no room left"):
        asyncio.run(put(blobs, size))
    assert list(tmp_path.glob("*/*")) == []
    key = asyncio.run(put(blobs, 4 * MB + 1000))
    assert len(asyncio.run(read(blobs, key))) == 4 * MB + 1000


def test_what_was_half_written_is_gone_after_a_start_and_nothing_else(tmp_path: Path) -> None:
    async def check() -> None:
        key = await put(DiskBlobs(tmp_path), 5)
        (tmp_path / "tmp" / "put_of_an_earlier_process").write_bytes(b"x")
        (tmp_path / "tmp" / "thesis.doc").write_bytes(b"x")
        blobs = DiskBlobs(tmp_path)
        assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["thesis.doc"]
        assert len(await read(blobs, key)) == 5

    asyncio.run(check())
