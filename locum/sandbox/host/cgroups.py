"""Control groups: one per session, where this machine lets us make some.

Covered: the memory of a session with all its processes, its files and what the kernel keeps for it (page tables, pipes,
socketpairs) has an end that the kernel itself keeps; so have the number of its tasks and its share of the processors.
With version 2 everybody in a session is frozen between two cells, and killed at once.

Not covered: most machines give an ordinary user no group of its own; then resource limits and the memory watchdog stand
alone. Bytes that the host puts into a session's files are charged to the host. Version 2 was written from the kernel's
documentation and has not been run: there was no machine with it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from locum.sandbox.limits import Limits

_PERIOD_US = 100_000
_PREFIX, _MOVED = "locum-", "locum-server"


class _Names(NamedTuple):
    """What the kernel calls the files. `own` is memory that no file is behind."""

    memory_limit: str
    memory_events: str
    own: str
    cpu_limit: str
    cpu_used: str


_V1 = _Names(
    memory_limit="memory.limit_in_bytes",
    memory_events="memory.oom_control",
    own="rss",
    cpu_limit="cpu.cfs_quota_us",
    cpu_used="cpuacct.usage",
)
_V2 = _Names(
    memory_limit="memory.max",
    memory_events="memory.events",
    own="anon",
    cpu_limit="cpu.max",
    cpu_used="cpu.stat",
)


class Groups:
    """The folder below which this sandboxd makes its sessions' groups, once for each controller it was given."""

    def __init__(self, folders: dict[str, Path], *, version: int) -> None:
        self.version = version
        self._folders = folders
        self._leaving: list[Group] = []

    def __str__(self) -> str:
        return f"cgroup v{self.version} ({', '.join(sorted(self._folders))})"

    def make(self, name: str, limits: Limits) -> Group | None:
        """An empty group with these limits, or None when the kernel refuses. In any thread."""
        group = Group({kind: folder / name for kind, folder in self._folders.items()}, version=self.version)
        try:
            group.begin(limits)
        except OSError:
            group.remove()
            return None
        return group

    def remove(self, group: Group) -> None:
        """Once its last process is gone, which may be a moment from now."""
        self._leaving.append(group)
        self.sweep()

    def sweep(self) -> None:
        self._leaving = [group for group in self._leaving if not group.remove()]

    def close(self) -> bool:
        """Whether everything of ours is gone."""
        self.sweep()
        return Group(self._folders, version=self.version).remove()


class Group:
    """One session's. Figures are in bytes and seconds; 0 where the controller is not there."""

    def __init__(self, folders: dict[str, Path], *, version: int) -> None:
        self._folders = folders
        self._version = version
        self._names = _V1 if version == 1 else _V2

    def begin(self, limits: Limits) -> None:
        for folder in self._all():
            folder.mkdir(parents=True, exist_ok=True)
        if "memory" in self._folders:
            self._write("memory", self._names.memory_limit, str(limits.memory_bytes))
            with contextlib.suppress(OSError):  # not there without swap accounting
                swap = ("memory.memsw.limit_in_bytes", str(limits.memory_bytes))
                self._write("memory", *(swap if self._version == 1 else ("memory.swap.max", "0")))
            if self._version == 2:
                self._write("memory", "memory.oom.group", "1")
        if "pids" in self._folders:
            self._write("pids", "pids.max", str(limits.processes))
        if "cpu" in self._folders and limits.cpus:
            quota = int(limits.cpus * _PERIOD_US)
            with contextlib.suppress(OSError):  # more than the groups above have, which is limit enough
                self._write("cpu", self._names.cpu_limit, str(quota) if self._version == 1 else f"{quota} {_PERIOD_US}")

    def doors(self) -> list[int]:
        """Descriptors through which a process of one thread enters by writing "0" to each. The kernel does that at
        once; to move another process, or one of several threads, it first waits for all processors (5 to 20 ms).
        Version 2 has no such way: [], as where the kernel refuses."""
        opened: list[int] = []
        try:
            for folder in self._all() if self._version == 1 else ():
                opened.append(os.open(folder / "tasks", os.O_WRONLY | os.O_CLOEXEC))
        except OSError:
            while opened:
                os.close(opened.pop())
        return opened

    def add(self, pid: int) -> bool:
        """Whether that process is in it now. pid: 0 for one that has ended; written there, it would mean ourselves."""
        try:
            for folder in self._all() if pid else ():
                (folder / "cgroup.procs").write_text(str(pid))
        except OSError:
            return False
        return pid > 0

    def memory_bytes(self, files: int) -> int | None:
        """What the session has taken: its own memory, and its files, `files` bytes of which are memory and only partly
        charged to it; None where memory is not counted."""
        try:
            found = self._table("memory", "memory.stat")
        except (OSError, KeyError):
            return None
        return found.get(self._names.own, 0) + max(found.get("shmem", 0), files)

    def ran_out_of_memory(self) -> bool:
        try:
            return self._table("memory", self._names.memory_events).get("oom_kill", 0) > 0
        except (OSError, KeyError):
            return False

    def cpu_seconds(self) -> float | None:
        try:
            if self._version == 2:
                return self._table("cpu", self._names.cpu_used)["usage_usec"] / 1e6
            return int((self._folders["cpuacct"] / self._names.cpu_used).read_text()) / 1e9
        except (OSError, KeyError):
            return None

    def freeze(self, frozen: bool) -> bool:
        """Whether everybody is (or is no longer) frozen. Version 1 cannot kill what it has frozen, so it is not asked:
        a sandboxd that dies would leave sessions behind that nothing can end."""
        if self._version == 1:
            return False
        with contextlib.suppress(OSError):
            self._write("pids", "cgroup.freeze", "1" if frozen else "0")
            return True
        return False

    def remove(self) -> bool:
        """Whether nothing of it is left."""
        left = False
        for folder in self._all():
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                left = True
        return not left

    def _all(self) -> set[Path]:
        return set(self._folders.values())

    def _write(self, controller: str, name: str, text: str) -> None:
        (self._folders[controller] / name).write_text(text)

    def _table(self, controller: str, name: str) -> dict[str, int]:
        lines = (self._folders[controller] / name).read_text().splitlines()
        return {line.split()[0]: int(line.split()[1]) for line in lines}


def find(process: Path = Path("/proc/self")) -> Groups | None:
    """Groups for the sessions of this process, or None where it may not make any."""
    try:
        own = folders((process / "cgroup").read_text(), (process / "mountinfo").read_text())
    except OSError:
        return None
    return _version_1(own) or _version_2(own)


def memory_limit(process: Path = Path("/proc/self")) -> int | None:
    """Bytes that this process and all others of its groups may take together, as far as it can be seen from here."""
    try:
        own = folders((process / "cgroup").read_text(), (process / "mountinfo").read_text())
    except OSError:
        return None
    limits = []
    for controller, names in (("memory", _V1), ("", _V2)):
        if controller in own:
            for folder in (own[controller], *own[controller].parents):
                with contextlib.suppress(OSError, ValueError):  # "max" is no number
                    limits.append(int((folder / names.memory_limit).read_text()))
    return min(limits, default=None)


def _version_1(own: dict[str, Path]) -> Groups | None:
    given: dict[str, Path] = {}
    for controller in ("memory", "pids", "cpu", "cpuacct"):
        if controller in own:
            _remove_abandoned(own[controller])
            folder = own[controller] / f"{_PREFIX}{os.getpid()}"
            with contextlib.suppress(OSError):
                folder.mkdir(exist_ok=True)
                given[controller] = folder
    if "memory" not in given:
        for folder in given.values():
            folder.rmdir()
        return None
    return Groups(given, version=1)


def _version_2(own: dict[str, Path]) -> Groups | None:
    """Only below a group that was handed to us: of a container, or by systemd (`Delegate=yes`). A group that has
    limited groups below it may hold no processes itself, so those that are in it move to one of their own first."""
    above = own.get("")
    if above is not None and above.name == _MOVED:  # by an earlier sandboxd of this server
        above = above.parent
    if above is None or not _is_delegated(above):
        return None
    _remove_abandoned(above)
    try:
        others = above / _MOVED
        others.mkdir(exist_ok=True)
        for pid in (above / "cgroup.procs").read_text().split():
            (others / "cgroup.procs").write_text(pid)
        (above / "cgroup.subtree_control").write_text("+memory +pids +cpu")
        folder = above / f"{_PREFIX}{os.getpid()}"
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.subtree_control").write_text("+memory +pids +cpu")
    except OSError:
        return None
    return Groups(dict.fromkeys(("memory", "pids", "cpu"), folder), version=2)


def _is_delegated(folder: Path) -> bool:
    for attribute in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(folder, attribute) == b"1":
                return True
    at_the_top = not (folder.parent / "cgroup.controllers").exists()
    return at_the_top and (folder / "cgroup.type").exists()  # a container's: the machine's own top has no type


def folders(groups: str, mounts: str) -> dict[str, Path]:
    """From a process's `cgroup` and `mountinfo`: controller -> folder of the group it is in; "" is version 2's."""
    mounted: dict[str, tuple[str, str]] = {}  # controller -> (what is mounted, where)
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, at = before.split()[3:5]
        kind, _, options = after.split(" ", 2)  # what is mounted may have no name
        if kind == "cgroup2":
            mounted[""] = root, at
        elif kind == "cgroup":
            mounted |= dict.fromkeys(options.split(","), (root, at))
    found = {}
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in mounted:
                root, at = mounted[controller]
                below = path.removeprefix(root.rstrip("/")) if root != "/" else path
                found[controller] = Path(at) / below.strip("/")
    return found


def _remove_abandoned(above: Path) -> None:
    """Groups of sandboxds that are dead; a group with a process in it cannot be removed."""
    with contextlib.suppress(OSError):
        for folder in above.glob(f"{_PREFIX}[0-9]*"):
            if not Path(f"/proc/{folder.name.removeprefix(_PREFIX)}").exists():
                for below in folder.iterdir():
                    if below.is_dir():
                        _remove_quietly(below)
                _remove_quietly(folder)


def _remove_quietly(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
