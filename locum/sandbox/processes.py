"""The processes of a session as the host sees them: stop and continue all of them, add up their memory.

Covered: every descendant, also those that detached themselves (the kernel hands them to the session's process 1, or to
its keeper), those whose first thread has ended, and those that may not be looked into; none outside the session, even
when a number is used again. Not covered: what a process uses up between two looks; resource limits bound each single
process meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from locum.sandbox import linux

# Stopped, ended, or in a call that does not return before a pending stop is obeyed (a parent in vfork).
_STILL = frozenset("TtZXD")


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

    def cpu_seconds(self) -> float:
        return sum(map(_cpu_seconds, (self._pid, *self._others())))

    def go_on(self) -> None:
        self._signal(self._others(), signal.SIGCONT)
        self._signal_first(signal.SIGCONT)

    def memory_bytes(self, enough: int | None = None) -> int:
        """Counting takes seconds where many processes share much memory; it ends once it is `enough`."""
        total = 0
        with linux.acting_as(self._uid if self._keeper else -1):
            for pid in (self._pid, *self._others()):
                total += _memory(pid)
                if enough is not None and total > enough:
                    break
        return total

    def _signal_first(self, number: int) -> None:
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


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def _memory(pid: int) -> int:
    """Private memory, and this process's share of what it shares; files that are merely mapped cost nothing.

    A first thread that has ended has no memory to show; any other thread shows that of all.
    """
    for folder in (f"/proc/{pid}", *_threads(pid)):
        with contextlib.suppress(OSError, KeyError):
            fields = Path(f"{folder}/smaps_rollup").read_text().splitlines()
            sizes = {line.split(":")[0]: line.split()[1] for line in fields[1:]}
            return (int(sizes["Pss_Anon"]) + int(sizes["Pss_Shmem"])) * 1024
        with contextlib.suppress(OSError):
            pages = int(Path(f"{folder}/statm").read_text().split()[1])
            if pages:
                return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def host_pid(pidfd: int) -> int:
    """The number of a process in our own pid namespace, or 0 when it is gone."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    number = next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), 0)
    return max(number, 0)
