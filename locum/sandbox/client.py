"""The server's way to the code interpreter: finds or starts sandboxd, and speaks with it.

Covered: sandboxd is started with an empty environment, no inherited descriptor and in a process group of its own, so
that it holds no secret and no Ctrl-C of the server reaches it. Not covered: isolation itself; see `jail` and `seccomp`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from locum import __version__
from locum.domain.usage import SessionUsage
from locum.errors import LocumError
from locum.sandbox import interpreter, protocol
from locum.sandbox.limits import Limits
from locum.sandbox.profile import NOTEBOOK, Profile
from locum.sandbox.session import (
    CellResult,
    NotWritable,
    Opened,
    QuotaExceeded,
    SandboxUnavailable,
    SessionLost,
    Status,
    Tier,
)
from locum.sandbox.stats import Stats

__all__ = ["Limits", "Mode", "Sandbox", "end"]

Mode = Literal["auto", "namespaces", "landlock", "weak", "off"]

_START = "import sys; sys.path.insert(0, sys.argv.pop(2)); from locum.sandbox.host.daemon import main; main()"
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_CONNECT_ATTEMPTS = 100
_LOOK_SECONDS = 2.0
_STREAM_LIMIT = 1024 * 1024
_ERRORS: dict[str, type[LocumError]] = {
    error.__name__: error for error in (SandboxUnavailable, SessionLost, QuotaExceeded, NotWritable, LocumError)
}
_GONE = (ConnectionError, asyncio.IncompleteReadError, FileNotFoundError)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Sandbox:
    """Five calls: open, put, execute, get, delete. Any of them starts sandboxd again when it has died; `usage` and
    `stats` only ask the one that is there."""

    def __init__(
        self,
        directory: Path,
        *,
        mode: Mode = "auto",
        accepts_weak: bool = False,
        limits: Limits = Limits(),  # noqa: B008  (frozen)
        python: str | Path | None = None,
        profile: Profile = NOTEBOOK,
    ) -> None:
        """accepts_weak: mode auto may end at tier `weak`, because nobody but the machine's own user gets here.
        python: another Python for the sessions, or the folder of a virtual environment."""
        self._directory = directory.absolute()
        self._python = interpreter.executable(Path(python)) if python else None
        self._config = protocol.Config(
            version=__version__,
            tiers=_tiers(mode, accepts_weak=accepts_weak),
            python=str(self._python or sys.executable),
            limits=limits,
            profile=profile,
        )
        self._status = Status(tier="off", reason="the sandbox has not been started")
        self._process: subprocess.Popen[bytes] | None = None
        self._presence: Connection | None = None
        self._starting = asyncio.Lock()
        self._is_leaving = False
        self._lives = 0
        self._opened: dict[str, int] = {}  # session -> the life of sandboxd it was last opened in

    @property
    def status(self) -> Status:
        return self._status

    async def start(self) -> Status:
        """Find a live sandboxd or start one. Never raises for a machine that cannot isolate: then the tier is off."""
        refusal = _refusal(self._config.tiers) or await asyncio.to_thread(_refusal_of, self._python)
        if refusal is not None:
            self._status = refusal
            return refusal
        async with self._starting:
            if self._presence is None or self._presence[0].at_eof():
                try:
                    async with asyncio.timeout(2 * _START_SECONDS):  # one that hangs is none
                        await self._find_or_start()
                except (OSError, TimeoutError, *_GONE) as failure:
                    reason = f"sandboxd did not start: {failure or type(failure).__name__}"
                    self._status = Status(
                        tier="off", reason=reason, fix="see sandbox/sandboxd.log in the data directory"
                    )
        return self._status

    async def open(self, session: str, *, lost: bool = False) -> Opened:
        """The session, begun if need be. lost: its caller knows of cells that ran in it: in a new one, the first cell
        says that their variables are gone."""
        await self._ensure()
        lost |= self._opened.get(session, self._lives) != self._lives
        reply = await self._ask(protocol.Open(session, lost))
        if not isinstance(reply, protocol.IsOpen):
            raise _unexpected(reply)
        self._opened[session] = self._lives
        return reply.opened

    async def put(self, session: str, name: str, tag: str, chunks: AsyncIterator[bytes]) -> None:
        async with self._call(protocol.Put(session, name, tag)) as (reader, writer):
            answer = asyncio.ensure_future(protocol.read_reply(reader))
            try:
                async for chunk in chunks:
                    for at in range(0, len(chunk), protocol.CHUNK):
                        writer.write(protocol.bytes_frame(chunk[at : at + protocol.CHUNK]))
                        await writer.drain()
                    if answer.done():
                        break  # it does not fit, and is said so before the end
                else:
                    writer.write(protocol.bytes_frame(b""))
                _checked(await answer)
            except ConnectionError:
                _checked(await answer)
            finally:
                answer.cancel()
                await asyncio.gather(answer, return_exceptions=True)

    async def execute(
        self,
        session: str,
        call_id: str,
        code: str,
        on_output: Callable[[str], None] | None = None,
        *,
        preface: str = "",
    ) -> CellResult:
        """Run a cell, once per call id. What it prints is given to `on_output` as it comes, also to who comes back to a
        cell from its first piece on; the pieces, joined, are the logs. preface: what these begin with.

        Cancelling this coroutine interrupts the cell, unless `leave` has been called.
        """
        code = code.encode(errors="replace").decode()
        async with self._call(protocol.Execute(session, call_id, code, preface)) as (reader, writer):
            try:
                while True:
                    reply = _checked(await protocol.read_reply(reader))
                    if isinstance(reply, protocol.Result):
                        return reply.result
                    if isinstance(reply, protocol.Piece) and on_output is not None:
                        on_output(reply.text)
            except asyncio.CancelledError:
                if not self._is_leaving:
                    writer.write(protocol.frame(protocol.Interrupt()))
                raise

    async def get(self, session: str, key: str) -> AsyncIterator[bytes]:
        async with self._call(protocol.Get(session, key)) as (reader, _):
            while isinstance(reply := await protocol.read_reply(reader), bytes):
                yield reply
            _checked(reply)

    async def delete(self, session: str) -> None:
        self._opened.pop(session, None)
        await self._ask_if_there(protocol.Delete(session))

    async def usage(self, session: str) -> SessionUsage | None:
        """What the session has used so far, also while it runs a cell; None when there is none."""
        reply = await self._ask_if_there(protocol.GetUsage(session))
        return reply.usage if isinstance(reply, protocol.Used) else None

    async def stats(self) -> Stats | None:
        """What sandboxd has counted; None when none runs."""
        reply = await self._ask_if_there(protocol.GetStats())
        return reply.stats if isinstance(reply, protocol.Counted) else None

    def leave(self) -> None:
        """From now on, cells go on without us: a server that comes back finds them. `hang_up` follows, or `close`."""
        self._is_leaving = True

    async def hang_up(self) -> None:
        """Let go of sandboxd, which lives on for a while with all its sessions."""
        self._status = Status(tier="off", reason="the server is stopping")  # before who starts it again meanwhile
        await self._hang_up()

    async def close(self) -> None:
        """End sandboxd and all sessions, also if it was ours and has been let go of."""
        if self._presence is not None:
            with contextlib.suppress(*_GONE):
                await self._shut_down()
        elif self._process is not None:
            await asyncio.to_thread(end, self._directory)
        else:
            return
        await asyncio.to_thread(self._reap)
        self._status = Status(tier="off", reason="the sandbox has been closed")

    async def _ensure(self) -> None:
        if self._presence is None or self._presence[0].at_eof():
            await self.start()
        if self._status.tier == "off":
            fix = f" To have it: {self._status.fix}." if self._status.fix else ""
            raise SandboxUnavailable(f"The code interpreter is not available: {self._status.reason}.{fix}")

    async def _ask_if_there(self, request: protocol.Request) -> protocol.Reply | None:
        if self._presence is None or self._presence[0].at_eof() or self._status.tier == "off":
            return None
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                return await self._ask(request)
        except (SessionLost, SandboxUnavailable, TimeoutError):
            return None

    async def _ask(self, request: protocol.Request) -> protocol.Reply:
        async with self._call(request) as (reader, _):
            return _checked(await protocol.read_reply(reader))

    @contextlib.asynccontextmanager
    async def _call(self, request: protocol.Request) -> AsyncIterator[Connection]:
        """One connection for one call. Whatever ends it early means that sandboxd died."""
        await self._ensure()
        try:
            reader, writer = await self._connect()
        except OSError as failure:
            await self._hang_up()
            raise SessionLost("sandboxd has died: variables and files of all sessions are lost") from failure
        try:
            writer.write(protocol.frame(request))
            yield reader, writer
        except _GONE as failure:
            raise SessionLost("sandboxd died during the call: variables and files are lost") from failure
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _connect(self) -> Connection:
        with _open(self._directory) as folder:
            path = f"/proc/self/fd/{folder}/{protocol.SOCKET_NAME}"
            for _ in range(_CONNECT_ATTEMPTS):
                with contextlib.suppress(BlockingIOError):  # more calls at once than wait in its queue: it is busy
                    return await asyncio.open_unix_connection(path, limit=_STREAM_LIMIT)
                await asyncio.sleep(_POLL_SECONDS)
            raise ConnectionRefusedError("sandboxd takes no more calls")

    async def _find_or_start(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        await self._hang_up()
        ready = await self._greet()
        if ready is not None and ready.config != self._config:
            await self._shut_down()  # that one was started with other settings
            ready = None
        if ready is None:
            ready = await self._launch()
        self._status = ready.status
        self._lives += 1

    async def _greet(self) -> protocol.Ready | None:
        """Say hello to the sandboxd that is there, if one is; the connection is kept to show that we live."""
        try:
            reader, writer = await self._connect()
        except OSError:
            return None
        try:
            writer.write(protocol.frame(protocol.Hello()))
            reply = await protocol.read_reply(reader)
        except _GONE:
            writer.close()
            return None
        except msgspec.DecodeError:  # of another version of Locum
            self._presence = reader, writer
            await self._shut_down()
            return None
        if not isinstance(reply, protocol.Ready):
            raise _unexpected(reply)
        self._presence = reader, writer
        return reply

    async def _shut_down(self) -> None:
        """Returns when it has ended, which the end of the connection that shows our presence tells."""
        assert self._presence is not None
        try:
            _, writer = await self._connect()
            writer.write(protocol.frame(protocol.Shutdown()))
            writer.close()
            await self._presence[0].read()
        finally:
            await self._hang_up()

    async def _launch(self) -> protocol.Ready:
        await asyncio.to_thread(self._reap)
        async with asyncio.timeout(_START_SECONDS):
            while True:
                if self._process is None or self._process.poll() is not None:
                    self._process = self._spawn()
                ready = await self._greet()
                if ready is not None:
                    return ready
                await asyncio.sleep(_POLL_SECONDS)

    def _spawn(self) -> subprocess.Popen[bytes]:
        log = os.open(self._directory / protocol.LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        package_parent = str(Path(__file__).parents[2])
        try:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-B", "-c", _START, str(self._directory), package_parent],
                cwd="/",
                env=_ENVIRONMENT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as config:
            config.write(protocol.encode_config(self._config))
        return process

    async def _hang_up(self) -> None:
        if self._presence is not None:
            _, writer = self._presence
            self._presence = None
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _reap(self) -> None:
        """Wait for the sandboxd that we started, if it has ended or is about to."""
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def end(directory: Path) -> None:
    """End the sandboxd of that folder and all its sessions, and return when it is over: for who throws the folder away
    after its server has stopped."""
    try:
        lock = (directory / "sandboxd.lock").open()
    except OSError:
        return  # there has never been one
    import fcntl  # not on Windows, where there is none

    until = time.monotonic() + _START_SECONDS
    with lock:
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            with contextlib.suppress(OSError):  # it may not listen yet, or not any more
                _tell_to_end(directory)
            time.sleep(_POLL_SECONDS)


def _tell_to_end(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection, _open(directory) as folder:
        connection.settimeout(_LOOK_SECONDS)
        connection.connect(f"/proc/self/fd/{folder}/{protocol.SOCKET_NAME}")
        connection.sendall(protocol.frame(protocol.Shutdown()))
        connection.recv(1)


@contextlib.contextmanager
def _open(directory: Path) -> Iterator[int]:
    """A folder's descriptor: a socket's whole path may be too long for the kernel."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def _tiers(mode: Mode, *, accepts_weak: bool) -> tuple[Tier, ...]:
    """What is tried, best first; a mode that was named is tried alone."""
    if mode == "off":
        return ()
    if mode != "auto":
        return (mode,)
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    landlock: tuple[Tier, ...] = ("landlock",) if is_root else ()
    weak: tuple[Tier, ...] = ("weak",) if accepts_weak else ()
    return ("namespaces", *landlock, *weak)


def _refusal_of(python: Path | None) -> Status | None:
    """The server's own Python needs no examination."""
    try:
        if python is not None:
            interpreter.examine(python)
    except interpreter.NoInterpreter as failure:
        fix = "set LOCUM_SANDBOX_PYTHON to a Python or to the folder of a virtual environment, or unset it"
        return Status(tier="off", reason=f"LOCUM_SANDBOX_PYTHON: {failure.message}", fix=fix)
    return None


def _refusal(tiers: tuple[Tier, ...]) -> Status | None:
    """What can be said without trying."""
    if not tiers:
        return Status(tier="off", reason="it is switched off by the settings", fix="set LOCUM_SANDBOX=auto")
    if sys.platform != "linux":
        reason = f"code can be isolated on Linux only, and this is {sys.platform}"
        return Status(tier="off", reason=reason, fix="run the server in a Linux container or virtual machine")
    if os.uname().machine not in ("x86_64", "aarch64"):
        reason = f"there is no system call filter for {os.uname().machine}"
        return Status(tier="off", reason=reason, fix="run the server on x86_64 or aarch64")
    return None


def _checked(reply: protocol.Reply | bytes) -> protocol.Reply:
    if isinstance(reply, protocol.Failure):
        raise _ERRORS.get(reply.kind, LocumError)(reply.message)
    if isinstance(reply, bytes):
        raise _unexpected(reply)
    return reply


def _unexpected(reply: object) -> LocumError:
    return SessionLost(f"sandboxd answered with {type(reply).__name__}, which answers something else")
