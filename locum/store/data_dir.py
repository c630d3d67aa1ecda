"""The data directory: one process owns it, and one writes what is derived from files in it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import IO

from locum.errors import StartupError

_PATIENCE = 20.0
_AGAIN_SECONDS = 0.02


def lock_data_dir(directory: Path) -> IO[str]:
    """Take the data directory for this process: the returned file holds the lock until it is closed."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (directory / "lock").open("a+")
    except OSError as error:
        raise StartupError(
            f"The data directory {directory} cannot be used ({error.strerror}). Choose another with --data-dir."
        ) from None
    try:
        _lock(lock)
    except OSError:
        lock.close()
        raise StartupError(
            f"The data directory {directory} is in use by another Locum process. "
            "Stop that one, or choose another directory with --data-dir."
        ) from None
    return lock


async def lock_derived(directory: Path, *, patience: float = _PATIENCE) -> IO[str]:
    """Take what is derived from files (`search.db` and the keyword indexes) for this process, as above. Who has it may
    be about to end, as its server has: that is waited for, `patience` seconds at most."""
    end = asyncio.get_running_loop().time() + patience
    lock = (directory / "search.lock").open("a+")
    while True:
        try:
            _lock(lock)
        except OSError:
            if asyncio.get_running_loop().time() >= end:
                lock.close()
                raise StartupError(
                    f"The search data in {directory} is in use by another Locum process. Stop that one."
                ) from None
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            return lock


def _lock(file: IO[str]) -> None:
    """Take the one lock on an open file, or raise OSError at once."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
