"""Control groups for a while: one that counts memory exactly, and one in which processors are shared as in a service.

Where no group for memory can be made (an ordinary user, a container), the sum of proportional shares (PSS) stands in,
which knows nothing of the kernel's own memory: page tables, mounts, namespaces.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measuring import MIB, descendants, memory_mib

# Controller (none: version 2), where it is, and a file that shows that it is at work.
_MEMORY = (("memory", "/sys/fs/cgroup/memory", "memory.usage_in_bytes"), ("", "/sys/fs/cgroup", "memory.current"))
_PROCESSORS = (("cpu", "/sys/fs/cgroup/cpu", "cpu.shares"), ("", "/sys/fs/cgroup", "cpu.weight"))
_PATIENCE = 10.0


class Meter:
    """Memory of every process that this one starts until `leave`, and of all below those."""

    def __init__(self, group: Path | None, usage: str) -> None:
        self.how = "memory cgroup, the kernel's included" if group else "sum of PSS, without the kernel's"
        self._group = group
        self._usage = usage

    def leave(self) -> None:
        """What has been started stays."""
        if self._group is not None:
            _enter(self._group.parent)

    def mib(self) -> float:
        if self._group is None:
            return self.pss_mib()
        return int((self._group / self._usage).read_text()) / MIB

    def kernel_mib(self) -> float | None:
        """Of all that, the kernel's own."""
        if self._group is None:
            return None
        with contextlib.suppress(OSError):
            return int((self._group / "memory.kmem.usage_in_bytes").read_text()) / MIB
        stat = (self._group / "memory.stat").read_text().splitlines()
        return next((int(line.split()[1]) / MIB for line in stat if line.startswith("kernel ")), None)

    def pss_mib(self) -> float:
        return sum(memory_mib(pid)["pss"] for pid in descendants(os.getpid())[1:])


@contextmanager
def metering() -> Iterator[Meter]:
    """What is counted must have ended when this ends."""
    with _inside(_MEMORY) as (group, usage):
        yield Meter(group, usage)


@contextmanager
def like_a_service() -> Iterator[bool]:
    """Whether this process, and all it starts, is now in a group of processes that share the processors one by one.

    In the root group the kernel makes a scheduling group of every session (autogroup), and a session's hundred busy
    processes weigh as much as one; in a service or a container it does not.
    """
    with _inside(_PROCESSORS) as (group, _):
        yield group is not None


@contextmanager
def _inside(hierarchies: tuple[tuple[str, str, str], ...]) -> Iterator[tuple[Path | None, str]]:
    group, file = _make(hierarchies)
    if group is None:
        yield None, ""
        return
    try:
        _enter(group)
        yield group, file
    finally:
        _enter(group.parent)
        _remove(group)


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _make(hierarchies: tuple[tuple[str, str, str], ...]) -> tuple[Path | None, str]:
    """Below the group this process is in, so that whatever limits that one has still hold."""
    for controller, root, file in hierarchies:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            group = Path(f"{root}{path}") / f"bench-{os.getpid()}"
            if controller not in controllers.split(",") or not group.parent.is_dir():
                continue
            try:
                group.mkdir()
            except OSError:
                continue
            if (group / file).exists():
                return group, file
            group.rmdir()
    return None, ""


def _remove(group: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
