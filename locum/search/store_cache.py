"""What is kept of vector stores between searches: who their members are, and their indexes in memory.

All of it can be made again from rows and derived data. It is brought up to date by what has changed since it was last
looked at, and what was not used for longest makes room for the rest.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path

from sqlalchemy import Connection

from locum.documents.types import Derived, Ranges, Unit
from locum.domain.search import Filter, condition
from locum.domain.vector_stores import VectorStore, VectorStoreFile
from locum.search.keyword.index import KeywordReader, directory_of
from locum.search.vectors import VectorIndex
from locum.store import vector_store_files, vector_stores

Cover = Callable[[str, str], Awaitable[None]]
"""Has what the store of that resource and id holds in its keyword index, unless that takes long."""

_LOADED_AT_ONCE = 256
_BYTES_BESIDE = 256 * 1024
"""Of a store by itself."""
_MOST_OPEN = 256
"""Keyword indexes at a time: each takes a thread, and some of the 65,530 mappings that a process may have."""
_BYTES_OF_RANGES = 1024
"""Of a document's chunks, or windows."""


class Scope:
    """The units that a search looks at. owners: each with the file it is found as."""

    def __init__(self, owners: dict[Unit, VectorStoreFile]) -> None:
        self.owners = owners
        self.units = {unit.key: unit for unit in owners}
        self.of_document: dict[str, list[Unit]] = {}
        for unit in owners:
            self.of_document.setdefault(unit.document, []).append(unit)


class Membership:
    """What a store consists of since a generation of it. Never changed, only replaced."""

    def __init__(self, generation: int, files: Mapping[str, VectorStoreFile]) -> None:
        self.generation = generation
        self.files = files
        self.whole = self.scope(None)

    def scope(self, filter_: Filter | None, but: Collection[str] = ()) -> Scope:
        """What of it passes a filter, without the files `but`; a unit is found as the oldest of its files that do."""
        owners: dict[Unit, VectorStoreFile] = {}
        passes = condition(filter_)
        for file in sorted(self.files.values(), key=lambda file: (file.created_at, file.id)):
            if file.document is not None and file.id not in but and passes(file.attributes):
                owners.setdefault(Unit(file.document, file.chunking), file)
        return Scope(owners)


def read(conn: Connection, resource: str, store_id: str, known: Membership | None) -> tuple[VectorStore, Membership]:
    """A store and its members: those that are known, if nothing has changed, else with the changes since.

    NotFound when there is no such store.
    """
    store, generation = vector_stores.state(conn, resource, store_id)
    if known is not None and known.generation == generation:
        return store, known
    files = {} if known is None else dict(known.files)
    since = -1 if known is None else known.generation
    for member in vector_store_files.searchable(conn, resource, store_id, since=since):
        files[member.file.id] = member.file
    ids = vector_store_files.searchable_ids(conn, resource, store_id)
    return store, Membership(generation, {file_id: files[file_id] for file_id in ids})


class CachedStore:
    """A store's indexes. chunks: of its units; windows: document -> its windows' ranges."""

    def __init__(self, resource: str, store_id: str, directory: Path) -> None:
        self.resource = resource
        self.store_id = store_id
        self.keyword = KeywordReader(directory)
        self.membership: Membership | None = None
        self.chunks: dict[Unit, Ranges] = {}
        self.windows: dict[str, Ranges] = {}
        self.vectors: VectorIndex | None = None
        self._covered_to = -1
        self._chunks_are_of = -1
        self._vectors_are_of: tuple[str, int] | None = None
        self._changing = asyncio.Lock()

    @property
    def nbytes(self) -> int:
        """Roughly: it is asked with every search."""
        ranges = _BYTES_OF_RANGES * (len(self.chunks) + len(self.windows))
        return _BYTES_BESIDE + ranges + (self.vectors.nbytes if self.vectors else 0)

    def remember(self, membership: Membership) -> None:
        """Keep it, unless a later one is known."""
        if self.membership is None or self.membership.generation < membership.generation:
            self.membership = membership
            self.chunks = {unit: ranges for unit, ranges in self.chunks.items() if unit in membership.whole.owners}

    async def cover(self, membership: Membership, cover: Cover) -> None:
        """Have the keyword index brought up to this membership, once."""
        if self._covered_to < membership.generation:
            await cover(self.resource, self.store_id)
            self._covered_to = max(self._covered_to, membership.generation)

    async def load(self, membership: Membership, derived: Derived) -> None:
        """Have the chunks of this membership: read once for each generation, and not with each search."""
        if self._chunks_are_of < membership.generation:
            await self.load_chunks(membership.whole.owners, derived)
            self._chunks_are_of = max(self._chunks_are_of, membership.generation)

    async def load_vectors(self, membership: Membership, derived: Derived, embedder: str) -> None:
        """Bring the vectors to this membership, or leave them at a later one. Documents without vectors of the embedder
        are asked for again with the store's next generation."""
        async with self._changing:
            if self._vectors_are_of is not None:
                of, generation = self._vectors_are_of
                if of != embedder:
                    self.vectors, self.windows = None, {}
                elif generation >= membership.generation:
                    return
            wanted = membership.whole.of_document.keys()
            for document in self.windows.keys() - wanted:
                assert self.vectors is not None
                self.vectors.remove(document)
                del self.windows[document]
            missing = sorted(wanted - self.windows.keys())
            for start in range(0, len(missing), _LOADED_AT_ONCE):
                await self._add_vectors(missing[start : start + _LOADED_AT_ONCE], derived, embedder)
            self._vectors_are_of = (embedder, membership.generation)

    async def load_chunks(self, units: Collection[Unit], derived: Derived) -> None:
        """Have those of these units that are there by now."""
        if missing := [unit for unit in units if unit not in self.chunks]:
            loaded = await derived.chunks(missing)
            self.chunks.update(loaded)  # looked up now: `remember` may have put another one in its place meanwhile

    async def _add_vectors(self, documents: list[str], derived: Derived, embedder: str) -> None:
        loaded = await derived.windows(documents, embedder)
        for document, windows in loaded.items():
            if self.vectors is None:
                self.vectors = VectorIndex(windows.codes.shape[1])
            if windows.codes.shape[1] != self.vectors.dimensions:
                continue  # the model behind the embedder's name was replaced: found by its words
            await asyncio.to_thread(self.vectors.add, document, windows.codes, windows.scales)
            self.windows[document] = windows.ranges


class StoreCache:
    """The stores used last, as many as there is room for in `memory_bytes`, and the one that is in use. most_open: of
    how many the keyword indexes stay open."""

    def __init__(self, directory: Path, memory_bytes: int, *, most_open: int = _MOST_OPEN) -> None:
        self._directory = directory
        self._memory_bytes = memory_bytes
        self._most_open = most_open
        self._stores: OrderedDict[tuple[str, str], CachedStore] = OrderedDict()

    def __len__(self) -> int:
        return len(self._stores)

    def membership(self, resource: str, store_id: str) -> Membership | None:
        """What is known of a store that may not even exist."""
        kept = self._stores.get((resource, store_id))
        return None if kept is None else kept.membership

    def get(self, resource: str, store_id: str) -> CachedStore:
        """What is kept of a store that exists: its id becomes the name of a directory."""
        key = (resource, store_id)
        if key not in self._stores:
            self._stores[key] = CachedStore(resource, store_id, directory_of(self._directory, store_id))
        self._stores.move_to_end(key)
        return self._stores[key]

    def make_room(self) -> None:
        """A search that is under way keeps what it has in hand."""
        sizes = {key: store.nbytes for key, store in self._stores.items()}
        total = sum(sizes.values())
        while total > self._memory_bytes and len(self._stores) > 1:
            key, _ = self._stores.popitem(last=False)
            total -= sizes[key]
        for store in list(self._stores.values())[: -self._most_open]:
            store.keyword.close()
