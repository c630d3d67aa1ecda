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
from locum.admin import protocol
from locum.admin.handler import AdminHandler

log = structlog.get_logger(__name__)

_REQUEST_SECONDS = 10.0


@asynccontextmanager
async def admin_socket(directory: Path, handler: AdminHandler) -> AsyncIterator[None]:
    """Answer commands for as long as the context lasts. The caller holds the lock on the directory."""
    if sys.platform == "win32":  # no Unix sockets in asyncio: commands have to wait until the server has stopped
        yield
        return
    path = directory / protocol.SOCKET_NAME
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await _serve(handler, reader, writer)
        finally:
            serving.discard(task)

    with protocol.socket_path(directory) as address:
        try:
            listening = _listen(path, address)
        except OSError as error:
            log.warning("no admin socket: commands need the server stopped", reason=str(error))
            yield
            return
        server = await asyncio.start_unix_server(serve, sock=listening, limit=protocol.MAX_LINE)
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


async def _serve(handler: AdminHandler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            said = await reader.readline()
        if said:  # a command that only looks whether somebody is there says nothing
            writer.write(protocol.line(await _reply(handler, said)))
            await writer.drain()
    except (OSError, TimeoutError, ValueError, asyncio.CancelledError):
        pass  # the other end is gone, silent or talks without end; or the server stops
    finally:
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()


async def _reply(handler: AdminHandler, said: bytes) -> protocol.Reply:
    try:
        request = protocol.request(said)
    except msgspec.DecodeError:
        return protocol.Failure(
            f"The running server is Locum {__version__} and does not know this command: restart it."
        )
    try:
        return await handler.answer(request)
    except Exception:  # the border of a request: the server lives on
        log.exception("an admin request failed")
        return protocol.Failure("The running server failed; its log says how.")
