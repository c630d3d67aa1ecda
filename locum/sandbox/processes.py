"""The processes of a session as the host sees them: stop and continue all of them, add up their memory and CPU time.

Covered: every descendant, also those that detached themselves (the kernel hands them to the session's process 1, or to
its keeper), and none outside the session, even when a number is used again. Not covered: what a process uses up
between two looks; resource limits bound each single process meanwhile. The CPU time of a process that ended under a
parent that ignores SIGCHLD is lost with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from locum.sandbox import linux

_MOST_PASSES = 20
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
        self._namespace = _namespace(self._pid)

    def kill(self) -> None:
        """The first takes all others with it."""
        self._signal_first(signal.SIGKILL)

    def interrupt(self) -> None:
        self._signal_first(signal.SIGINT)

    def stop(self) -> None:
        """Nobody computes between two cells. A pass that finds nobody new is the last."""
        self._signal_first(signal.SIGSTOP)
        stopped: set[int] = set()
        for _ in range(_MOST_PASSES):
            new = [pid for pid in self._others() if pid not in stopped]
            for pid in new:
                self._signal(pid, signal.SIGSTOP)
            if not new:
                return
            stopped.update(new)

    def go_on(self) -> None:
        for pid in self._others():
            self._signal(pid, signal.SIGCONT)
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
        return sum(_resident(pid)[0] for pid in (self._pid, *self._others()))

    def private_bytes(self) -> int:
        """Of its first process all that is neither file nor shared memory; right after the fork, what it inherited."""
        resident, shared = _resident(self._pid)
        return resident - shared

    def cpu_seconds(self) -> float:
        """Of all that are there, ended or not, and of those that somebody waited for, as the keeper does."""
        pids = {self._keeper or self._pid, self._pid, *self._others()}
        return sum(map(_cpu_ticks, pids)) / os.sysconf("SC_CLK_TCK")

    def let_go(self) -> None:
        """The descriptor is about to be closed: its number may be another process's a moment later."""
        self._pidfd = -1

    def _signal_first(self, number: int) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _signal(self, pid: int, number: int) -> None:
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                if self._is_member(pid):
                    signal.pidfd_send_signal(pidfd, number)
            finally:
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

    def _is_member(self, pid: int) -> bool:
        """Asked once we hold its pidfd: the number cannot come to mean another process any more."""
        if not self._keeper:
            return _namespace(pid) == self._namespace
        while pid > 1:
            pid = _parent(pid)
            if pid == self._keeper:
                return True
        return False


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                yield from map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())


def _memory(pid: int, inherited: int, share: int) -> int:
    """Private memory, and this process's share of what it shares; files that are merely mapped cost nothing."""
    try:
        fields = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        sizes = {line.split(":")[0]: line.split()[1] for line in fields[1:]}
        return (int(sizes["Pss_Anon"]) + int(sizes["Pss_Shmem"])) * 1024 - share
    except (OSError, KeyError):
        pass
    resident, shared = _resident(pid)
    return max(0, resident - shared - inherited)


def _resident(pid: int) -> tuple[int, int]:
    """All of its memory that is there, and what of that are files or shared memory."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
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


def host_pid(pidfd: int) -> int:
    """The number of a process in our own pid namespace, or 0 when it is gone."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    number = next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), 0)
    return max(number, 0)
