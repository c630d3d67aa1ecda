"""Shares of the machine among the zygotes of one sandboxd: user ids, control groups, folders outside its own.

Covered: no two sandboxds of a machine take the same user ids; folders of one that was killed are removed by the next.
Not covered: containers on one kernel do not see each other's names; a random share makes a clash unlikely.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import secrets
import socket
import tempfile
from collections import deque
from pathlib import Path

from locum.sandbox.host import collect
from locum.sandbox.host.cgroups import Group, Groups
from locum.sandbox.isolation import jail

_CLOSE_ATTEMPTS = 100
_SHARES = 60_000  # up to the last id that is positive everywhere
_SHARE_ATTEMPTS = 8


class Machine:
    """Slots for user ids (the one longest unused is taken first), control groups, and home folders.

    share: part of the machine's user ids that no other sandboxd takes. It is claimed by a socket name that only one
    process can hold, and that is free again when that process dies.
    """

    def __init__(self, groups: Groups | None = None) -> None:
        self.groups = groups
        self._name = socket.socket(socket.AF_UNIX)
        self.share = _take_share(self._name)
        self.slots = deque(range(jail.SLOTS))
        self.numbers = itertools.count(1)
        self.homes: dict[str, int] = {}  # each with its lock

    def remove_group(self, group: Group | None) -> None:
        if self.groups is not None and group is not None:
            self.groups.remove(group)

    async def close(self) -> None:
        self._name.close()
        await self._clear_away()

    async def _clear_away(self) -> None:
        """Remove cells' home folders and control groups, as soon as the killed processes release them."""
        for _ in range(_CLOSE_ATTEMPTS):
            for home in [home for home in self.homes if _is_removed(home)]:
                os.close(self.homes.pop(home))
            if not self.homes and (self.groups is None or self.groups.close()):
                return
            await asyncio.sleep(0.02)


def _take_share(name: socket.socket) -> int:
    """By chance first: where names are seen by fewer than ids are (two containers), they should differ all the same."""
    share = 0
    for _ in range(_SHARE_ATTEMPTS):
        share = secrets.randbelow(_SHARES)
        with contextlib.suppress(OSError):
            name.bind(f"\0locum-sandbox-{share}")
            break
    return share


def _is_removed(home: str) -> bool:
    collect.remove_folder(home)
    return not Path(home).exists()


def make_home() -> tuple[str, int]:
    """Make a folder that every user may pass through and only we may list; return its path and its lock.

    Folders whose lock nobody holds any more are removed.
    """
    beginning = f"locum-sandbox-{os.getuid()}-"
    for folder in Path(tempfile.gettempdir()).glob(f"{beginning}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == os.getuid():
                os.close(_lock(folder))
                collect.remove_folder(folder)
    home = tempfile.mkdtemp(prefix=f"{beginning}{os.getpid()}-")
    lock = _lock(home)
    Path(home).chmod(0o711)
    return home, lock


def _lock(folder: str | Path) -> int:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd
