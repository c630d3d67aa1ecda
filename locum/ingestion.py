"""Ingestion put together, in the process that does nothing else: settings to parser, embedder, pipeline and upkeep.

A composition root beside `app` and `file_search`; `search/ingester.py` has what the server and this process say to each
other, and why it is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import BinaryIO, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection

from locum import logs
from locum.blobs.open import open_blobs
from locum.clock import system_clock
from locum.errors import StartupError, Unavailable
from locum.search import derived, processes
from locum.search import ingester as wire
from locum.search.embedders.open import open_embedder
from locum.search.indexes import KeywordIndexes
from locum.search.keyword import directory_of
from locum.search.library import Library
from locum.search.parse import SandboxParser
from locum.search.pipeline import Pipeline
from locum.search.upkeep import Upkeep
from locum.search.workbench import Workbench
from locum.settings import Settings
from locum.store.data_dir import lock_derived
from locum.store.database import Database
from locum.store.ingestion import GIVES, Write
from locum.store.sqlite import SQLite, SQLiteReader

log = structlog.get_logger(__name__)

T = TypeVar("T")

_NICENESS = 10
_CONNECTIONS = 5
"""To PostgreSQL: beside those of the server."""


def main() -> None:
    """Serve the server that started this until it says that it is enough, or goes away."""
    if (pipes := processes.settle()) is None:
        return
    _give_way()
    sys.exit(asyncio.run(_serve(*pipes)))


def _give_way() -> None:
    """Be nice, and leave a processor to the server where there are several: niceness alone does not do, as a process is
    not always interrupted for another one at once. Where a service may do neither, it goes on as it is."""
    with contextlib.suppress(OSError):
        if hasattr(os, "nice"):
            os.nice(_NICENESS)
        if sys.platform == "linux" and len(allowed := os.sched_getaffinity(0)) > 1:
            os.sched_setaffinity(0, allowed - {min(allowed)})


async def _serve(source: BinaryIO, target: BinaryIO) -> int:
    """The exit status."""
    if sys.platform != "win32":
        # What ends a whole service says so to all of its processes; the server ends this one when it is time.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
    line = await Line.open(source, target)
    begin = await line.hear()
    if not isinstance(begin, wire.Begin):
        return 0
    settings = Settings(**msgspec.json.decode(begin.settings))
    logs.configure(settings.log_format)
    over = asyncio.Event()
    try:
        async with _ingesting(settings, begin, line) as (pipeline, upkeep):
            # It hears on to the end: what is given back is written by the server.
            hearing = asyncio.create_task(_hear(line, pipeline, upkeep, over))
            hearing.add_done_callback(lambda _: over.set())
            telling = asyncio.create_task(_tell_forever(line, pipeline))
            await over.wait()
            telling.cancel()
    except StartupError as error:
        log.error("files cannot be ingested", reason=error.message)
        return 1
    hearing.cancel()
    return 0


@asynccontextmanager
async def _ingesting(settings: Settings, begin: wire.Begin, line: Line) -> AsyncIterator[tuple[Pipeline, Upkeep]]:
    async with AsyncExitStack() as stack:
        stack.enter_context(await lock_derived(settings.data_dir))
        db, data = await _open_databases(settings, line, stack)
        blobs = open_blobs(settings.blob_url, settings.data_dir)
        stack.push_async_callback(blobs.close)
        workbench = Workbench()
        stack.push_async_callback(workbench.close)
        embedder = await open_embedder(settings, workbench)
        if embedder is not None:
            stack.push_async_callback(embedder.close)
        parser = SandboxParser(
            settings.data_dir / "sandbox-parser",
            mode=settings.sandbox,
            accepts_weak=begin.keyless,
            at_once=settings.ingest_slots,
        )
        stack.push_async_callback(parser.close)
        root = settings.data_dir / "search"
        indexes = KeywordIndexes(data, workbench, lambda store_id: directory_of(root, store_id))
        library = Library(db, data, blobs, system_clock, parser, embedder, workbench)
        pipeline = Pipeline(
            *(db, system_clock, line.changed, library, indexes), owner=begin.owner, slots=settings.ingest_slots
        )
        upkeep = Upkeep(db, data, system_clock, library, indexes, is_shared=settings.database_url is not None)
        pipeline.on_other_embedder = upkeep.wake
        line.outcomes = pipeline.outcomes
        pipeline.start()
        stack.push_async_callback(pipeline.stop)
        upkeep.start()
        stack.push_async_callback(upkeep.stop)
        yield pipeline, upkeep


async def _open_databases(settings: Settings, line: Line, stack: AsyncExitStack) -> tuple[Database, Database]:
    """The rows, and the derived data: one and the same on PostgreSQL."""
    if settings.database_url is not None:
        from locum.store.postgres import Postgres

        postgres = await Postgres.open(settings.database_url, connections=_CONNECTIONS)
        stack.push_async_callback(postgres.close)
        return postgres, postgres
    rows = ServersRows(SQLiteReader(settings.data_dir / "locum.db"), line)
    stack.push_async_callback(rows.close)
    # What a power failure takes is missing then, and made again: it is not waited for the disk with each file.
    data = SQLite(settings.data_dir / "search.db", derived.prepare, durable=False)
    stack.push_async_callback(data.close)
    return rows, data


async def _hear(line: Line, pipeline: Pipeline, upkeep: Upkeep, over: asyncio.Event) -> None:
    async def cover(message: wire.Cover) -> None:
        await upkeep.cover(message.resource, message.store_id)
        line.say(wire.Covered(message))

    covering = set[asyncio.Task[None]]()
    while True:
        match await line.hear():
            case wire.Wake():
                pipeline.wake()
            case wire.Rebuild(resource, store_id):
                upkeep.damaged(resource, store_id)
            case wire.Cover() as message:
                task = asyncio.create_task(cover(message))
                covering.add(task)
                task.add_done_callback(covering.discard)
            case wire.Stop():
                over.set()
            case None:
                return


async def _tell_forever(line: Line, pipeline: Pipeline) -> None:
    while True:
        line.say(wire.Alive(pipeline.is_healthy))
        await asyncio.sleep(wire.ALIVE_SECONDS)


class Line:
    """To the server and from it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count()
        self._wanted: dict[int, asyncio.Future[bytes]] = {}
        self._is_over = False
        self._moved: set[str] = set()
        self._told: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        """What became of how many files; the server is told with the stores in which something has changed."""

    @classmethod
    async def open(cls, source: BinaryIO, target: BinaryIO) -> Line:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, target)
        return cls(reader, asyncio.StreamWriter(transport, protocol, None, loop))

    def say(self, message: wire.ToServer) -> None:
        processes.say(self._writer, wire.encode(message))

    def changed(self, store_id: str) -> None:
        """A file of the store is not being ingested any more. Files are done with many at a time: that is told once."""
        if not self._moved:
            asyncio.get_running_loop().call_soon(self._tell_moved)
        self._moved.add(store_id)

    def _tell_moved(self) -> None:
        self.say(wire.Moved(sorted(self._moved), dict(self.outcomes - self._told)))
        self._told = self.outcomes.copy()
        self._moved.clear()

    async def hear(self) -> wire.ToProcess | None:
        """The next message, but for answers to `carry_out`, which go to those who wait for them. None at the end."""
        while True:
            try:
                message = wire.to_process.decode(await processes.hear(self._reader))
            except (asyncio.IncompleteReadError, OSError):
                self._is_over = True
                for wanted in self._wanted.values():
                    wanted.set_exception(_gone())
                self._wanted.clear()
                return None
            if not isinstance(message, wire.Written | wire.Refused):
                return message
            wanted = self._wanted.pop(message.number)
            if isinstance(message, wire.Written):
                wanted.set_result(message.result)
            else:
                wanted.set_exception(wire.refusal(message))

    async def carry_out(self, write: Write) -> bytes:
        """What it gives, as msgpack; raises Unavailable and StorageFull as a database does."""
        if self._is_over:
            raise _gone()
        number, wanted = next(self._numbers), asyncio.get_running_loop().create_future()
        self._wanted[number] = wanted
        self.say(wire.Want(number, write))
        return await asyncio.shield(wanted)


class ServersRows:
    """A `Database` that the server writes: what is to be written must be one of `Write`."""

    def __init__(self, reader: SQLiteReader, line: Line) -> None:
        self._reader = reader
        self._line = line

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await self._reader.read(fn)

    async def write(self, fn: Callable[[Connection], T]) -> T:
        if not isinstance(fn, Write):
            raise TypeError(f"the server writes its rows, and can be asked for what is in `Write`, not for {fn!r}")
        return msgspec.msgpack.decode(await self._line.carry_out(fn), type=GIVES[type(fn)])  # type: ignore[no-any-return]

    async def close(self) -> None:
        await self._reader.close()


def _gone() -> Unavailable:
    return Unavailable("The server is gone.")


if __name__ == "__main__":
    main()
