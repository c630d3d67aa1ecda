"""What processes use of the machine's memory, exactly: a memory cgroup of our own counts pages, files and the kernel's.

Where no group can be made (an ordinary user, a container), the sum of proportional shares (PSS) stands in; it knows
nothing of the kernel's own memory: page tables, mounts, namespaces.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measuring import MIB, descendants, memory_mib

_HIERARCHIES = (("memory", "/sys/fs/cgroup/memory", "memory.usage_in_bytes"), ("", "/sys/fs/cgroup", "memory.current"))
_PATIENCE = 10.0


class Meter:
    """Memory of every process that this one starts until `leave`, and of all below those."""

    def __init__(self, group: Path | None, usage: str) -> None:
        self.how = "memory cgroup, the kernel's included" if group else "sum of PSS, without the kernel's"
        self._group = group
        self._usage = usage

    def enter(self) -> None:
        if self._group is not None:
            (self._group / "cgroup.procs").write_text(str(os.getpid()))

    def leave(self) -> None:
        """What has been started stays."""
        if self._group is not None:
            (self._group.parent / "cgroup.procs").write_text(str(os.getpid()))

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
    group, usage = _make_group()
    meter = Meter(group, usage)
    try:
        meter.enter()
        yield meter
    finally:
        meter.leave()
        if group is not None:
            _remove(group)


def _make_group() -> tuple[Path | None, str]:
    """Below the group this process is in, so that whatever limits that one has still hold."""
    for controller, root, usage in _HIERARCHIES:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            group = Path(f"{root}{path}") / f"bench-{os.getpid()}"
            if controller not in controllers.split(",") or not group.parent.is_dir():
                continue
            try:
                group.mkdir()
            except OSError:
                continue
            if (group / usage).exists():
                return group, usage
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
