"""How fast files become searchable, stage by stage: cutting, the rows of the derived data, the keyword index; and files
through the whole pipeline, searched by words alone (what an embedder takes is its own).

Texts are Python's builder (code), this project's pages (prose) and its Korean page, repeated with other numbers so that
no two are alike.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from bench import measuring
from bench.measuring import Target
from bench.server import scratch
from locum import ids
from locum.blobs.disk import DiskBlobs
from locum.clock import system_clock
from locum.documents import store as document_store
from locum.documents.types import Ranges
from locum.domain.files import File, blob_key
from locum.domain.vector_stores import Chunking, VectorStore, VectorStoreFile
from locum.ingestion.chunk import Tokens
from locum.ingestion.compute import ComputeProcess
from locum.ingestion.document_builder import DocumentBuilder
from locum.ingestion.extract.parser import Parsed
from locum.ingestion.indexes import KeywordIndexes
from locum.ingestion.supervisor import wait_until_ingested
from locum.ingestion.worker import IngestionWorker
from locum.signals.local import LocalSignals
from locum.store import files as file_rows
from locum.store import staged_blobs, vector_stores
from locum.store import vector_store_files as rows
from locum.store.sqlite import SQLite

ROOT = Path(__file__).parents[1]
MB = 1_000_000
_RESOURCE = "bench"


def texts(letters: int) -> dict[str, str]:
    """Kind -> that many code points of it."""
    builder = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    sources = {"code": builder, "prose": sorted(ROOT.glob("docs/**/*.md")), "Korean": [ROOT / "README.ko.md"]}
    return {kind: _filled([path.read_text() for path in paths], letters) for kind, paths in sources.items()}


def _filled(parts: list[str], letters: int) -> str:
    whole, size, number = [], 0, 0
    while size < letters:
        part = f"\n\nPart {number}\n\n{parts[number % len(parts)]}"
        whole.append(part)
        size, number = size + len(part), number + 1
    return "".join(whole)[:letters]


class Meter:
    """Wall and processor seconds of what is done in `running`, of this process."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def rates(self, amount: float) -> dict[str, Any]:
        return {
            "per_second": measuring.spread([amount / each for each in self.wall]),
            "per_cpu_second": measuring.spread([amount / each for each in self.cpu]),
        }


def cutting(kinds: dict[str, str], repeats: int) -> dict[str, Any]:
    """MB of UTF-8 a second: chunks and windows."""
    figures = {}
    Tokens("warm up")
    for kind, text in kinds.items():
        meter = Meter()
        for _ in range(repeats):
            with meter.running():
                tokens = Tokens(text)
                tokens.chunks(Chunking())
                tokens.windows()
        figures[f"cut {kind}, MB"] = meter.rates(len(text.encode()) / MB)
    return figures


def keeping(folder: Path, text: str, repeats: int) -> dict[str, Any]:
    """Documents of 20,000 letters a second into the derived data, each in a transaction of its own, 16 at a time."""
    documents = [text[at : at + 20_000] for at in range(0, len(text), 20_000)]
    meter = Meter()

    async def keep(data: SQLite, name: str) -> None:
        gate = asyncio.Semaphore(16)

        async def one(number: int, words: str) -> None:
            async with gate:
                key = f"{name}-{number}"
                await data.write(lambda conn: document_store.put_document(conn, key, words, (), now=1.0))

        await asyncio.gather(*(one(number, words) for number, words in enumerate(documents)))

    async def go() -> None:
        data = SQLite(folder / "keeping.db", document_store.prepare)
        for number in range(repeats):
            with meter.running():
                await keep(data, str(number))
        await data.close()

    asyncio.run(go())
    return {"kept documents": meter.rates(len(documents))}


def indexing(folder: Path, kinds: dict[str, str], repeats: int) -> dict[str, Any]:
    """Default chunks a second into a keyword index, 50 to a file, a commit for 32 files."""
    from locum.search.keyword.index import KeywordWriter

    figures = {}
    for kind, text in kinds.items():
        chunks = Tokens(text).chunks(Chunking())
        units = [_unit(text, chunks[at : at + 50]) for at in range(0, len(chunks), 50)]
        meter = Meter()
        for number in range(repeats):
            writer = KeywordWriter(folder / f"index-{kind}-{number}")
            with meter.running():
                for at in range(0, len(units), 32):
                    writer.apply(remove=(), add=units[at : at + 32])
        figures[f"indexed {kind}, chunks"] = meter.rates(len(chunks))
    return figures


def _unit(text: str, chunks: Ranges) -> tuple[str, str, Ranges]:
    """Some chunks of a text, as a document of their own."""
    start, end = int(chunks[0, 0]), int(chunks[-1, 1])
    return f"{start}:800:400", text[start:end], chunks - start


class _PlainText:
    version = "bench"

    async def parse(self, filename: str, chunks: Callable[[], AsyncIterator[bytes]]) -> Parsed:
        return Parsed(text=b"".join([piece async for piece in chunks()]).decode())


def ingesting(folder: Path, text: str, count: int) -> dict[str, Any]:
    """Files of 20,000 letters a second from their rows to `completed`; processor time is of who ingests."""
    meter = Meter()

    async def go() -> None:
        db, data = SQLite(folder / "locum.db"), SQLite(folder / "search.db", document_store.prepare)
        blobs, compute = DiskBlobs(folder / "blobs"), ComputeProcess()
        indexes = KeywordIndexes(data, compute, lambda store_id: folder / "indexes" / store_id)
        builder = DocumentBuilder(db, data, blobs, system_clock, _PlainText(), None, compute)
        signals = LocalSignals()
        worker = IngestionWorker(db, system_clock, signals.changed, builder, indexes, owner="bench", slots=4)
        store = VectorStore(id="vs_1", created_at=1, last_active_at=1)
        await db.write(lambda conn: vector_stores.insert(conn, _RESOURCE, store))
        await compute.cut("warm up", Chunking(), windows=True)
        step = (len(text) - 20_000) // count
        files = [await _stored(db, blobs, text[at * step : at * step + 20_000]) for at in range(count)]

        members = [VectorStoreFile(id=file.id, created_at=1, vector_store_id=store.id) for file in files]

        with meter.running():
            await db.write(lambda conn: rows.insert(conn, _RESOURCE, members))
            worker.start()
            if not await wait_until_ingested(db, signals, _RESOURCE, store.id, seconds=600):
                raise RuntimeError("the files were not ingested within ten minutes")
        if worker.outcomes["completed"] != count:
            raise RuntimeError(f"not all files were ingested: {dict(worker.outcomes)}")
        await worker.stop()
        for resource in (compute, data, db):
            await resource.close()

    asyncio.run(go())
    return {"ingested files": meter.rates(count)}


async def _stored(db: SQLite, blobs: DiskBlobs, text: str) -> File:
    content = text.encode()
    digest = hashlib.sha256(content).hexdigest()
    file = File(
        id=ids.new("file-"), created_at=1, filename="a.md", purpose="assistants", bytes=len(content), sha256=digest
    )

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    await blobs.put(blob_key(file.id), chunks(), max_bytes=len(content))

    def insert(conn: Connection) -> None:
        staged_blobs.note(conn, blob_key(file.id), now=1)
        file_rows.insert(conn, _RESOURCE, file)

    await db.write(insert)
    return file


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--files", type=int, default=200)
    options = arguments.parse_args()
    began_on = measuring.machine()
    kinds = texts(4_000_000)
    with tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch()) as name:
        folder = Path(name)
        figures = {
            **cutting(kinds, options.repeats),
            **keeping(folder, kinds["prose"], options.repeats),
            **indexing(folder, kinds, options.repeats),
            **ingesting(folder, kinds["prose"], options.files),
        }
    table = [
        [
            stage,
            f"{found['per_second']['median']:.1f} ({found['per_second']['max']:.1f})",
            f"{found['per_cpu_second']['median']:.1f}",
        ]
        for stage, found in figures.items()
    ]
    measuring.print_table(["stage", "per second (best)", "per CPU second"], table)
    slowest = min(found["per_cpu_second"]["median"] for stage, found in figures.items() if stage.startswith("cut"))
    measuring.save("ingest_rate", figures, [Target("cutting: MB per CPU second", slowest, at_least=5)], began_on)


if __name__ == "__main__":
    main()
