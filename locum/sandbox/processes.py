"""The processes of a session as the host sees them: stop and continue all of them, add up their memory.

Covered: every descendant, also those that detached themselves (the kernel hands them to the session's process 1), and
none outside the session's pid namespace, even when a number is used again. Not covered: what a process uses up
between two looks; resource limits bound each single process meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_MOST_PASSES = 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ProcessTree:
    """Process 1 of a session, which is ours by its pidfd, and everything below it."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._namespace = _namespace(pid)

    def kill(self) -> None:
        """Process 1 takes all others with it."""
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

    def memory_bytes(self, inherited: int, heirs: int) -> int:
        """What the session uses up: milliseconds for each of its processes, as the kernel walks all their pages.

        Of the `inherited` bytes, which so many processes of others have from the zygote as well, its share is left out.
        """
        members = (self._pid, *self._others())
        share = inherited // (heirs + len(members))
        return max(0, sum(_memory(pid, inherited, share) for pid in members))

    def resident_bytes(self) -> int:
        """More than it uses up, for next to nothing: whatever is shared counts in full, and for each process."""
        return sum(_resident(pid)[0] for pid in (self._pid, *self._others()))

    def private_bytes(self) -> int:
        """Of its first process all that is neither file nor shared memory; right after the fork, what it inherited."""
        resident, shared = _resident(self._pid)
        return resident - shared

    def _signal_first(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def _signal(self, pid: int, number: int) -> None:
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                if _namespace(pid) == self._namespace:
                    signal.pidfd_send_signal(pidfd, number)
            finally:
                os.close(pidfd)

    def _others(self) -> list[int]:
        found: list[int] = []
        waiting = [self._pid]
        while waiting:
            for child in _children(waiting.pop()):
                found.append(child)
                waiting.append(child)
        return found


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115
    except OSError:
        return ""


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


def host_pid(pidfd: int) -> int:
    """The number of a process in our own pid namespace, or 0 when it is gone."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    number = next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), 0)
    return max(number, 0)
