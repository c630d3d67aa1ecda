"""TLS in front of a PostgreSQL server: the one of the tests is built without it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from pathlib import Path

from tests.certificates import Certificate

_TLS_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)
"""First message of a client that wants TLS; the server answers with one byte."""
_CHUNK = 65536


class TLSFront:
    """Accept connections on a port of 127.0.0.1, with TLS where clients request it; pass all to a Unix socket."""

    def __init__(self, socket_folder: str, certificate: Certificate) -> None:
        self._path = Path(socket_folder, ".s.PGSQL.5432")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.cert, certificate.key)
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self.connections: list[bool] = []
        """Of each connection that reached the server, True if it was encrypted."""
        self.port = 0

    def __enter__(self) -> TLSFront:
        self._thread.start()
        assert self._started.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            first = await reader.readexactly(8)
            is_encrypted = first == _TLS_REQUEST
            if is_encrypted:
                writer.write(b"S")
                await writer.start_tls(self._context)
                first = await reader.readexactly(8)
            self.connections.append(is_encrypted)
            server_reader, server_writer = await asyncio.open_unix_connection(self._path)
            server_writer.write(first)
            await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()
