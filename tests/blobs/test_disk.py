"""What holds for the disk only. The rest is in test_blobs."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

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


def test_drafts_are_removed_once_they_are_old_and_nothing_else(tmp_path: Path) -> None:
    async def check() -> None:
        key = await put(DiskBlobs(tmp_path), 5)
        draft, other = tmp_path / "tmp" / "put_of_an_earlier_process", tmp_path / "tmp" / "thesis.doc"
        for path in (draft, other):
            path.write_bytes(b"x")
            os.utime(path, (1000, 1000))
        blobs = DiskBlobs(tmp_path)  # another process opens the same place while this one writes
        for drafts_before, is_left in ((999, True), (1001, False)):
            await blobs.purge(deleted_before="", drafts_before=drafts_before)
            assert draft.exists() == is_left
        assert other.exists()
        assert len(await read(blobs, key)) == 5

    asyncio.run(check())


class _Pausing(ThreadPoolExecutor):
    """Pauses the n-th job at its start, until `resume`."""

    def __init__(self, number: int) -> None:
        super().__init__(1)
        self._left = number
        self._resume = threading.Event()
        self.paused = threading.Event()
        self.paused_job: Future[Any] | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._left -= 1
        if self._left != 0:
            return super().submit(fn, *args, **kwargs)

        def wait_first() -> Any:
            self.paused.set()
            assert self._resume.wait(20)
            return fn(*args, **kwargs)

        self.paused_job = super().submit(wait_first)
        return self.paused_job

    def resume(self) -> None:
        """Let the job run, and wait for its end."""
        self._resume.set()
        assert self.paused_job is not None
        self.paused_job.exception(20)


@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_put_that_is_cancelled_during_a_step_leaves_nothing(tmp_path: Path, step: int, turns: int) -> None:
    """The steps are an append, the flush and the rename; a thread runs each to its end."""

    async def check() -> None:
        executor = _Pausing(step)
        asyncio.get_running_loop().set_default_executor(executor)
        upload = asyncio.create_task(put(DiskBlobs(tmp_path), 5))
        while not executor.paused.is_set():  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(0.001)
        upload.cancel()
        for _ in range(turns):  # of the event loop, before the step ends
            await asyncio.sleep(0)
            upload.cancel()
        executor.resume()
        with pytest.raises(asyncio.CancelledError):
            await upload

    asyncio.run(check())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
