"""A search that is no more than this: a file is one passage, its score the share of a query's words that it has."""

from __future__ import annotations

from collections.abc import Sequence

from locum.blobs.base import Blobs
from locum.clock import Clock
from locum.domain.files import File, blob_key
from locum.domain.search import Passage, Query, condition
from locum.domain.vector_stores import VectorStoreFile
from locum.errors import InvalidRequest, NotFound
from locum.store import files as file_store
from locum.store import vector_store_files as store_file_store
from locum.store import vector_stores as store
from locum.store.database import Database


class WordSearch:
    """Reads files where they lie: the key of a document is that of its file's bytes."""

    def __init__(self, db: Database, blobs: Blobs, clock: Clock) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock

    async def text(self, document: str) -> str | None:
        try:
            chunks = await self._blobs.get(document)
            return b"".join([chunk async for chunk in chunks]).decode()
        except NotFound:
            return None

    async def search(self, resource: str, store_ids: Sequence[str], query: Query) -> tuple[Passage, ...]:
        found = []
        for store_id in store_ids:
            for member, file in await self._members(resource, store_id):
                if not condition(query.filter)(member.attributes):
                    continue
                text = await self.text(blob_key(file.id)) or ""
                passage = Passage(
                    vector_store_id=store_id,
                    file_id=file.id,
                    filename=file.filename,
                    score=max(_share(each, text) for each in query.texts),
                    text=text,
                    quote=text,
                    start=0,
                    end=len(text),
                    attributes=member.attributes,
                )
                found.append(passage)
        kept = (each for each in found if each.score > 0 and each.score >= query.score_threshold)
        return tuple(sorted(kept, key=lambda each: -each.score)[: query.limit])

    async def _members(self, resource: str, store_id: str) -> list[tuple[VectorStoreFile, File]]:
        now = int(self._clock())

        def read(conn):  # type: ignore[no-untyped-def]
            if store.get(conn, resource, store_id).is_expired(now):
                raise InvalidRequest(f"Vector store '{store_id}' is expired.")
            members = [each.file for each in store_file_store.searchable(conn, resource, store_id)]
            return [(each, file_store.get(conn, resource, each.id, now=now)) for each in members]

        found: list[tuple[VectorStoreFile, File]] = await self._db.read(read)
        return found


def _share(query: str, text: str) -> float:
    words = query.lower().split()
    return sum(word in text.lower() for word in words) / len(words) if words else 0.0
