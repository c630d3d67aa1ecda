"""The host's end of the zygote: starts it, waits for it to be warm, asks it for session processes.

Covered: the zygote gets a clean environment and one descriptor. Not covered: see `zygote` and `jail`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from locum.errors import LocumError
from locum.sandbox import collect, jail, processes
from locum.sandbox.cgroups import Group, Groups
from locum.sandbox.limits import Limits
from locum.sandbox.profile import NOTEBOOK, Profile
from locum.sandbox.session import Tier
from locum.sandbox.worker import Ends, Worker

_PACKAGE_PARENT = Path(__file__).parents[2]
_START = "import sys; sys.path.insert(0, '.'); from locum.sandbox.zygote import main; main()"
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
_CLOSE_ATTEMPTS = 100
_SHARES = 60_000  # up to the last id that is positive everywhere
_SHARE_ATTEMPTS = 8


class ForkFailed(LocumError):
    """The zygote, or a session under it, could not be had. `number` is the errno when the kernel refused."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.number = number


class Machine:
    """What all zygotes of one sandboxd share: the numbers from which sessions get their user ids, each used again as
    late as can be, the control groups, where there are any, and the folders it has made outside of its own.

    share: which part of the machine's user ids it is that no other sandboxd takes. A name that only one process can
    have says so, and is free again when that one dies.
    """

    def __init__(self, groups: Groups | None = None) -> None:
        self.groups = groups
        self._name = socket.socket(socket.AF_UNIX)
        self.share = _take_share(self._name)
        self.slots = deque(range(jail.SLOTS))
        self.numbers = itertools.count(1)
        self.homes: dict[str, int] = {}  # each with its lock

    def remove_group(self, group: Group | None) -> None:
        if self.groups is not None and group is not None:
            self.groups.remove(group)

    async def close(self) -> None:
        self._name.close()
        await self._clear_away()

    async def _clear_away(self) -> None:
        """What was made outside of our own folder goes, as soon as those that were killed let go of it."""
        for _ in range(_CLOSE_ATTEMPTS):
            for home in [home for home in self.homes if _is_removed(home)]:
                os.close(self.homes.pop(home))
            if not self.homes and (self.groups is None or self.groups.close()):
                return
            await asyncio.sleep(0.02)


def _take_share(name: socket.socket) -> int:
    """By chance first: where names are seen by fewer than ids are (two containers), they should differ all the same."""
    share = 0
    for _ in range(_SHARE_ATTEMPTS):
        share = secrets.randbelow(_SHARES)
        with contextlib.suppress(OSError):
            name.bind(f"\0locum-sandbox-{share}")
            break
    return share


def _is_removed(home: str) -> bool:
    collect.remove_folder(home)
    return not Path(home).exists()


class ForkServer:
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
        self._workers: dict[int, Worker] = {}
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
                [self.python, "-I", "-B", "-c", _START, str(theirs.fileno())],
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
            self._home, lock = _make_home()
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

    async def fork(self, *, spare: bool = False) -> Worker:
        """`spare`: nobody is waiting for it yet."""
        async with self._few_at_once:
            return await self._fork(spare)

    async def _fork(self, spare: bool) -> Worker:
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
                is_inside = is_inside or group is None or await self._add(group, pidfd)
            if not is_inside:
                self._machine.remove_group(group)
                group = None
            owner = -1 if self._first_uid is None else self._first_uid + slot
            home = None if self._home is None else f"{self._home}/{number}"
            ends = Ends(pidfd, output, folder, slot, owner, keeper, home)
            worker = self._workers[number] = Worker(ends, control, group, self._limits, self._count_heirs)
            if (status := self._ended_early.pop(number, None)) is not None or not self.alive:
                self._note_end(number, -signal.SIGKILL if status is None else status)
            return worker
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

    async def _group(self, number: int, control: socket.socket) -> Group | None:
        """Made while the zygote forks; the session waits for its doors, or to hear that there are none."""
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
        return 1 + len(self._workers) * (1 if self._home is None else 2)

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
        worker = self._workers.pop(number, None)
        if worker is None and number in self._waiting:
            self._ended_early[number] = status  # whoever waits for it has yet to hear that it is there
        if worker is not None:
            self._machine.slots.append(worker.slot)
            worker.bury(status)
            self._machine.remove_group(worker.group)
        if self._retired and not self._workers:
            self.close()

    def _end(self, words: str, number: int | None = None) -> None:
        if not self.alive:
            return
        self.alive = False
        self._loop.remove_reader(self._control)
        self._control.close()
        self._process.kill()
        self._process.wait()
        for fork in list(self._workers):
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
        if not self._workers:
            self.close()

    def close(self) -> None:
        """Kill the zygote, and with it every session."""
        self._end("the sandbox was closed")


def _make_home() -> tuple[str, int]:
    """A folder that every user may walk through and only we may list, and the lock that says it is in use; those whose
    lock nobody holds any more go."""
    beginning = f"locum-sandbox-{os.getuid()}-"
    for folder in Path(tempfile.gettempdir()).glob(f"{beginning}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == os.getuid():
                os.close(_lock(folder))
                collect.remove_folder(folder)
    home = tempfile.mkdtemp(prefix=f"{beginning}{os.getpid()}-")
    lock = _lock(home)
    Path(home).chmod(0o711)
    return home, lock


def _lock(folder: str | Path) -> int:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
