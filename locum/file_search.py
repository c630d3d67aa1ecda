"""File search put together: settings to embedder, search, and the process that ingests files (`ingestion.py` puts that
together). Beside `app`, the composition root.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from locum.clock import Clock
from locum.domain.search import Passage, Query
from locum.errors import StartupError
from locum.models.openai_compatible import Connections
from locum.models.routes import Routes
from locum.search import abilities, derived
from locum.search.derived import Shelf
from locum.search.embedders.base import Embedder
from locum.search.embedders.open import described, open_embedder
from locum.search.ingester import Begin, Ingester
from locum.search.rerank import RerankEndpoint
from locum.search.rewrite import ModelRewriter
from locum.search.search import Search
from locum.search.workbench import Workbench
from locum.settings import Settings
from locum.signals.local import LocalSignals
from locum.store.data_dir import lock_derived
from locum.store.database import Database, Reader
from locum.store.sqlite import SQLite, SQLiteReader

log = structlog.get_logger(__name__)

_PROBE_AGAIN_SECONDS = 60.0


class FileSearch:
    """What the rest of a server sees of it."""

    def __init__(self, ingester: Ingester, search: Search, shelf: Shelf, embedder: Embedder | None) -> None:
        self._ingester = ingester
        self._search = search
        self._shelf = shelf
        self.description = described(embedder)

    def wake(self) -> None:
        """There may be files to ingest."""
        self._ingester.wake()

    async def settled(self, resource: str, store_id: str, *, timeout: float) -> bool:  # noqa: ASYNC109
        """Whether no file of the store is being ingested any more; waits for that at most `timeout` seconds."""
        return await self._ingester.settled(resource, store_id, timeout=timeout)

    async def search(self, resource: str, store_ids: Sequence[str], query: Query) -> tuple[Passage, ...]:
        """The passages that answer best, best first; NotFound, StoreExpired."""
        return await self._search.search(resource, store_ids, query)

    async def text(self, document: str) -> str | None:
        """The text of a document that was ingested."""
        return await self._shelf.text(document)

    @property
    def is_healthy(self) -> bool:
        return self._ingester.is_healthy

    @property
    def outcomes(self) -> Counter[str]:
        """How many files became what since the start."""
        return self._ingester.outcomes


@asynccontextmanager
async def file_search(
    settings: Settings, db: Database, clock: Clock, signals: LocalSignals, *, owner: str, keyless: bool
) -> AsyncIterator[FileSearch]:
    """Ingest and search until the end. keyless: nobody but this machine's own user gets in."""
    async with AsyncExitStack() as stack:
        data = await _open_derived(settings, db, stack)
        workbench = Workbench()  # for queries: they do not wait behind documents
        stack.push_async_callback(workbench.close)
        embedder = await open_embedder(settings, workbench)
        if embedder is not None:
            stack.push_async_callback(embedder.close)
        begin = Begin(settings=settings.model_dump_json().encode(), owner=owner, keyless=keyless)
        ingester = Ingester(db, data, signals, begin, is_shared=settings.database_url is not None)
        shelf = Shelf(data)
        search = Search(
            db,
            shelf,
            settings.data_dir / "search",
            embedder=embedder,
            reranker=open_reranker(settings, stack),
            memory_bytes=settings.search_memory_bytes,
            clock=clock,
            damaged=ingester.damaged,
            cover=ingester.cover,
        )
        ingester.start()
        stack.push_async_callback(ingester.stop)
        if embedder is not None:
            probing = asyncio.create_task(_find_out(search, embedder), name="embedder probe")
            stack.callback(probing.cancel)
        yield FileSearch(ingester, search, shelf, embedder)


def open_rewriter(settings: Settings, routes: Routes) -> ModelRewriter | None:
    """None where nobody rewrites queries: no model is named for it, or there is none but the demo model, whose rules
    know no other words for anything."""
    if settings.search_rewrite_model is None:
        return None
    if routes.is_demo:
        log.warning("LOCUM_SEARCH_REWRITE_MODEL is set, and the demo model cannot rewrite: no query is rewritten")
        return None
    return ModelRewriter(routes.resolve, settings.search_rewrite_model)


async def _find_out(search: Search, embedder: Embedder) -> None:
    """Try what the embedder reads; until that is known, searches go by words."""
    while search.abilities is None:
        try:
            search.abilities = await abilities.probe(embedder.identity, embedder.embed)
        except Exception as error:  # whatever it is, it may be there later
            log.warning("the embedder could not be tried", embedder=embedder.name, error=str(error))
            await asyncio.sleep(_PROBE_AGAIN_SECONDS)
        else:
            read = {name: round(each.ability, 2) for name, each in search.abilities.languages.items() if each.ability}
            log.info("the embedder was tried", embedder=embedder.name, reads=read)


def open_reranker(settings: Settings, stack: AsyncExitStack) -> RerankEndpoint | None:
    """None where none is set; StartupError says what is wrong with the settings."""
    if settings.rerank_base_url is None:
        return None
    if settings.rerank_model is None:
        raise StartupError("LOCUM_RERANK_BASE_URL needs LOCUM_RERANK_MODEL, the name of a model there.")
    connections = Connections()
    stack.push_async_callback(connections.close)
    return RerankEndpoint(
        base_url=settings.rerank_base_url,
        model=settings.rerank_model,
        session=connections.session,
        api_key=settings.rerank_api_key,
    )


async def _open_derived(settings: Settings, db: Database, stack: AsyncExitStack) -> Reader:
    """In the shape of this release, to be read. With SQLite it is a file of its own: who ingests writes that."""
    if settings.database_url is not None:
        await db.write(derived.prepare)
        return db
    path = settings.data_dir / "search.db"
    try:
        with await lock_derived(settings.data_dir):
            await SQLite(path, derived.prepare).close()
    except StartupError as error:
        hint = "All of it can be made again: remove the file."
        raise StartupError(f"{error.message} {hint}") from None
    data = SQLiteReader(path)
    stack.push_async_callback(data.close)
    return data
