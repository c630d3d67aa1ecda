"""A worker on real rows with all that belongs to it, put together as the server does; also as a process to be killed.

    python -m tests.ingestion.ingesting DIRECTORY [DATABASE_URL] [EMBEDDING_URL]

claims what is there, prints `settled` when nothing is left, and waits to be killed.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from locum import ids
from locum.blobs.disk import DiskBlobs
from locum.clock import Clock, system_clock
from locum.documents import store as document_store
from locum.domain.files import File, blob_key
from locum.domain.vector_stores import Attribute, Chunking, VectorStore, VectorStoreFile
from locum.ingestion.compute import ComputeProcess
from locum.ingestion.document_builder import DocumentBuilder
from locum.ingestion.extract.parser import Parsed, Unreadable
from locum.ingestion.indexes import KeywordIndexes
from locum.ingestion.maintenance import Maintenance
from locum.ingestion.supervisor import wait_until_ingested
from locum.ingestion.worker import GATHER_SECONDS, IngestionWorker
from locum.search.embedders.base import Embedder
from locum.search.embedders.remote import RemoteEmbedder
from locum.signals.local import LocalSignals
from locum.store import files as file_rows
from locum.store import staged_blobs
from locum.store import vector_store_files as rows
from locum.store import vector_stores as store_rows
from locum.store.database import Database
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLite
from tests.search import indexing

RESOURCE = "res"
_AUTO = Chunking()


class PlainText:
    """A parser of UTF-8. `held` keeps a file until it is set; `parsed` and `begun` have the names it was asked for."""

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.parsed: list[str] = []
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.held: asyncio.Event | None = None
        self.trouble: Callable[[str], Exception | None] = lambda _: None

    async def parse(self, filename: str, chunks: Callable[[], AsyncIterator[bytes]]) -> Parsed:
        self.parsed.append(filename)
        self.begun.put_nowait(filename)
        if self.held is not None:
            await self.held.wait()
        if (error := self.trouble(filename)) is not None:
            raise error
        data = b"".join([piece async for piece in chunks()])
        try:
            return Parsed(text=data.decode())
        except UnicodeDecodeError:
            raise Unreadable("invalid_file", "The file is no text in UTF-8.") from None


class Ingestion:
    """One server's part of file search."""

    def __init__(
        self,
        db: Database,
        data: Database,
        directory: Path,
        *,
        embedder: Embedder | None = None,
        parser: PlainText | None = None,
        clock: Clock = system_clock,
        owner: str = "node_1",
        slots: int = 2,
        gather_seconds: float = GATHER_SECONDS,
        compute: ComputeProcess | None = None,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self.db, self.data, self.directory = db, data, directory
        self.clock = clock
        self.embedder = embedder
        self.parser = parser or PlainText()
        self.blobs = DiskBlobs(directory / "blobs")
        self.compute = compute or ComputeProcess()
        self._owns_compute = compute is None
        self.indexes = KeywordIndexes(data, self.compute, lambda store_id: directory / "search" / store_id)
        self.builder = DocumentBuilder(db, data, self.blobs, clock, self.parser, embedder, self.compute, sleep=sleep)
        self.signals = LocalSignals()
        self.worker = IngestionWorker(
            *(db, clock, self.signals.changed, self.builder, self.indexes),
            owner=owner,
            slots=slots,
            gather_seconds=gather_seconds,
            explain_errors=True,
        )
        self.maintenance = Maintenance(db, data, clock, self.builder, self.indexes)

    async def make_store(self, store_id: str | None = None) -> str:
        store = VectorStore(id=store_id or ids.new("vs_"), created_at=1, last_active_at=1)
        await self.db.write(lambda conn: store_rows.insert(conn, RESOURCE, store))
        return store.id

    async def upload(self, content: bytes, filename: str = "a.txt") -> str:
        file = File(
            id=ids.new("file-"),
            created_at=1,
            filename=filename,
            purpose="assistants",
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        await self.blobs.put(blob_key(file.id), chunks(), max_bytes=1 << 30)

        def insert(conn: Connection) -> None:
            staged_blobs.note(conn, blob_key(file.id), now=0)
            file_rows.insert(conn, RESOURCE, file)

        await self.db.write(insert)
        return file.id

    async def add(
        self,
        store_id: str,
        file_ids: Iterable[str],
        chunking: Chunking = _AUTO,
        **attributes: Attribute,
    ) -> list[int]:
        """The numbers of their rows."""

        files = [
            VectorStoreFile(
                id=file_id, created_at=1, vector_store_id=store_id, chunking=chunking, attributes=attributes
            )
            for file_id in file_ids
        ]
        added = await self.db.write(lambda conn: rows.insert(conn, RESOURCE, files))
        self.worker.wake()
        return added

    async def file(self, store_id: str, file_id: str) -> VectorStoreFile:
        return await self.db.read(lambda conn: rows.get(conn, RESOURCE, store_id, file_id, now=0))

    async def settle(self, store_id: str) -> None:
        assert await self.settled(store_id, seconds=60)

    async def settled(self, store_id: str, *, seconds: float) -> bool:
        return await wait_until_ingested(self.db, self.signals, RESOURCE, store_id, seconds=seconds)

    def indexed(self, store_id: str) -> dict[str, list[int]]:
        """Unit -> the ordinals of its chunks, in the keyword index."""
        return indexing.units(self.directory / "search" / store_id)

    def spoil_index(self, store_id: str) -> None:
        (self.directory / "search" / store_id / "meta.json").write_text("spoiled")

    async def close(self) -> None:
        await self.maintenance.stop()
        await self.worker.stop()
        if self._owns_compute:
            await self.compute.close()
        if self.embedder is not None:
            await self.embedder.close()


@asynccontextmanager
async def opened(directory: Path, database_url: str | None = None) -> AsyncIterator[tuple[Database, Database]]:
    """(the database, the derived data's)."""
    if database_url:
        postgres = await Postgres.open(database_url)
        await postgres.write(document_store.prepare)
        yield postgres, postgres
        await postgres.close()
        return
    db, data = SQLite(directory / "locum.db"), SQLite(directory / "search.db", document_store.prepare)
    yield db, data
    await data.close()
    await db.close()


async def serve(directory: Path, database_url: str | None, embedding_url: str | None) -> None:
    async with opened(directory, database_url) as (db, data):
        embedder = RemoteEmbedder(base_url=embedding_url, model="m") if embedding_url else None
        ingestion = Ingestion(db, data, directory, embedder=embedder)
        ingestion.worker.start()
        for _, store_id in await db.read(store_rows.all_ids):
            while not await ingestion.settled(store_id, seconds=60):
                pass
        print("settled", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Run the command line above."""
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2] or None, sys.argv[3] or None))


if __name__ == "__main__":
    main()
