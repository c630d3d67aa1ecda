"""Composition root of file search in the server: settings to embedder, search, and the supervisor of ingestion."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from locum.app.embedders import describe, open_embedder
from locum.clock import Clock
from locum.documents import store as document_store
from locum.documents.store import DocumentReader
from locum.domain.search import Passage, Query
from locum.errors import StartupError
from locum.ingestion.compute import ComputeProcess
from locum.ingestion.protocol import Begin
from locum.ingestion.supervisor import Supervisor
from locum.models.routes import Routes
from locum.search import language_probe
from locum.search.embedders.base import Embedder
from locum.search.rerank import RerankEndpoint
from locum.search.rewrite import ModelRewriter
from locum.search.search import Search
from locum.settings import Settings
from locum.signals.base import Signals
from locum.store.data_dir import lock_derived
from locum.store.database import Database, Reader
from locum.store.sqlite import REBUILD, SQLite, SQLiteReader

log = structlog.get_logger(__name__)

INGESTION_MODULE = "locum.app.ingestion"
"""Module whose `main` is the ingestion worker's process."""
_PROBE_RETRY_SECONDS = 60.0


class FileSearch:
    """File search as the rest of a server uses it."""

    def __init__(
        self, supervisor: Supervisor, search: Search, documents: DocumentReader, embedder: Embedder | None
    ) -> None:
        self._supervisor = supervisor
        self._search = search
        self._documents = documents
        self.description = describe(embedder)

    def wake(self) -> None:
        """Look for files to ingest."""
        self._supervisor.wake()

    async def wait_until_ingested(self, resource: str, store_id: str, *, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait at most `timeout` seconds until no file of the store is `in_progress`; return whether none is."""
        return await self._supervisor.wait_until_ingested(resource, store_id, timeout=timeout)

    async def search(self, resource: str, store_ids: Sequence[str], query: Query) -> tuple[Passage, ...]:
        """Return the best passages, best first. Raises NotFound, StoreExpired."""
        return await self._search.search(resource, store_ids, query)

    async def text(self, document: str) -> str | None:
        """Return the text of an ingested document."""
        return await self._documents.text(document)

    @property
    def is_healthy(self) -> bool:
        return self._supervisor.is_healthy

    @property
    def outcomes(self) -> Counter[str]:
        """Number of ingested files per outcome since the start."""
        return self._supervisor.outcomes


@asynccontextmanager
async def open_file_search(
    settings: Settings, db: Database, clock: Clock, signals: Signals, *, owner: str, keyless: bool
) -> AsyncIterator[FileSearch]:
    """Search, and keep ingestion running, until the end. keyless: only this machine's own user can reach the server."""
    async with AsyncExitStack() as stack:
        data = await _open_derived_data(settings, db, stack)
        compute = ComputeProcess()  # for queries, which must not wait behind documents
        stack.push_async_callback(compute.close)
        embedder = await open_embedder(settings, compute)
        if embedder is not None:
            stack.push_async_callback(embedder.close)
        begin = Begin(settings=settings.model_dump_json().encode(), owner=owner, keyless=keyless)
        is_shared = settings.database_url is not None
        supervisor = Supervisor(db, data, signals, begin, module=INGESTION_MODULE, is_shared=is_shared)
        documents = DocumentReader(data)
        search = Search(
            db,
            documents,
            settings.data_dir / "search",
            embedder=embedder,
            reranker=open_reranker(settings, stack),
            memory_bytes=settings.search_memory_bytes,
            clock=clock,
            damaged=supervisor.rebuild,
            cover=supervisor.cover,
        )
        supervisor.start()
        stack.push_async_callback(supervisor.stop)
        if embedder is not None:
            probing = asyncio.create_task(_probe_embedder(search, embedder), name="embedder probe")
            stack.callback(probing.cancel)
        yield FileSearch(supervisor, search, documents, embedder)


def open_rewriter(settings: Settings, routes: Routes) -> ModelRewriter | None:
    """Return None where no model is named for rewriting, or there is only the demo model, which cannot rewrite."""
    if settings.search_rewrite_model is None:
        return None
    if routes.is_demo:
        log.warning("LOCUM_SEARCH_REWRITE_MODEL is set, and the demo model cannot rewrite: no query is rewritten")
        return None
    return ModelRewriter(routes.resolve, settings.search_rewrite_model)


async def _probe_embedder(search: Search, embedder: Embedder) -> None:
    """Find out which languages the embedder reads; until then searches go by words."""
    while search.abilities is None:
        try:
            search.abilities = await language_probe.probe(embedder.identity, embedder.embed)
        except Exception as error:  # a server that is down, for instance
            log.warning("the embedder could not be tried", embedder=embedder.name, error=str(error))
            await asyncio.sleep(_PROBE_RETRY_SECONDS)
        else:
            languages = search.abilities.languages.items()
            reads = {name: round(language.ability, 2) for name, language in languages if language.ability}
            log.info("the embedder was tried", embedder=embedder.name, reads=reads)


def open_reranker(settings: Settings, stack: AsyncExitStack) -> RerankEndpoint | None:
    """Return None where none is configured. Raises StartupError."""
    if settings.rerank_base_url is None:
        return None
    if settings.rerank_model is None:
        raise StartupError("LOCUM_RERANK_BASE_URL needs LOCUM_RERANK_MODEL, the name of a model there.")
    from locum.models.openai_compatible import Connections

    connections = Connections()
    stack.push_async_callback(connections.close)
    return RerankEndpoint(
        base_url=settings.rerank_base_url,
        model=settings.rerank_model,
        session=connections.session,
        api_key=settings.rerank_api_key,
    )


async def _open_derived_data(settings: Settings, db: Database, stack: AsyncExitStack) -> Reader:
    """Open the derived data for reading, with the tables of this release. With SQLite it is a file of its own."""
    if settings.database_url is not None:
        await db.write(document_store.prepare)
        return db
    path = settings.data_dir / "search.db"
    with await lock_derived(settings.data_dir):
        await SQLite(path, document_store.prepare, remedy=REBUILD).close()
    data = SQLiteReader(path)
    stack.push_async_callback(data.close)
    return data
