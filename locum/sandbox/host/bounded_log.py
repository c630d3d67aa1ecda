"""The log of the sandbox host, bounded: one file, and the end of the one before it beside it."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

MAX_BYTES = 4 * 1024**2


class BoundedLog(logging.StreamHandler):  # type: ignore[type-arg]
    """Logs to standard error, which is the file at `path`, and keeps that file within `max_bytes`."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        super().__init__()
        self._path = path
        self._max_bytes = max_bytes

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        with contextlib.suppress(OSError):
            rotate(self.stream.fileno(), self._path, self._max_bytes)


def rotate(fd: int, path: Path, max_bytes: int) -> None:
    """Empty the file once it is longer than `max_bytes`, which moves its end to `<path>.1`.

    It is emptied, not renamed: zygotes have it open as well, and would go on with a file that nobody can see.
    """
    status = os.fstat(fd)
    if status.st_size <= max_bytes or not os.path.samestat(status, path.stat()):
        return
    with contextlib.suppress(OSError), path.open("rb") as file:  # on a full disk the end is lost
        file.seek(-max_bytes, os.SEEK_END)
        path.with_name(f"{path.name}.1").write_bytes(file.read(max_bytes))
    os.ftruncate(fd, 0)
