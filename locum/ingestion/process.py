"""Main loop of the ingestion worker's process, and its connection to the server.

`locum.app.ingestion` composes the worker and runs `serve`; `supervisor.py` is the server's side.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection

from locum.errors import StartupError, Unavailable
from locum.framing import read_frame, write_frame
from locum.ingestion import child_process
from locum.ingestion.maintenance import Maintenance
from locum.ingestion.protocol import (
    ALIVE_SECONDS,
    Alive,
    Begin,
    Cover,
    Covered,
    ExecuteWrite,
    Finished,
    Rebuild,
    Stop,
    ToServer,
    ToWorker,
    Wake,
    WriteFailed,
    WriteResult,
    decode_to_worker,
    encode,
)
from locum.ingestion.worker import IngestionWorker
from locum.ingestion.writes import RESULTS, Write
from locum.store.database import Reader
from locum.tasks import TaskSet

log = structlog.get_logger(__name__)

T = TypeVar("T")

_NICENESS = 10


class Ingestion(NamedTuple):
    """Parts of a running worker that the server's messages are for."""

    worker: IngestionWorker
    maintenance: Maintenance


class ServerConnection:
    """Pipes to the server and from it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count()
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._is_closed = False
        self._finished_stores: set[str] = set()
        self._reported: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        """Number of files per outcome; reported to the server together with the stores they are in."""

    @classmethod
    async def open(cls, source: BinaryIO, target: BinaryIO) -> ServerConnection:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, target)
        return cls(reader, asyncio.StreamWriter(transport, protocol, None, loop))

    def send(self, message: ToServer) -> None:
        write_frame(self._writer, encode(message))

    def report_finished(self, store_id: str) -> None:
        """Report that a file of the store left `in_progress`. Files finish many at a time: one message reports all."""
        if not self._finished_stores:
            asyncio.get_running_loop().call_soon(self._send_finished)
        self._finished_stores.add(store_id)

    def _send_finished(self) -> None:
        self.send(Finished(sorted(self._finished_stores), dict(self.outcomes - self._reported)))
        self._reported = self.outcomes.copy()
        self._finished_stores.clear()

    async def receive(self) -> ToWorker | None:
        """Return the next message but results of writes, which go to their callers; None when the server is gone."""
        while True:
            try:
                _, payload = await read_frame(self._reader)
            except (asyncio.IncompleteReadError, OSError):
                self._close()
                return None
            message = decode_to_worker(payload)
            match message:
                case WriteResult():
                    self._pending.pop(message.number).set_result(message.result)
                case WriteFailed():
                    self._pending.pop(message.number).set_exception(message.exception())
                case request:
                    return request

    def _close(self) -> None:
        self._is_closed = True
        for pending in self._pending.values():
            pending.set_exception(_gone())
        self._pending.clear()

    async def execute(self, write: Write) -> bytes:
        """Have the server execute a write; return its result as MessagePack. Raises Unavailable and StorageFull."""
        if self._is_closed:
            raise _gone()
        number, pending = next(self._numbers), asyncio.get_running_loop().create_future()
        self._pending[number] = pending
        self.send(ExecuteWrite(number, write))
        return await asyncio.shield(pending)


class ServerDatabase:
    """`Database` that reads the rows here and has the server write them: only values of `Write` can be written."""

    def __init__(self, reader: Reader, server: ServerConnection) -> None:
        self._reader = reader
        self._server = server

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await self._reader.read(fn)

    async def close(self) -> None:
        await self._reader.close()

    async def write(self, fn: Callable[[Connection], T]) -> T:
        if not isinstance(fn, Write):
            raise TypeError(f"the server executes writes of the kinds in `Write`, and not {fn!r}")
        return msgspec.msgpack.decode(await self._server.execute(fn), type=RESULTS[type(fn)])  # type: ignore[no-any-return]


Compose = Callable[[Begin, ServerConnection], AbstractAsyncContextManager[Ingestion]]
"""Build and start a worker; it is stopped at the context's end. Raises StartupError."""


def run(compose: Compose) -> None:
    """Ingest for the server that spawned this process until it says so or goes away; exits the process."""
    if (pipes := child_process.enter("locum: ingestion")) is None:
        return
    _yield_processors()
    sys.exit(asyncio.run(_serve(*pipes, compose)))


def _yield_processors() -> None:
    """Lower the priority, and leave a processor to the server where there are several.

    Niceness alone does not do: a process is not always preempted at once. A service that may do neither goes on.
    """
    with contextlib.suppress(OSError):
        if hasattr(os, "nice"):
            os.nice(_NICENESS)
        if sys.platform == "linux" and len(allowed := os.sched_getaffinity(0)) > 1:
            os.sched_setaffinity(0, allowed - {min(allowed)})


async def _serve(source: BinaryIO, target: BinaryIO, compose: Compose) -> int:
    """Return the exit status."""
    if sys.platform != "win32":
        # A service manager sends SIGTERM to all processes of a service; the server ends this one in time.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
    server = await ServerConnection.open(source, target)
    begin = await server.receive()
    if not isinstance(begin, Begin):
        return 0
    over = asyncio.Event()
    try:
        async with compose(begin, server) as ingestion:
            # Received to the end: the server also executes the writes of the shutdown.
            receiving = asyncio.create_task(_receive_forever(server, ingestion, over))
            receiving.add_done_callback(lambda _: over.set())
            heartbeat = asyncio.create_task(_send_heartbeats(server, ingestion.worker))
            await over.wait()
            heartbeat.cancel()
    except StartupError as error:
        log.error("files cannot be ingested", reason=error.message)
        return 1
    receiving.cancel()
    return 0


async def _receive_forever(server: ServerConnection, ingestion: Ingestion, over: asyncio.Event) -> None:
    async def cover(request: Cover) -> None:
        await ingestion.maintenance.cover(request.resource, request.store_id)
        server.send(Covered(request))

    covering = TaskSet()
    while True:
        match await server.receive():
            case Wake():
                ingestion.worker.wake()
            case Rebuild(resource, store_id):
                ingestion.maintenance.rebuild(resource, store_id)
            case Cover() as request:
                covering.start(cover(request))
            case Stop():
                over.set()
            case None:
                return


async def _send_heartbeats(server: ServerConnection, worker: IngestionWorker) -> None:
    while True:
        server.send(Alive(worker.is_healthy))
        await asyncio.sleep(ALIVE_SECONDS)


def _gone() -> Unavailable:
    return Unavailable("The server is gone.")
