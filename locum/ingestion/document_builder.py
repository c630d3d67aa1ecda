"""Build documents from files: text, chunks and vectors, each once for the same content."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import Connection

from locum import crashpoints
from locum.blobs.base import Blobs
from locum.clock import Clock
from locum.documents import store as document_store
from locum.documents.store import Document
from locum.documents.types import Ranges, Unit, Windows
from locum.domain.files import File, blob_key
from locum.domain.vector_stores import Chunking, extension
from locum.errors import NotFound
from locum.ingestion.chunk import MAX_TOKENS, TooManyTokens
from locum.ingestion.compute import ComputeProcess
from locum.ingestion.extract.parser import Parsed, Parser, Unreadable
from locum.ingestion.locks import Locks
from locum.models.chat import ModelError
from locum.search.embedders.base import Embedder
from locum.search.vectors import quantise
from locum.store import files as file_rows
from locum.store.database import Database

log = structlog.get_logger(__name__)

PAUSES = (1.0, 5.0, 20.0, 60.0, 120.0)
"""Seconds between attempts to embed texts, beside the retries of the embedder itself."""
_PASSING = ("unavailable", "rate_limited", "cut")
_WINDOWS_AT_A_TIME = 256


class DocumentBuilder:
    """Builds the missing parts of documents, or raises Unreadable."""

    def __init__(
        self,
        db: Database,
        data: Database,
        blobs: Blobs,
        clock: Clock,
        parser: Parser,
        embedder: Embedder | None,
        compute: ComputeProcess,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._db = db
        self._data = data
        self._blobs = blobs
        self._clock = clock
        self._parser = parser
        self._embedder = embedder
        self._compute = compute
        self._sleep = sleep
        self._locks = Locks()

    @property
    def embedder(self) -> str | None:
        """Identity of the embedder whose vectors documents get; None without one."""
        return None if self._embedder is None else self._embedder.identity

    async def build(self, resource: str, file_id: str, chunking: Chunking) -> tuple[Unit, int]:
        """Build the file's document; return it as a searchable unit with its size in bytes. Raises Unreadable."""
        try:
            file = await self._db.read(lambda conn: file_rows.get(conn, resource, file_id, now=int(self._clock())))
        except NotFound:
            raise Unreadable("invalid_file", "The file was deleted before it could be read.") from None
        key = document_store.key_of(file.sha256, extension(file.filename), self._parser.version)
        async with self._locks.of(key):
            unit = Unit(key, chunking)
            kept = await self._kept(key)
            if kept is None:
                return unit, await self._build_new(unit, await self._parsed(file))
            return unit, kept.size + await self._build_missing(unit)

    async def _kept(self, key: str) -> Document | None:
        if not await self._data.read(lambda conn: document_store.known(conn, [key])):
            return None
        now = self._clock()
        return await self._data.write(lambda conn: document_store.use(conn, key, now=now))  # None: collected meanwhile

    async def _parsed(self, file: File) -> Parsed:
        try:
            parsed = await self._parser.parse(file.filename, lambda: self._content(file))
        except NotFound:
            raise Unreadable("invalid_file", "The file was deleted before it could be read.") from None
        if not parsed.text.strip():
            raise Unreadable("invalid_file", "The file has no text in it.")
        crashpoints.reach("file read")
        return parsed

    async def _content(self, file: File) -> AsyncIterator[bytes]:
        async for piece in await self._blobs.get(blob_key(file.id)):
            yield piece

    async def _build_new(self, unit: Unit, parsed: Parsed) -> int:
        """Store a text, its chunks and vectors; return their bytes."""
        chunks, windows = await self._cut(parsed.text, unit.chunking, windows=self._embedder is not None)
        now = self._clock()

        def put(conn: Connection) -> Document:
            document_store.put_chunks(conn, unit, chunks)
            return document_store.put_document(conn, unit.document, parsed.text, parsed.pages, now=now)

        size = (await self._data.write(put)).size + int(chunks.nbytes)
        if self._embedder is None:
            return size
        return size + await self._embed_windows(unit.document, parsed.text, windows)

    async def _build_missing(self, unit: Unit) -> int:
        """Store missing chunks and vectors of a stored text; return the bytes of all its chunks and vectors."""
        embedder = self.embedder

        def look(conn: Connection) -> tuple[Ranges | None, Windows | None]:
            vectors = None if embedder is None else document_store.vectors(conn, unit.document, embedder)
            return document_store.chunks(conn, unit), vectors

        chunks, vectors = await self._data.read(look)
        size = 0 if vectors is None else _size(vectors)
        needs_vectors = embedder is not None and vectors is None
        if chunks is None or needs_vectors:
            text = await self._data.read(lambda conn: document_store.text(conn, unit.document))
            wanted = unit.chunking if chunks is None else None
            cut, windows = await self._cut(text, wanted, windows=needs_vectors)
            if chunks is None:
                chunks = cut
                await self._data.write(lambda conn: document_store.put_chunks(conn, unit, cut))
            if needs_vectors:
                size = await self._embed_windows(unit.document, text, windows)
        return int(chunks.nbytes) + size

    async def _cut(self, text: str, chunking: Chunking | None, *, windows: bool) -> tuple[Ranges, Ranges]:
        try:
            return await self._compute.cut(text, chunking, windows=windows)
        except TooManyTokens:
            most = f"{MAX_TOKENS:,}"
            raise Unreadable(
                "invalid_file", f"The file has more than {most} tokens, the most a file may have."
            ) from None

    async def _embed_windows(self, document: str, text: str, windows: Ranges) -> int:
        """Store the vectors of a document's windows; return their bytes."""
        assert self._embedder is not None
        embedder, made = self._embedder.identity, await self._embedded(text, windows)
        crashpoints.reach("text embedded")
        await self._data.write(lambda conn: document_store.put_vectors(conn, document, embedder, made))
        return _size(made)

    async def _embedded(self, text: str, windows: Ranges) -> Windows:
        parts = []
        for at in range(0, len(windows), _WINDOWS_AT_A_TIME):
            texts = [text[start:end] for start, end in windows[at : at + _WINDOWS_AT_A_TIME].tolist()]
            parts.append(await asyncio.to_thread(quantise, await self._embed(texts)))
        return Windows(
            ranges=windows,
            codes=np.concatenate([codes for codes, _ in parts]),
            scales=np.concatenate([scales for _, scales in parts]),
        )

    async def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Embed texts; retry for minutes while the embedder is down, then raise its error."""
        assert self._embedder is not None
        for pause in (*PAUSES, None):
            try:
                return await self._embedder.embed(texts, kind="document")
            except ModelError as error:
                if pause is None or error.kind not in _PASSING:
                    raise
                log.warning("the embedder does not answer and is tried again", reason=error.message, seconds=pause)
                await self._sleep(pause)
        raise AssertionError("unreachable")


def _size(vectors: Windows) -> int:
    return sum(array.nbytes for array in vectors)
