"""The process that holds the code interpreter's sessions, apart from the server: it outlives a server that is killed.

Covered: its environment, arguments and memory hold no secret; its socket can be used by its own user only; there is
one per folder; when it dies, by whatever, every session dies with it; when no server has been connected for a while,
it ends by itself. Not covered: a server is trusted, also with the names of other servers' sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import socket
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from setproctitle import setproctitle

from locum.errors import LocumError
from locum.sandbox import protocol
from locum.sandbox.host import cgroups
from locum.sandbox.host.bounded_log import BoundedLog
from locum.sandbox.host.cell import Cell
from locum.sandbox.host.machine import Machine
from locum.sandbox.host.probe import probe
from locum.sandbox.host.sessions import Sessions
from locum.sandbox.host.zygote import Zygote
from locum.sandbox.session import Status, Tier

_DISCARD_SECONDS = 10.0
_OPEN_FILES = 65_536
_CALLS_WAITING = 4096

log = logging.getLogger("locum.sandbox")


class Daemon:
    """Answers one call per connection; ends when it is told to, or when nobody has been connected for long enough."""

    def __init__(self, directory: Path, config: protocol.Config) -> None:
        self._directory = directory
        self._config = config
        self._machine = Machine(cgroups.find())
        self._sessions = Sessions(config.limits, self._make_zygote)
        self._status: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._connected = 0
        self._linger: asyncio.TimerHandle | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def run(self, listening: socket.socket) -> None:
        server = await asyncio.start_unix_server(self._serve, sock=listening, backlog=_CALLS_WAITING)
        self._wait_for_company()
        start = asyncio.create_task(self._start())
        await self._over.wait()
        server.close()
        start.cancel()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(start, *self._serving, return_exceptions=True)
        await self._sessions.close()
        await self._machine.close()

    async def _start(self) -> None:
        try:
            status, zygote = await probe(self._config.tiers, self._make_zygote, self._directory)
            if zygote is not None:
                self._sessions.begin(zygote)
        except Exception as failure:
            log.exception("the boot probe failed")
            status = Status(tier="off", reason=f"the sandbox's self-test failed: {failure}", fix="see sandboxd.log")
        log.info("tier %s: %s; %s", status.tier, status.reason, self._machine.groups or "no control groups")
        self._status.set_result(status)

    def _make_zygote(self, tier: Tier) -> Zygote:
        config = self._config
        return Zygote(self._directory, config.python, config.limits, tier, self._machine, config.profile)

    def _wait_for_company(self) -> None:
        loop = asyncio.get_running_loop()
        self._linger = loop.call_later(self._config.limits.linger_seconds, self._over.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._connected += 1
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        try:
            if _is_own_user(writer):
                await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, msgspec.DecodeError, asyncio.CancelledError):
            pass  # the other end is gone, or we are
        except LocumError as failure:
            await _reply(writer, protocol.Failure(type(failure).__name__, failure.message))
            await _discard(reader)
        except Exception as failure:
            log.exception("a call failed")
            await _reply(writer, protocol.Failure("SessionLost", f"sandboxd failed: {failure}"))
        finally:
            writer.close()
            self._serving.discard(task)
            self._connected -= 1
            if self._connected == 0:
                self._wait_for_company()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await protocol.read_request(reader)
        match request:
            case protocol.Hello():
                status = await asyncio.shield(self._status)
                await _reply(writer, protocol.Ready(status, self._config, os.getpid()))
                await reader.read()  # until the server ends
            case protocol.Open(session=key, lost=lost):
                await _reply(writer, protocol.IsOpen(await self._sessions.open(key, lost=lost)))
            case protocol.Put(session=key, name=name, tag=tag):
                await self._sessions.put(key, name, tag, _chunks(reader))
                await _reply(writer, protocol.Done())
            case protocol.Execute(session=key, call_id=call_id, code=code, preface=preface):
                await self._execute(self._sessions.execute(key, call_id, code, preface), reader, writer)
            case protocol.Get(session=key, key=output):
                for data in self._sessions.read(key, output):
                    writer.write(protocol.bytes_frame(data))
                    await writer.drain()
                await _reply(writer, protocol.Done())
            case protocol.Delete(session=key):
                self._sessions.delete(key)
                await _reply(writer, protocol.Done())
            case protocol.GetUsage(session=key):
                await _reply(writer, protocol.Used(await self._sessions.usage(key)))
            case protocol.GetStats():
                await _reply(writer, protocol.Counted(self._sessions.stats()))
            case protocol.Shutdown():
                self._over.set()
                await _reply(writer, protocol.Done())
            case _:
                raise ConnectionError("no call begins like this")

    async def _execute(self, cell: Cell, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tell what the cell prints. A server that goes away stops listening, not the cell; only Interrupt does."""
        sending = asyncio.create_task(_send_output(cell, writer))
        receiving = asyncio.create_task(_receive_interrupt(cell, reader))
        try:
            await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            receiving.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)


async def _send_output(cell: Cell, writer: asyncio.StreamWriter) -> None:
    async for piece in cell.follow():
        await _reply(writer, protocol.Piece(piece))
    if cell.result is not None:
        await _reply(writer, protocol.Result(cell.result))
    elif cell.failure is not None:
        raise cell.failure


async def _receive_interrupt(cell: Cell, reader: asyncio.StreamReader) -> None:
    """Ends when the other end has nothing more to say, which after its request is Interrupt or nothing."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        if isinstance(await protocol.read_request(reader), protocol.Interrupt):
            cell.interrupt.set()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while data := await protocol.read_request(reader):
        if not isinstance(data, bytes):
            raise ConnectionError("a file consists of bytes")
        yield data


async def _discard(reader: asyncio.StreamReader) -> None:
    """Read what is still being sent, to its end: a connection that is closed before breaks at the other end, and the
    answer is lost with it."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while await reader.read(protocol.CHUNK):
                pass


async def _reply(writer: asyncio.StreamWriter, message: protocol.Reply) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(protocol.frame(message))
        await writer.drain()


def _is_own_user(writer: asyncio.StreamWriter) -> bool:
    """The folder's mode says so already; a folder's mode can be changed by mistake."""
    peer: socket.socket = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1] in (0, os.getuid())


def _listen(directory: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = directory / protocol.SOCKET_NAME
    path.unlink(missing_ok=True)
    os.chdir(directory)  # a socket's whole path may be too long for the kernel
    listening.bind(protocol.SOCKET_NAME)
    path.chmod(0o600)
    listening.listen(_CALLS_WAITING)
    return listening


def _allow_many_files() -> None:
    """Each session takes four and each call one; the usual limit of 1024 is less than 200 sessions need."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def main() -> None:
    """`sandboxd <folder>`, with its configuration as JSON on standard input."""
    os.umask(0o077)
    _allow_many_files()
    directory = Path(sys.argv[1])
    setproctitle(f"locum: sandboxd {directory}")
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=protocol.Config)
    handler = BoundedLog(directory / protocol.LOG_NAME)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=[handler])
    lock = (directory / "sandboxd.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another one serves this folder
    listening = _listen(directory)
    asyncio.run(_run(directory, config, listening))
    (directory / protocol.SOCKET_NAME).unlink(missing_ok=True)


async def _run(directory: Path, config: protocol.Config, listening: socket.socket) -> None:
    await Daemon(directory, config).run(listening)


if __name__ == "__main__":
    main()
