"""The processes of a session as the host sees them: stop and continue all of them, add up their memory.

Covered: every descendant, also those that detached themselves (the kernel hands them to the session's process 1, or to
its keeper), and none outside the session, even when a number is used again. Not covered: what a process uses up
between two looks; resource limits bound each single process meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from locum.sandbox import linux

_MOST_PASSES = 20


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

    def memory_bytes(self) -> int:
        with linux.acting_as(self._uid if self._keeper else -1):
            return sum(_memory(pid) for pid in (self._pid, *self._others()))

    def _signal_first(self, number: int) -> None:
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


def _memory(pid: int) -> int:
    """Private memory, and this process's share of what it shares; files that are merely mapped cost nothing."""
    try:
        fields = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        sizes = {line.split(":")[0]: line.split()[1] for line in fields[1:]}
        return (int(sizes["Pss_Anon"]) + int(sizes["Pss_Shmem"])) * 1024
    except (OSError, KeyError):
        pass
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
        return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def host_pid(pidfd: int) -> int:
    """The number of a process in our own pid namespace, or 0 when it is gone."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    number = next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), 0)
    return max(number, 0)
