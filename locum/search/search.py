"""Searching vector stores: by words always, by meaning where the embedder reads the query and the store.

What is searched is what the rows said when the search began: the indexes are asked, and what they find is joined
against the files of the stores as they were then. A file that was removed before is never found, whatever an index
still holds. Trouble with an index, the embedder or the reranker makes a search poorer; it does not fail it.
"""

from __future__ import annotations

import asyncio
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import Connection

from locum.clock import Clock, system_clock
from locum.documents.text import clean
from locum.documents.types import Derived, Part, Span
from locum.domain.search import Passage, Query
from locum.domain.vector_stores import VectorStore, VectorStoreFile
from locum.errors import InvalidRequest, LocumError, NotFound, Unavailable
from locum.search import ranking
from locum.search.embedders.base import Embedder
from locum.search.keyword.index import IndexUnusable, KeywordHit
from locum.search.language_probe import Abilities
from locum.search.ranking import Chunk, Found, Quotes, Ranked
from locum.search.rerank import Reranker, RerankFailed
from locum.search.store_cache import CachedStore, Cover, Membership, Scope, StoreCache, read
from locum.search.vectors import VectorHit
from locum.store import files, vector_stores
from locum.store.database import Database

LEAST_CANDIDATES = 100
CANDIDATES_OF_A_RESULT = 4
"""Hits of each kind that are ranked, for each store and query. More change nothing that can be measured, as long as
those in one chunk, or in chunks that repeat each other, leave enough."""
LONGEST_QUERY = 10_000
"""Characters of a query; of a longer one, the beginning is what is asked."""
RERANKED = 50
"""Passages that a reranker is asked about, where not more are wanted."""
SECONDS_BETWEEN_USES = 60
"""A store's `last_active_at` is exact to that: not every search writes."""
_EMBED_SECONDS = 10.0

Vector = NDArray[np.float32]
Answer = TypeVar("Answer")
Damaged = Callable[[str, str], None]
"""Told the resource and id of a store whose keyword index has to be built again, with every search until
that is done. Must not wait for it."""

_log = structlog.get_logger(__name__)


async def _covered(resource: str, store_id: str) -> None:
    """Whoever ingests alone has in its indexes what there is."""


class StoreExpired(InvalidRequest):
    """The store's time has passed since it was last used."""


class Searched(NamedTuple):
    """A store in one search. is_embedded: whether it has vectors that can be compared with a query's."""

    kept: CachedStore
    membership: Membership
    scope: Scope
    is_embedded: bool

    @property
    def is_whole(self) -> bool:
        return self.scope is self.membership.whole


class Meant(NamedTuple):
    """What a query finds in a store by its meaning, and how much that counts."""

    chunks: dict[Chunk, Found]
    weight: float


class Search:
    """Searches the stores of all resources.

    memory_bytes: what may be kept of stores between searches; the one longest unused makes room. abilities: what the
    embedder reads; until that is known, words alone are searched.
    """

    def __init__(
        self,
        db: Database,
        derived: Derived,
        directory: Path,
        *,
        embedder: Embedder | None = None,
        abilities: Abilities | None = None,
        reranker: Reranker | None = None,
        memory_bytes: int = 1024**3,
        clock: Clock = system_clock,
        damaged: Damaged = lambda resource, store_id: None,
        cover: Cover = _covered,
    ) -> None:
        self.embedder = embedder
        self.abilities = abilities
        self._db = db
        self._derived = derived
        self._reranker = reranker
        self._stores = StoreCache(directory, memory_bytes)
        self._clock = clock
        self._damaged = damaged
        self._cover = cover

    async def search(self, resource: str, store_ids: Sequence[str], query: Query) -> tuple[Passage, ...]:
        """The passages that answer best, best first.

        NotFound names a store that does not exist, StoreExpired one whose time has passed.
        """
        # Clean as the texts are: what a thousand accents on one letter cost, a query must not cost either.
        asked_for = (clean(text[:LONGEST_QUERY]) for text in query.texts)
        query = msgspec.structs.replace(query, texts=tuple(dict.fromkeys(asked_for)))
        stores = await self._open(resource, store_ids, query)
        asked = self._reranker if query.rerank else None
        limit = max(query.limit, RERANKED) if asked else query.limit
        found = await self._find(stores, query.texts, candidates_for(limit))
        ranked = ranking.ranking(
            found,
            ChainMap(*(searched.kept.chunks for searched in stores)),
            ChainMap(*(searched.kept.windows for searched in stores)),
            limit=limit,
            threshold=0.0 if asked else query.score_threshold,
        )
        owners = ChainMap(*(searched.scope.owners for searched in stores))
        parts, names = await asyncio.gather(
            self._derived.parts([each.span for each in ranked]),
            self._names(resource, {owners[each.chunk.unit].id for each in ranked}),
        )
        ranked = [each for each in ranked if each.span in parts and owners[each.chunk.unit].id in names]
        if asked:
            ranked = await _reranked(asked, ranked, parts, query)
        self._stores.make_room()
        quotes = Quotes(query.texts) if query.quotes else None

        def passages() -> tuple[Passage, ...]:
            return tuple(_passage(each, owners[each.chunk.unit], parts[each.span], names, quotes) for each in ranked)

        # Without quotes it takes less time than going to a thread and back.
        return passages() if quotes is None else await asyncio.to_thread(passages)

    async def _open(self, resource: str, store_ids: Sequence[str], query: Query) -> list[Searched]:
        """The stores as the rows say they are now, with vectors of all that has any."""
        now = int(self._clock())
        known = {store_id: self._stores.membership(resource, store_id) for store_id in store_ids}

        def look(conn: Connection) -> tuple[list[tuple[VectorStore, Membership]], frozenset[str]]:
            return [read(conn, resource, *each) for each in known.items()], files.expired_of(conn, resource, now)

        rows, expired = await self._db.read(look)
        for store, _ in rows:
            if store.is_expired(now):
                raise StoreExpired(f"Vector store '{store.id}' has expired.")
        await self._use(resource, [store for store, _ in rows], now)
        opened = []
        for store, membership in rows:
            kept = self._stores.get(resource, store.id)
            kept.remember(membership)
            await kept.cover(membership, self._cover)
            await kept.load(membership, self._derived)
            is_embedded = self.embedder is not None and store.embedder == self.embedder.identity
            if self.embedder is not None and is_embedded:
                await kept.load_vectors(membership, self._derived, self.embedder.identity)
            scope = membership.whole
            gone = expired & membership.files.keys()
            if query.filter is not None or gone:
                scope = await asyncio.to_thread(membership.scope, query.filter, gone)
            opened.append(Searched(kept, membership, scope, is_embedded))
        return opened

    async def _use(self, resource: str, stores: list[VectorStore], now: int) -> None:
        stale = [store.id for store in stores if now - store.last_active_at >= SECONDS_BETWEEN_USES]
        if not stale:
            return
        try:
            await self._db.write(lambda conn: _used(conn, resource, stale, now))
        except Unavailable as error:  # a full disk keeps nobody from searching
            _log.warning("the use of vector stores could not be recorded", reason=error.message)

    async def _find(self, stores: list[Searched], texts: Sequence[str], candidates: int) -> dict[Chunk, Found]:
        """What all queries find in all stores: by words and by meaning at the same time, side by side."""
        pairs = [(searched, text) for searched in stores for text in texts]
        by_words, by_meaning = await asyncio.gather(
            asyncio.gather(*(self._by_words(*pair, candidates) for pair in pairs)),
            self._by_meaning(stores, texts, candidates),
        )
        return ranking.merge(
            ranking.fuse(said, meant.chunks, meant.weight) for said, meant in zip(by_words, by_meaning, strict=True)
        )

    async def _by_words(self, searched: Searched, text: str, candidates: int) -> dict[Chunk, float]:
        nothing: list[KeywordHit] = []
        hits = await self._ask_keyword(searched, lambda: _keyword_hits(searched, text, candidates), nothing)
        said = ranking.by_words(hits, searched.scope.units)
        await searched.kept.load_chunks({chunk.unit for chunk in said}, self._derived)
        return said

    async def _by_meaning(self, stores: list[Searched], texts: Sequence[str], candidates: int) -> list[Meant]:
        """Of each text in each store, store by store."""
        weights = await asyncio.gather(*(self._weights(searched, texts) for searched in stores))
        vectors = await self._embed([text for text in texts if any(of_store[text] for of_store in weights)])
        return await asyncio.gather(
            *(
                self._meant(searched, text, candidates, of_store[text], vectors.get(text))
                for searched, of_store in zip(stores, weights, strict=True)
                for text in texts
            )
        )

    async def _meant(
        self, searched: Searched, text: str, candidates: int, weight: float, vector: Vector | None
    ) -> Meant:
        kept, scope = searched.kept, searched.scope
        if weight <= 0 or vector is None or self.abilities is None or not _is_comparable(vector, kept):
            return Meant({}, 0.0)
        hits = await asyncio.to_thread(_vector_hits, searched, vector, candidates)
        near = {unit for hit in hits for unit in scope.of_document.get(hit.document, ())}
        await kept.load_chunks(near, self._derived)
        unrelated = self.abilities.unrelated(text)
        chunks = ranking.by_meaning(hits, scope.of_document, kept.chunks, kept.windows, unrelated=unrelated)
        return Meant(chunks, weight)

    async def _weights(self, searched: Searched, texts: Sequence[str]) -> dict[str, float]:
        """How much the meaning of each text counts in a store."""
        abilities = self.abilities
        if self.embedder is None or abilities is None or abilities.embedder != self.embedder.identity:
            return dict.fromkeys(texts, 0.0)
        if not searched.is_embedded or not searched.kept.windows:
            return dict.fromkeys(texts, 0.0)
        nothing: dict[str, float] = {}
        languages = searched.kept.keyword.known_languages
        if languages is None:
            languages = await self._ask_keyword(searched, searched.kept.keyword.languages, nothing)
        return {text: abilities.weight(text, languages) for text in texts}

    async def _embed(self, texts: list[str]) -> dict[str, Vector]:
        """Text -> vector; none where they cannot be had."""
        if not texts or self.embedder is None:
            return {}
        try:
            async with asyncio.timeout(_EMBED_SECONDS):
                vectors = await self.embedder.embed(texts, kind="query")
            if not np.isfinite(vectors).all():
                raise ValueError("the embedder gave what is no number")
            return dict(zip(texts, vectors, strict=True))
        except Exception as error:  # whatever it is, there are still the words
            reason = error.message if isinstance(error, LocumError) else type(error).__name__
            _log.warning("queries could not be embedded and are searched by words", reason=reason)
            return {}

    async def _ask_keyword(self, searched: Searched, ask: Callable[[], Answer], otherwise: Answer) -> Answer:
        """What the keyword index says. Where it cannot be used, who can build it again is told."""
        kept = searched.kept
        if not searched.membership.files:
            return otherwise
        try:
            if kept.keyword.is_there:
                return await asyncio.to_thread(ask)
            _log.warning("the keyword index of a vector store is missing", vector_store_id=kept.store_id)
        except Unavailable as error:
            _log.warning("the keyword index of a vector store cannot be asked", reason=error.message)
            return otherwise
        except IndexUnusable as error:
            _log.warning("the keyword index of a vector store is unusable", reason=error.message)
        self._damaged(kept.resource, kept.store_id)
        return otherwise

    async def _names(self, resource: str, file_ids: Collection[str]) -> dict[str, str]:
        """Id -> name of those of the files that (still) exist."""
        now = int(self._clock())
        existing = await self._db.read(lambda conn: files.existing(conn, resource, file_ids, now=now))
        return {file.id: file.filename for file in existing}


def candidates_for(limit: int) -> int:
    """Hits of each kind that a ranking of `limit` is made from."""
    return max(LEAST_CANDIDATES, CANDIDATES_OF_A_RESULT * limit)


def _used(conn: Connection, resource: str, store_ids: list[str], now: int) -> None:
    for store_id in sorted(store_ids):  # locks in one order, so that no two wait for each other
        try:
            store = vector_stores.get(conn, resource, store_id, for_update=True)
        except NotFound:
            continue  # deleted meanwhile
        if store.last_active_at < now:
            vector_stores.save(conn, resource, msgspec.structs.replace(store, last_active_at=now))


def _keyword_hits(searched: Searched, text: str, candidates: int) -> list[KeywordHit]:
    """Where an index is asked for all of it, units that were removed may crowd out others: then it is asked again."""
    keyword, units = searched.kept.keyword, searched.scope.units
    if searched.is_whole:
        hits = keyword.search(text, candidates)
        if len(hits) < candidates or 2 * sum(hit.unit in units for hit in hits) >= candidates:
            return hits
    return keyword.search(text, candidates, units)


def _is_comparable(vector: Vector, kept: CachedStore) -> bool:
    if kept.vectors is not None and kept.vectors.dimensions != len(vector):
        _log.warning("the embedder gives vectors of another size than before", vector_store_id=kept.store_id)
        return False
    return kept.vectors is not None


def _vector_hits(searched: Searched, vector: Vector, candidates: int) -> list[VectorHit]:
    vectors = searched.kept.vectors
    assert vectors is not None
    return vectors.search(vector, candidates, None if searched.is_whole else searched.scope.of_document)


async def _reranked(reranker: Reranker, ranked: list[Ranked], parts: Mapping[Span, Part], query: Query) -> list[Ranked]:
    """In the reranker's order with its scores, each passage by the query it answers best; as it was, where the reranker
    fails."""
    documents = [parts[each.span].text for each in ranked]
    try:
        of_queries = await asyncio.gather(*(reranker.rerank(text, documents) for text in query.texts))
        best = [max(scores) for scores in zip(*of_queries, strict=True)]
        ranked = [each._replace(score=score) for each, score in zip(ranked, best, strict=True)]
        ranked.sort(key=lambda each: -each.score)
    except RerankFailed as error:
        _log.warning("passages are in the order they were found in", reason=error.message)
    return [each for each in ranked[: query.limit] if each.score >= query.score_threshold]


def _passage(
    ranked: Ranked, owner: VectorStoreFile, part: Part, names: Mapping[str, str], quotes: Quotes | None
) -> Passage:
    """A ranked chunk as who asked sees it."""
    start, end = _quoted(ranked, part.text, quotes)
    return Passage(
        vector_store_id=owner.vector_store_id,
        file_id=owner.id,
        filename=names[owner.id],
        score=ranked.score,
        text=part.text,
        quote=part.text[start:end],
        start=ranked.span.start,
        end=ranked.span.end,
        page=_page_of(ranked.span.start + start, part.pages),
        attributes=owner.attributes,
    )


def _quoted(ranked: Ranked, text: str, quotes: Quotes | None) -> tuple[int, int]:
    """Where in the chunk's text the quote is."""
    if quotes is None:
        return 0, len(text)
    if ranked.quote is None:
        return quotes.best_part(text)
    return ranked.quote.start - ranked.span.start, ranked.quote.end - ranked.span.start


def _page_of(position: int, starts: Sequence[int]) -> int | None:
    """From 1; None of what has no pages."""
    return max(1, int(np.searchsorted(starts, position, side="right"))) if starts else None
