"""The admin socket of a running server.

Covered: only the server's own user (and root) can connect; it is never on the network. Not covered: other programs of
that user, who can read the database anyway.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import structlog

from locum import __version__
from locum.admin import wire
from locum.admin.desk import Desk

log = structlog.get_logger(__name__)

_REQUEST_SECONDS = 10.0


@asynccontextmanager
async def admin_socket(directory: Path, desk: Desk) -> AsyncIterator[None]:
    """Answer commands for as long as the context lasts. The caller holds the lock on the directory."""
    if sys.platform == "win32":  # no Unix sockets in asyncio: commands have to wait until the server has stopped
        yield
        return
    path = directory / wire.SOCKET_NAME
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await _serve(desk, reader, writer)
        finally:
            serving.discard(task)

    with wire.socket_path(directory) as address:
        try:
            listening = _listen(path, address)
        except OSError as error:
            log.warning("no admin socket: commands need the server stopped", reason=str(error))
            yield
            return
        server = await asyncio.start_unix_server(serve, sock=listening, limit=wire.MAX_LINE)
        try:
            yield
        finally:
            server.close()
            for task in list(serving):
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            path.unlink(missing_ok=True)


def _listen(path: Path, address: str) -> socket.socket:
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(address)
        path.chmod(0o600)  # nobody can connect before `listen`, so nobody does with the rights it was born with
        listening.listen(16)
    except OSError:
        listening.close()
        raise
    return listening


async def _serve(desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            said = await reader.readline()
        if said:  # a command that only looks whether somebody is there says nothing
            writer.write(wire.line(await _reply(desk, said)))
            await writer.drain()
    except (OSError, TimeoutError, ValueError, asyncio.CancelledError):
        pass  # the other end is gone, silent or talks without end; or the server stops
    finally:
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()


async def _reply(desk: Desk, said: bytes) -> wire.Reply:
    try:
        request = wire.request(said)
    except msgspec.DecodeError:
        return wire.Failure(f"The running server is Locum {__version__} and does not know this command: restart it.")
    try:
        return await desk.answer(request)
    except Exception:  # the border of a request: the server lives on
        log.exception("an admin request failed")
        return wire.Failure("The running server failed; its log says how.")
