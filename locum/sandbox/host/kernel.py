"""The host's end of one session process: gives it cells, reads its output, ends it.

Covered: whatever comes from the process is hostile. One message per cell is expected; anything else (not JSON, another
cell's number, a descriptor, too long) kills the session. Output is read at a bounded pace, time is kept here, and
the kill goes through a pidfd to process 1, with which everything in the session dies.

Not covered: a cell can claim to be done before it is; it is then stopped like any other between two cells.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import msgspec

from locum.sandbox.host import collect, processes
from locum.sandbox.host.cgroups import Group
from locum.sandbox.host.consumption import Consumption
from locum.sandbox.isolation import jail
from locum.sandbox.limits import Limits
from locum.sandbox.output import Transcript

_READ_BYTES = 64 * 1024
_CODE_PIECE = 32 * 1024
_SLOW_SECONDS = 0.05
_LONGEST_MESSAGE = 4096
_REQUESTS = 3
_DATA_FOLDER = "/mnt/data"
_LAST_MOMENTS = 0.5  # between the end of its channel and its own
# A process needs a moment of the processor to stop; a busy machine may let it wait for one.
_LOOKS = (0.001, 0.002, 0.005, 0.01, 0.02, *[0.05] * 60)
_LOOKS_TO_BE_SURE = 2
_CPU_TO_STOP = 0.25  # what takes more of it than a long system call does not want to stop

How = Literal["done", "timeout", "interrupted", "died"]


class Ending(msgspec.Struct, frozen=True):
    """How a cell ended. `error` is the exception's name; `lost`: the process is gone, and with it all variables."""

    how: How
    error: str | None = None
    lost: bool = False
    reason: str = ""


class _Done(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    error: str | None


class Ends(msgspec.Struct, frozen=True):
    """What a session was forked with. descriptors: its first process, what it prints, the folder of its files; owner:
    whose its files are (-1: ours); keeper: see `ProcessTree`; home: the path of its folder where that is no file
    system of its own, to be removed at its end."""

    pidfd: int
    output: int
    folder: int
    slot: int
    owner: int
    keeper: int = 0
    home: str | None = None


class KernelProcess:
    """One jailed process. `folder` is its disk and stays readable after it died, until `release`."""

    def __init__(
        self, ends: Ends, control: socket.socket, group: Group | None, limits: Limits, heirs: Callable[[], int]
    ) -> None:
        self.folder = ends.folder
        self.slot = ends.slot
        self.owner = ends.owner
        self.alive = True
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._limits = limits
        self._pidfd = ends.pidfd
        self._control = control
        self._output = ends.output
        self._home = ends.home
        self.group = group
        self._tree = processes.ProcessTree(ends.pidfd, keeper=ends.keeper, uid=ends.owner)
        self.consumption = Consumption(self._tree, group, on_disk=ends.home is not None, limits=limits, heirs=heirs)
        self._verdict = ""
        self._cell = 0
        self._answer: asyncio.Future[str | None] | None = None
        self._transcript: Transcript | None = None
        self._ended = asyncio.Event()
        self._stopped = False
        self._standing: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pidfd, self._notice_death)
        self._loop.add_reader(control, self._hear)

    @property
    def names(self) -> tuple[str, str] | None:
        """What the folder of /mnt/data is really called, and how it is to be told; None where it has that name."""
        return None if self._home is None else (f"{self._home}/{jail.DATA}", _DATA_FOLDER)

    async def run(self, code: str, transcript: Transcript, interrupt: asyncio.Event) -> Ending:
        """One cell, from its code to its last byte of output."""
        if self.names is not None:
            real, told = self.names
            code = code.replace(told, real)
        self._cell += 1
        self._answer = self._loop.create_future()
        self._transcript = transcript
        self._go_on()
        self._loop.add_reader(self._output, self._read)
        sending = asyncio.create_task(self._send(code))  # the time runs meanwhile: nobody may be listening
        try:
            ending = await self._follow(self._answer, interrupt)
            self._drain()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            if self._output >= 0:
                self._loop.remove_reader(self._output)
            self._transcript = self._answer = None
            self.consumption.is_current = False
            self.stop()
        return ending

    async def _send(self, code: str) -> None:
        pieces = [code[at : at + _CODE_PIECE] for at in range(0, len(code), _CODE_PIECE)] or [""]
        with contextlib.suppress(OSError):  # a death is noticed by the pidfd
            for place, piece in enumerate(pieces, start=1):
                message = {"id": self._cell, "code": piece, "more": place < len(pieces)}
                await self._loop.sock_sendall(self._control, msgspec.json.encode(message))

    async def _follow(self, answer: asyncio.Future[str | None], interrupt: asyncio.Event) -> Ending:
        how: How = "done"
        ended, interrupted = asyncio.create_task(self._ended.wait()), asyncio.create_task(interrupt.wait())
        waiting: set[asyncio.Future[Any]] = {answer, ended, interrupted}
        try:
            seconds = self._limits.cell_seconds
            done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                how = "timeout"
            elif done == {interrupted}:
                how = "interrupted"
            if how != "done":
                await self._stop_cell(answer)
        finally:
            ended.cancel()
            interrupted.cancel()
        if not answer.done():
            return Ending("died" if how == "done" else how, lost=True, reason=await self._why())
        return Ending(how, error=answer.result(), lost=not self.alive)

    async def _stop_cell(self, answer: asyncio.Future[str | None]) -> None:
        """Ask, and ask again (the cell may not have begun, or swallow it); after the grace time there is no asking."""
        ended = asyncio.create_task(self._ended.wait())
        waiting: set[asyncio.Future[Any]] = {answer, ended}
        for _ in range(_REQUESTS):
            self._tree.interrupt()
            patience = self._limits.grace_seconds / _REQUESTS
            if (await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED))[0]:
                break
        else:
            self.kill("it did not react to being interrupted")
            await self._ended.wait()
        ended.cancel()

    async def _why(self) -> str:
        if self._verdict:
            return self._verdict
        with contextlib.suppress(TimeoutError):
            status = await asyncio.wait_for(asyncio.shield(self.status), 1)
            return f"killed by {_signal_name(-status)}" if status < 0 else f"exit status {status}"
        return "its process ended"

    def bury(self, status: int) -> None:
        """Its zygote has seen its end, or has ended itself, and then nobody knows how it was."""
        self._note_last_use()
        if not self.status.done():
            self.status.set_result(status)

    def is_alive(self) -> bool:
        """Also right when the loop has not come round yet to notice a death, or the kernel to bring it about."""
        if self.alive:
            ended = select.poll()
            ended.register(self._pidfd, select.POLLIN)
            if ended.poll(0):
                self._notice_death()
        return self.alive and not self._verdict

    async def look(self) -> None:
        """How much the session takes; above a limit it dies."""
        if self.alive:
            self._end_if(await self.consumption.look(self.folder))

    async def glance(self) -> None:
        if self.alive:
            self._end_if(await self.consumption.glance(self.folder))

    def _end_if(self, verdict: str) -> None:
        if verdict:
            self.kill(verdict)

    def _note_last_use(self) -> None:
        """While its group, if it has one, still knows; the number of a process that was buried may mean another."""
        if self.group is not None or self.alive:
            self.consumption.note_use()
        self._verdict = self._verdict or self.consumption.ran_out_of_memory()

    def stop(self) -> None:
        if self.alive:
            self._stopped = True
            if self.group is None or not self.group.freeze(True):
                self._tree.stop()
                self._standing = asyncio.create_task(self._stand_still())

    async def _stand_still(self) -> None:
        """Until nothing in the session moves. What cannot be stopped is ended: it would run unwatched."""
        still, used = 0, self._tree.cpu_seconds()
        for pause in _LOOKS:
            await asyncio.sleep(pause)
            still = still + 1 if self._tree.stop() else 0
            if still == _LOOKS_TO_BE_SURE:
                return
            if not still and self._tree.cpu_seconds() - used > _CPU_TO_STOP:
                break
        self.kill("processes it had left behind could not be stopped")

    def _go_on(self) -> None:
        if self._standing is not None:
            self._standing.cancel()
        if self._stopped:
            self._stopped = False
            if self.group is None or not self.group.freeze(False):
                self._tree.go_on()

    def kill(self, verdict: str) -> None:
        if self.alive:
            self._verdict = self._verdict or verdict
            self._tree.kill()

    def release(self) -> None:
        """Let go of the files; the kernel frees them, where they are not in a folder of the host."""
        self.kill("no longer used")
        if self._standing is not None:
            self._standing.cancel()
        self._close_channels()
        if self.folder >= 0:
            if self._home is None:
                os.close(self.folder)
            else:  # when nobody is left who could write there
                self.status.add_done_callback(partial(_remove_home, self.folder, self._home))
            self.folder = -1

    def _hear(self) -> None:
        try:
            data, ancillary, flags, _ = self._control.recvmsg(_LONGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary, flags = b"", [], 0
        if not data:
            self._loop.remove_reader(self._control)
            self._loop.call_later(_LAST_MOMENTS, self.kill, "it closed its channel")
            return
        try:
            if ancillary or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise msgspec.ValidationError
            done = msgspec.json.decode(data, type=_Done)
            if done.id != self._cell or self._answer is None or self._answer.done():
                raise msgspec.ValidationError
            self._answer.set_result(_error_name(done.error))
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._loop.remove_reader(self._control)
            self.kill("it broke the protocol")

    def _read(self) -> None:
        """Take what there is; once there was a lot, only a little at a time: the writer waits, not the server."""
        if self._transcript is None or not self._take():
            self._loop.remove_reader(self._output)
        elif self._transcript.received > self._limits.drain_bytes:
            self._loop.remove_reader(self._output)
            self._loop.call_later(_SLOW_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._transcript is not None and self._output >= 0:
            self._loop.add_reader(self._output, self._read)

    def _take(self) -> bool:
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return True
        if data and self._transcript is not None:
            self._transcript.feed(data)
        return bool(data)

    def _drain(self) -> None:
        """The child flushed before it said done, so the rest is in the pipe, which holds 64 KiB."""
        for _ in range(4):
            try:
                data = os.read(self._output, _READ_BYTES)
            except OSError:
                return
            if not data or self._transcript is None:
                return
            self._transcript.feed(data)

    def _notice_death(self) -> None:
        self._note_last_use()
        self.alive = False
        if self._standing is not None:
            self._standing.cancel()
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._control)
        self._ended.set()

    def _close_channels(self) -> None:
        """Once: the numbers may belong to somebody else a moment later."""
        if self._output < 0:
            return
        self._tree.let_go()
        for fd in (self._pidfd, self._output):
            self._loop.remove_reader(fd)
            os.close(fd)
        self._loop.remove_reader(self._control)
        self._loop.remove_writer(self._control)
        self._control.close()
        self._output = self._pidfd = -1
        self.alive = False
        self._ended.set()


def _remove_home(folder: int, home: str, status: asyncio.Future[int]) -> None:
    os.close(folder)
    status.get_loop().run_in_executor(None, collect.remove_folder, home)  # as many files as a session wanted


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _error_name(name: str | None) -> str | None:
    """The class of an exception can have any name; what we pass on is an identifier of reasonable length."""
    if name is None:
        return None
    return name if name.isidentifier() and len(name) <= 100 else "Exception"
