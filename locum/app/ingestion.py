"""Composition root of the ingestion worker's process: settings to parser, embedder, worker and maintenance."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from locum import logs
from locum.app.adapters import explains_errors
from locum.app.embedders import open_embedder
from locum.blobs.open import open_blobs
from locum.clock import system_clock
from locum.documents import store as document_store
from locum.ingestion import process
from locum.ingestion.compute import ComputeProcess
from locum.ingestion.document_builder import DocumentBuilder
from locum.ingestion.extract.parser import SandboxParser
from locum.ingestion.indexes import KeywordIndexes
from locum.ingestion.maintenance import Maintenance
from locum.ingestion.process import Ingestion, ServerConnection, ServerDatabase
from locum.ingestion.protocol import Begin
from locum.ingestion.worker import IngestionWorker
from locum.search.keyword.index import directory_of
from locum.settings import Settings
from locum.store.data_dir import lock_derived
from locum.store.database import Database
from locum.store.sqlite import REBUILD, SQLite, SQLiteReader

_POSTGRES_CONNECTIONS = 5
"""Beside those of the server."""


def main() -> None:
    """Ingest files for the server that spawned this process."""
    process.run(compose)


@asynccontextmanager
async def compose(begin: Begin, server: ServerConnection) -> AsyncIterator[Ingestion]:
    """Build and start the worker; it is stopped at the end. Raises StartupError."""
    settings = Settings(**msgspec.json.decode(begin.settings))
    logs.configure(settings.log_format)
    async with AsyncExitStack() as stack:
        stack.enter_context(await lock_derived(settings.data_dir))
        db, data = await _open_databases(settings, server, stack)
        compute = ComputeProcess()
        stack.push_async_callback(compute.close)
        builder = await _open_builder(settings, begin, db, data, compute, stack)
        root = settings.data_dir / "search"
        indexes = KeywordIndexes(data, compute, lambda store_id: directory_of(root, store_id))
        worker = IngestionWorker(
            *(db, system_clock, server.report_finished, builder, indexes),
            owner=begin.owner,
            slots=settings.ingest_slots,
            explain_errors=explains_errors(settings, keyless=begin.keyless),
        )
        maintenance = Maintenance(db, data, system_clock, builder, indexes, is_shared=settings.database_url is not None)
        worker.on_other_embedder = maintenance.wake
        server.outcomes = worker.outcomes
        worker.start()
        stack.push_async_callback(worker.stop)
        maintenance.start()
        stack.push_async_callback(maintenance.stop)
        yield Ingestion(worker, maintenance)


async def _open_builder(
    settings: Settings, begin: Begin, db: Database, data: Database, compute: ComputeProcess, stack: AsyncExitStack
) -> DocumentBuilder:
    blobs = open_blobs(settings.blob_url, settings.data_dir)
    stack.push_async_callback(blobs.close)
    embedder = await open_embedder(settings, compute)
    if embedder is not None:
        stack.push_async_callback(embedder.close)
    parser = SandboxParser(
        settings.data_dir / "sandbox-parser",
        mode=settings.sandbox,
        accepts_weak=begin.keyless,
        at_once=settings.ingest_slots,
    )
    stack.push_async_callback(parser.close)
    return DocumentBuilder(db, data, blobs, system_clock, parser, embedder, compute)


async def _open_databases(
    settings: Settings, server: ServerConnection, stack: AsyncExitStack
) -> tuple[Database, Database]:
    """Open the rows and the derived data: one and the same database on PostgreSQL."""
    if settings.database_url is not None:
        from locum.store.postgres import Postgres

        postgres = await Postgres.open(settings.database_url, connections=_POSTGRES_CONNECTIONS)
        stack.push_async_callback(postgres.close)
        return postgres, postgres
    rows = ServerDatabase(SQLiteReader(settings.data_dir / "locum.db"), server)
    stack.push_async_callback(rows.close)
    data = SQLite(
        settings.data_dir / "search.db",
        document_store.prepare,
        durable=False,  # not synced with each file: whatever a power failure takes is rebuilt
        check_seconds=0,  # the server has checked it at its start
        remedy=REBUILD,
    )
    stack.push_async_callback(data.close)
    return rows, data
