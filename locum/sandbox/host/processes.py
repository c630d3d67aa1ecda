"""The processes of a session as the host sees them: stop and continue all of them, add up their memory and CPU time.

Covered: every descendant, also those that detached themselves (the kernel hands them to the session's process 1, or to
its keeper), those whose first thread has ended, and those that may not be looked into; none outside the session, even
when a number is used again. Not covered: what a process uses up between two looks; resource limits bound each single
process meanwhile. The CPU time of a process that ended under a parent that ignores SIGCHLD is lost with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

from locum.sandbox.isolation import linux

# Stopped, ended, or in a call that does not return before a pending stop is obeyed (a parent in vfork).
_STILL = frozenset("TtZXD")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ProcessTree:
    """The first process of a session, which is ours by its pidfd, and everything below it.

    keeper: the process above it that inherits what detaches itself, or 0 where the first is process 1 of a pid
    namespace. uid: whose processes they are on the host, or -1 for our own.
    """

    def __init__(self, pidfd: int, *, keeper: int = 0, uid: int = -1) -> None:
        self._pid = host_pid(pidfd)
        self._pidfd = pidfd
        self._keeper = keeper
        self._uid = uid

    def kill(self) -> None:
        """The first takes all others with it."""
        self._signal_first(signal.SIGKILL)

    def interrupt(self) -> None:
        self._signal_first(signal.SIGINT)

    def stop(self) -> bool:
        """Stop whatever moves. True: nothing did.

        Once is not enough: a process that is not stopped yet can continue those that are, or have a child meanwhile.
        """
        moving = [pid for pid in (self._pid, *self._others()) if _moves(pid)]
        if self._pid in moving:
            self._signal_first(signal.SIGSTOP)
        self._signal(moving, signal.SIGSTOP)
        return not moving

    def go_on(self) -> None:
        self._signal(self._others(), signal.SIGCONT)
        self._signal_first(signal.SIGCONT)

    def memory_bytes(self, inherited: int, heirs: int, enough: int) -> int:
        """What the session uses up: milliseconds for each of its processes, as the kernel walks all their pages.

        Of the `inherited` bytes, which so many processes of others have from the zygote as well, its share is left out.
        Counting ends once it is more than `enough`.
        """
        members = (self._pid, *self._others())
        share = inherited // (heirs + len(members))
        total = 0
        with linux.acting_as(self._uid if self._keeper else -1):
            for pid in members:
                total += _memory(pid, inherited, share)
                if total > enough:
                    break
        return max(0, total)

    def resident_bytes(self) -> int:
        """More than it uses up, for next to nothing: whatever is shared counts in full, and for each process."""
        return sum(_resident(f"/proc/{pid}")[0] for pid in (self._pid, *self._others()))

    def private_bytes(self) -> int:
        """Of its first process all that is neither file nor shared memory; right after the fork, what it inherited."""
        resident, shared = _resident(f"/proc/{self._pid}")
        return resident - shared

    def cpu_seconds(self) -> float:
        """Of all that are there, ended or not, and of those that somebody waited for, as the keeper does."""
        pids = {self._keeper or self._pid, self._pid, *self._others()}
        return sum(map(_cpu_ticks, pids)) / os.sysconf("SC_CLK_TCK")

    def unlinked_bytes(self) -> int:
        """Disk that its processes hold by files which have no name any more."""
        held: dict[tuple[int, int], int] = {}
        with linux.acting_as(self._uid if self._keeper else -1):
            for pid in (self._pid, *self._others()):
                with contextlib.suppress(OSError):
                    for fd in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
                        with contextlib.suppress(OSError):
                            about = os.stat(f"/proc/{pid}/fd/{fd}")  # noqa: PTH116
                            if about.st_nlink == 0 and stat.S_ISREG(about.st_mode):
                                held[about.st_dev, about.st_ino] = about.st_blocks * 512
        return sum(held.values())

    def let_go(self) -> None:
        """The descriptor is about to be closed: its number may be another process's a moment later."""
        self._pidfd = -1

    def _signal_first(self, number: int) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _signal(self, pids: list[int], number: int) -> None:
        """Those that are ours still after they were opened: a number may belong to somebody else a moment later."""
        opened: dict[int, int] = {}
        try:
            for pid in pids:
                with contextlib.suppress(OSError):
                    opened[pid] = os.pidfd_open(pid)
            ours = self._others() if opened else []
            for pid in opened.keys() & set(ours):
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(opened[pid], number)
        finally:
            for pidfd in opened.values():
                os.close(pidfd)

    def _others(self) -> list[int]:
        found: list[int] = []
        waiting = [self._keeper or self._pid]
        while waiting:
            for child in _children(waiting.pop()):
                waiting.append(child)
                if child != self._pid:
                    found.append(child)
        return found


def _threads(pid: int) -> list[str]:
    try:
        return [f"/proc/{pid}/task/{thread}" for thread in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208
    except OSError:
        return []


def _children(pid: int) -> Iterator[int]:
    for thread in _threads(pid):
        with contextlib.suppress(OSError):
            yield from map(int, Path(f"{thread}/children").read_text().split())


def _moves(pid: int) -> bool:
    """Each thread is asked: a process whose first thread has ended looks like a dead one."""
    for thread in _threads(pid):
        with contextlib.suppress(OSError):
            if Path(f"{thread}/stat").read_text().rpartition(")")[2].split()[0] not in _STILL:
                return True
    return False


def _memory(pid: int, inherited: int, share: int) -> int:
    """Private memory, and this process's share of what it shares; files that are merely mapped cost nothing.

    A first thread that has ended has no memory to show; any other thread shows that of all.
    """
    for folder in _views(pid):
        with contextlib.suppress(OSError, KeyError):
            fields = Path(f"{folder}/smaps_rollup").read_text().splitlines()
            sizes = {line.split(":")[0]: line.split()[1] for line in fields[1:]}
            return (int(sizes["Pss_Anon"]) + int(sizes["Pss_Shmem"])) * 1024 - share
        resident, shared = _resident(folder)
        if resident:
            return max(0, resident - shared - inherited)
    return 0


def _views(pid: int) -> Iterator[str]:
    yield f"/proc/{pid}"
    yield from _threads(pid)


def _resident(folder: str) -> tuple[int, int]:
    """All memory that is there, and what of that are files or shared memory."""
    try:
        pages = Path(f"{folder}/statm").read_text().split()
    except OSError:
        return 0, 0
    return int(pages[1]) * _PAGE, int(pages[2]) * _PAGE


def _cpu_ticks(pid: int) -> int:
    """User and system time of a process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # a name may hold anything
        return sum(map(int, fields[11:15]))
    except (OSError, ValueError):
        return 0


def end_first(pidfd: int, uid: int) -> None:
    """Have the kernel end this process, and its children, before others when memory runs out."""
    with contextlib.suppress(OSError), linux.acting_as(uid):
        Path(f"/proc/{host_pid(pidfd)}/oom_score_adj").write_text("1000")


def host_pid(pidfd: int) -> int:
    """The number of a process in our own pid namespace, or 0 when it is gone."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    number = next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), 0)
    return max(number, 0)
