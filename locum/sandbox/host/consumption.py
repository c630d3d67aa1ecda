"""What a session takes of the machine: memory, disk and processor time, looked at from outside and held to its limits.

Covered: all processes of the session and its files. A control group's figures are exact and cost next to nothing.
Without one the pages of every process are counted, which takes milliseconds and can be made to take seconds (many
processes that share much): it is done in a thread, one look at a time, and no further than the limit.

Not covered: what is taken and given back between two looks; on a disk without a quota, unlinked files that are only
mapped, until the disk is nearly full.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from locum.sandbox.host import collect
from locum.sandbox.host.cgroups import Group
from locum.sandbox.host.processes import ProcessTree
from locum.sandbox.limits import MIB, Limits

_MUCH = 16 * MIB
_LEAST_FREE, _LITTLE = 256 * MIB, 1 * MIB


class Consumption:
    """`memory`, `peak_memory` (bytes) and `cpu_seconds` are those of the last look. What `look` and `glance` return is
    why the session has to end; "" lets it live."""

    def __init__(
        self, tree: ProcessTree, group: Group | None, *, on_disk: bool, limits: Limits, heirs: Callable[[], int]
    ) -> None:
        """on_disk: its files are in a folder of the host, and no memory. heirs: how many processes besides the
        session's own have what it inherited from the zygote."""
        self.memory = self.peak_memory = 0
        self.cpu_seconds = 0.0
        self.is_current = True
        self._tree = tree
        self._group = group
        self._on_disk = on_disk
        self._limits = limits
        self._heirs = heirs
        self._looking = False
        self._inherited = tree.private_bytes() if group is None else 0
        self._size = tree.resident_bytes() if group is None else 0

    async def look(self, folder: int) -> str:
        self.is_current = True
        self.note_use()
        if self._looking:
            return ""
        self._looking = True
        try:
            if self._on_disk:
                return await self._look_at_files(folder) or await self._look_at_memory(0)
            return await self._look_at_memory(collect.used_bytes(folder))
        finally:
            self._looking = False

    async def glance(self, folder: int) -> str:
        """Look only if that is cheap, or if much may have come since: after a cell, somebody waits."""
        if self._group is None and self._full_size(folder) <= self._size + _MUCH:
            self.note_use()
            return ""
        return await self.look(folder)

    def note_use(self) -> None:
        """A group's figure outlives the processes."""
        seconds = self._group.cpu_seconds() if self._group is not None else None
        if seconds is None:
            seconds = self._tree.cpu_seconds()
        self.cpu_seconds = max(self.cpu_seconds, seconds)

    def ran_out_of_memory(self) -> str:
        """The kernel ends one process of a group that is too large; whoever waits for that one would wait for ever."""
        return self._too_much_memory() if self._group is not None and self._group.ran_out_of_memory() else ""

    async def _look_at_memory(self, files: int) -> str:
        memory = self._group.memory_bytes(files) if self._group is not None else None
        if memory is None:
            self._size = self._tree.resident_bytes() + files
            enough = self._limits.memory_bytes
            memory = await asyncio.to_thread(self._tree.memory_bytes, self._inherited, self._heirs(), enough) + files
        self.memory, self.peak_memory = memory, max(self.peak_memory, memory)
        too_much = memory > self._limits.memory_bytes
        return self.ran_out_of_memory() or (self._too_much_memory() if too_much else "")

    async def _look_at_files(self, folder: int) -> str:
        """A session without a file system of its own has no quota: its files are counted one by one."""
        count, size, free = await asyncio.to_thread(self._disk_use, os.dup(folder))
        if size > self._limits.disk_bytes:
            return f"it used more than {self._limits.disk_bytes // MIB} MiB of disk"
        if free < _LEAST_FREE and size > _LITTLE:
            return "the disk is full"
        return f"it made more than {self._limits.inodes} files" if count >= self._limits.inodes else ""

    def _disk_use(self, folder: int) -> tuple[int, int, int]:
        """Files, their bytes, and what is free beside them. In a thread, with a descriptor of its own: that of the
        session may be closed meanwhile."""
        try:
            count, size = collect.disk_use(folder, self._limits.inodes)
            return count, size + self._tree.unlinked_bytes(), collect.free_bytes(folder)
        finally:
            os.close(folder)

    def _full_size(self, folder: int) -> int:
        return self._tree.resident_bytes() + (0 if self._on_disk else collect.used_bytes(folder))

    def _too_much_memory(self) -> str:
        return f"it used more than {self._limits.memory_bytes // MIB} MiB of memory"
