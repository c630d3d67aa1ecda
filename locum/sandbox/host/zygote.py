"""Host's end of one zygote: starts it, waits for it to be warm, asks it for kernel processes.

Covered: the zygote gets a clean environment and one descriptor. Not covered: see `zygote` and `jail`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from locum.errors import LocumError
from locum.sandbox.host import processes
from locum.sandbox.host.cgroups import Group
from locum.sandbox.host.kernel import Ends, KernelProcess
from locum.sandbox.host.machine import Machine, make_home
from locum.sandbox.isolation import jail
from locum.sandbox.limits import Limits
from locum.sandbox.profile import NOTEBOOK, Profile
from locum.sandbox.session import Tier

_PACKAGE_PARENT = Path(__file__).parents[3]
_START = (
    "import sys; sys.path.append('.'); from locum.sandbox.inside import environment; environment.locate(); "
    "from locum.sandbox.inside.zygote import main; main()"
)
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/tmp",  # noqa: S108
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}
_START_SECONDS = 20.0
_WARM_SECONDS = 180.0


class ForkFailed(LocumError):
    """The zygote, or a session under it, could not be had. `number` is the errno when the kernel refused."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.number = number


class Zygote:
    """One zygote. When it ends, all its sessions have ended with it, and a new object takes its place."""

    def __init__(
        self, directory: Path, python: str, limits: Limits, tier: Tier, machine: Machine, profile: Profile = NOTEBOOK
    ) -> None:
        self.alive = False
        self.tier = tier
        self.warmth: dict[str, Any] = {}
        self.forked = 0
        self.began = time.monotonic()
        self._directory = directory
        self.python = python
        """The program of the sessions."""
        self._limits = limits
        self._machine = machine
        self._profile = profile
        self._first_uid: int | None = None
        self._home: str | None = None
        self._retired = False
        self._loop = asyncio.get_running_loop()
        self._few_at_once = asyncio.Semaphore(8)
        self._waiting: dict[int, asyncio.Future[tuple[int, int]]] = {}
        self._kernels: dict[int, KernelProcess] = {}
        self._ended_early: dict[int, int] = {}
        self._jailed: asyncio.Future[None] = self._loop.create_future()
        self._warm: asyncio.Future[None] = self._loop.create_future()

    async def start(self) -> None:
        """Returns when the zygote sits in its stripped root, before it has loaded anything."""
        jail.prepare_folder(self._directory)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603  the main thread's child: its death takes the zygote along
                [self.python, "-I", "-S", "-B", "-c", _START, str(theirs.fileno())],
                cwd=_PACKAGE_PARENT,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self.alive = True
        self._loop.add_reader(self._control, self._hear)
        if self.tier != "namespaces":
            self._home, lock = make_home()
            self._machine.homes[self._home] = lock
        folders = {name: str(self._directory / name) for name in ("root", "cache")}
        profile = msgspec.to_builtins(self._profile)
        self._say(tier=self.tier, home=self._home, share=self._machine.share, profile=profile, **folders)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._jailed
        except TimeoutError:
            raise ForkFailed("the sandbox's fork server did not start in time") from None

    async def warm(self) -> None:
        """Load the libraries. Forks that are asked for meanwhile wait."""
        self._say(warm=True)
        await self.wait_warm()

    async def wait_warm(self) -> None:
        async with asyncio.timeout(_WARM_SECONDS):
            await asyncio.shield(self._warm)

    async def fork(self, *, spare: bool = False) -> KernelProcess:
        """`spare`: nobody is waiting for it yet."""
        async with self._few_at_once:
            return await self._fork(spare)

    async def _fork(self, spare: bool) -> KernelProcess:
        if not self.alive:
            raise ForkFailed("the sandbox's fork server has ended")
        self.forked += 1
        number, slot = next(self._machine.numbers), self._machine.slots.popleft()
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        output, their_output = os.pipe()
        control.setblocking(False)
        os.set_blocking(output, False)
        reply: asyncio.Future[tuple[int, int]] = self._loop.create_future()
        self._waiting[number] = reply
        pidfd = folder = -1
        group: Group | None = None
        try:
            with theirs:
                try:
                    fds, limits = (theirs.fileno(), their_output), self._session_limits()
                    self._say_with(fds, fork=number, slot=slot, spare=spare, **limits)
                finally:
                    os.close(their_output)
            async with asyncio.timeout(_START_SECONDS):
                grouping = asyncio.create_task(self._group(number, control))
                try:
                    pidfd, keeper = await reply
                finally:
                    group = await grouping
                folder, is_inside = await self._ready(control, output)
                if self._home is not None:  # in the other tier the session can do it itself
                    processes.end_first(pidfd, self._owner(slot))
                is_inside = is_inside or group is None or await self._add(group, pidfd)
            if not is_inside:
                self._machine.remove_group(group)
                group = None
            home = None if self._home is None else f"{self._home}/{number}"
            ends = Ends(pidfd, output, folder, slot, self._owner(slot), keeper, home)
            kernel = self._kernels[number] = KernelProcess(ends, control, group, self._limits, self._count_heirs)
            if (status := self._ended_early.pop(number, None)) is not None or not self.alive:
                self._note_end(number, -signal.SIGKILL if status is None else status)
            return kernel
        except (OSError, TimeoutError, ForkFailed) as failure:
            if isinstance(failure, BrokenPipeError):
                self._end("the sandbox's fork server has ended")
            control.close()
            os.close(output)
            for fd in (pidfd, folder):
                if fd >= 0:
                    with contextlib.suppress(ProcessLookupError):
                        if fd == pidfd:
                            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    os.close(fd)
            self._machine.remove_group(group)
            self._machine.slots.append(slot)
            if isinstance(failure, ForkFailed):
                raise
            raise ForkFailed(f"a session could not start: {failure}") from failure
        finally:
            self._waiting.pop(number, None)
            self._ended_early.pop(number, None)

    def _owner(self, slot: int) -> int:
        """Return the user id of a session; -1 where sessions have none of their own."""
        return -1 if self._first_uid is None else self._first_uid + slot

    async def _group(self, number: int, control: socket.socket) -> Group | None:
        """Made while the zygote zygote; the session waits for its doors, or to hear that there are none."""
        groups = self._machine.groups
        group = None if groups is None else await asyncio.to_thread(groups.make, str(number), self._limits)
        doors = group.doors() if group is not None else []
        with contextlib.suppress(OSError):  # it has ended: others notice
            socket.send_fds(control, [b"doors"], doors)
        for door in doors:
            os.close(door)
        return group

    async def _add(self, group: Group, pidfd: int) -> bool:
        """In a thread: after a pause the kernel takes milliseconds over it."""
        return await asyncio.to_thread(group.add, processes.host_pid(pidfd))

    def _count_heirs(self) -> int:
        """The zygote and its other sessions, each with its keeper."""
        return 1 + len(self._kernels) * (1 if self._home is None else 2)

    def _session_limits(self) -> dict[str, int | None]:
        names = ("disk_bytes", "inodes", "memory_bytes", "processes", "open_files", "cpu_seconds")
        return {name: getattr(self._limits, name) for name in names}

    async def _ready(self, control: socket.socket, output: int) -> tuple[int, bool]:
        """The one message that may carry a descriptor, sent before the process runs anybody's code: the folder of its
        files, and whether it is in its group."""
        arrived: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(control, _settle, arrived)
        try:
            await arrived
        finally:
            self._loop.remove_reader(control)
        data, fds, _, _ = socket.recv_fds(control, 4096, 1)
        if not data or not fds:
            words = os.read(output, 4096).decode(errors="replace").strip()
            raise ForkFailed(words or "a session could not start")
        return fds[0], json.loads(data)["is_inside"]

    def _hear(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._control, 65_536, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._end("the sandbox's fork server has ended")
            return
        message = json.loads(data)
        if "forked" in message:
            self._answer_fork(message, fds)
        elif "ended" in message:
            self._note_end(message["ended"], message["status"])
        elif "warm" in message:
            self.warmth = message
            _settle(self._warm)
        elif "jailed" in message:
            self._first_uid = message["first_uid"]
            _settle(self._jailed)
        else:
            self._end(message["failed"], message["errno"])

    def _answer_fork(self, message: dict[str, Any], fds: list[int]) -> None:
        reply = self._waiting.get(message["forked"])
        if reply is None or reply.done():
            for fd in fds:
                os.close(fd)
        elif fds:
            reply.set_result((fds[0], message["keeper"]))
        else:
            reply.set_exception(ForkFailed(message["failed"]))

    def _note_end(self, number: int, status: int) -> None:
        kernel = self._kernels.pop(number, None)
        if kernel is None and number in self._waiting:
            self._ended_early[number] = status  # whoever waits for it has yet to hear that it is there
        if kernel is not None:
            self._machine.slots.append(kernel.slot)
            kernel.bury(status)
            self._machine.remove_group(kernel.group)
        if self._retired and not self._kernels:
            self.close()

    def _end(self, words: str, number: int | None = None) -> None:
        if not self.alive:
            return
        self.alive = False
        self._loop.remove_reader(self._control)
        self._control.close()
        self._process.kill()
        self._process.wait()
        for fork in list(self._kernels):
            self._note_end(fork, -signal.SIGKILL)
        waiting: list[asyncio.Future[Any]] = [self._jailed, self._warm, *self._waiting.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(ForkFailed(words, number))
                future.exception()  # whoever waits gets it; nobody need wait

    def _say(self, **message: Any) -> None:
        self._say_with((), **message)

    def _say_with(self, fds: tuple[int, ...], **message: Any) -> None:
        socket.send_fds(self._control, [json.dumps(message).encode()], fds)

    def retire(self) -> None:
        """No more sessions from here; when the last one has ended, so does the zygote."""
        self._retired = True
        if not self._kernels:
            self.close()

    def close(self) -> None:
        """Kill the zygote, and with it every session."""
        self._end("the sandbox was closed")


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
