"""Derived data of documents, keyed by content: texts, chunk ranges and vectors.

It does not record which store has which file, and all of it can be rebuilt from files, so there are no migrations: a
database with tables of another version is emptied, and ingestion fills it again. With SQLite it is a file of its own
with a writer of its own; on PostgreSQL it is further tables of the one database.

A document is the text of a file under a key that says how it was made (`key_of`): the same file in ten stores is read,
cut and embedded once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Any, TypeVar

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from locum.documents.types import Part, Ranges, Span, Unit, Windows, ranges_of_bytes, ranges_to_bytes
from locum.domain.vector_stores import Chunking
from locum.store.database import Reader

VERSION = "2"
"""Of the tables, and of how texts are cut."""

_BLOCK = 1 << 13
"""Code points of a text that are kept together: who wants one passage reads no more than one or two of these."""
_PREPARE_LOCK = 0x10C08
_MOST_AT_ONCE = 500

T = TypeVar("T")

_metadata = sa.MetaData()

_version = sa.Table("search_version", _metadata, sa.Column("version", sa.String(32), primary_key=True))

_documents = sa.Table(
    "search_documents",
    _metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("pages", sa.LargeBinary, nullable=False),
    # When a file was last ingested that needs it: what is in use that long ago and in no store is removed.
    sa.Column("used_at", sa.Double, nullable=False),
)
_texts = sa.Table(
    "search_texts",
    _metadata,
    sa.Column("document", sa.String(64), primary_key=True),
    sa.Column("block", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("text", sa.LargeBinary, nullable=False),
)
_chunks = sa.Table(
    "search_chunks",
    _metadata,
    sa.Column("document", sa.String(64), primary_key=True),
    sa.Column("max_tokens", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("overlap_tokens", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("ranges", sa.LargeBinary, nullable=False),
)
_vectors = sa.Table(
    "search_vectors",
    _metadata,
    sa.Column("document", sa.String(64), primary_key=True),
    sa.Column("embedder", sa.String(256), primary_key=True),
    sa.Column("ranges", sa.LargeBinary, nullable=False),
    sa.Column("codes", sa.LargeBinary, nullable=False),
    sa.Column("scales", sa.LargeBinary, nullable=False),
)

_KNOWN = sa.select(_documents).where(_documents.c.key.in_(sa.bindparam("keys", expanding=True)))
_TEXTS = sa.select(_texts, _documents.c.pages).where(
    _documents.c.key == _texts.c.document,
    sa.tuple_(_texts.c.document, _texts.c.block).in_(sa.bindparam("pairs", expanding=True)),
    _texts.c.document.in_(sa.bindparam("documents", expanding=True)),  # for pairs alone SQLite uses no index
    _texts.c.block.in_(sa.bindparam("blocks", expanding=True)),
)


_CHUNKS = sa.select(_chunks.c.ranges).where(
    *(_chunks.c[name] == sa.bindparam(name) for name in ("document", "max_tokens", "overlap_tokens"))
)


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """length: in code points; size: bytes of its UTF-8; pages: where each page begins, in code points."""

    key: str
    length: int
    size: int
    pages: tuple[int, ...] = ()


def key_of(sha256: str, extension: str, parser: str) -> str:
    """The key of the document that this version of the parser makes of a file with that content and extension."""
    return hashlib.sha256(f"{sha256}:{extension}:{parser}".encode()).hexdigest()[:40]


def prepare(conn: Connection) -> None:
    """Make the tables; what is there in another version is thrown away."""
    if conn.dialect.name == "postgresql":  # servers that start together come one after the other
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_PREPARE_LOCK)))
    if sa.inspect(conn).has_table(_version.name):
        if conn.execute(sa.select(_version.c.version)).scalar() == VERSION:
            return
        _metadata.drop_all(conn)
    _metadata.create_all(conn)
    conn.execute(sa.insert(_version), {"version": VERSION})


# ---- documents and their texts


def put_document(conn: Connection, key: str, text: str, pages: Iterable[int], *, now: float) -> Document:
    """Keep a text; one that is there already is replaced. What UTF-8 has no bytes for becomes a question mark."""
    blocks = [text[at : at + _BLOCK].encode(errors="replace") for at in range(0, len(text), _BLOCK)]
    size = sum(map(len, blocks))
    document = Document(key=key, length=len(text), size=size, pages=tuple(pages))
    conn.execute(sa.delete(_texts).where(_texts.c.document == key))
    _put(
        conn,
        _documents,
        {
            "key": key,
            "length": document.length,
            "size": document.size,
            "pages": np.array(document.pages, np.int32).tobytes(),
            "used_at": now,
        },
    )
    rows = ({"document": key, "block": number, "text": block} for number, block in enumerate(blocks))
    for some in portions(rows):
        conn.execute(sa.insert(_texts), some)
    return document


def use(conn: Connection, key: str, *, now: float) -> Document | None:
    """The document, which from now on is kept for a while; None where there is none."""
    conn.execute(sa.update(_documents).where(_documents.c.key == key).values(used_at=now))
    return known(conn, [key]).get(key)


def known(conn: Connection, keys: Iterable[str]) -> dict[str, Document]:
    """Key -> document, of those that are there."""
    found = {}
    for some in portions(keys):
        for row in conn.execute(_KNOWN, {"keys": some}):
            found[row.key] = Document(key=row.key, length=row.length, size=row.size, pages=_pages(row.pages))
    return found


def text(conn: Connection, key: str) -> str:
    """The whole text of a document; "" where there is none."""
    return text_in_utf8(conn, key).decode()


def text_in_utf8(conn: Connection, key: str) -> bytes:
    """The same as it is kept."""
    blocks = sa.select(_texts.c.text).where(_texts.c.document == key).order_by(_texts.c.block)
    return b"".join(conn.execute(blocks).scalars())


def parts(conn: Connection, spans: Collection[Span]) -> dict[Span, Part]:
    """Parts of documents, without those that are not there."""
    blocks: dict[tuple[str, int], str] = {}
    pages: dict[str, tuple[int, ...]] = {}
    for some in portions({(span.document, block) for span in spans for block in _blocks_of(span)}):
        wanted = {
            "pairs": some,
            "documents": list({each[0] for each in some}),
            "blocks": list({each[1] for each in some}),
        }
        for row in conn.execute(_TEXTS, wanted):
            blocks[row.document, row.block] = str(row.text, "utf-8")
            if row.document not in pages:
                pages[row.document] = _pages(row.pages)
    found = {}
    for span in spans:
        skipped = span.start // _BLOCK * _BLOCK
        together = "".join(blocks.get((span.document, block), "") for block in _blocks_of(span))
        if part := together[span.start - skipped : span.end - skipped]:
            found[span] = Part(part, pages[span.document])
    return found


# ---- cuts and vectors


def put_chunks(conn: Connection, unit: Unit, ranges: Ranges) -> None:
    """Keep how a document is cut."""
    _put(conn, _chunks, {**_at(unit), "ranges": ranges_to_bytes(ranges)})


def chunks(conn: Connection, unit: Unit) -> Ranges | None:
    """Where the chunks of a unit are, (n, 2); None where it has not been cut."""
    found = conn.execute(_CHUNKS, _at(unit)).scalar_one_or_none()
    return None if found is None else ranges_of_bytes(found)


def put_vectors(conn: Connection, document: str, embedder: str, vectors: Windows) -> None:
    """Keep what an embedder made of a document."""
    row = {
        "ranges": ranges_to_bytes(vectors.ranges),
        "codes": _bytes(vectors.codes, np.int8),
        "scales": _bytes(vectors.scales, np.float32),
    }
    _put(conn, _vectors, {"document": document, "embedder": embedder, **row})


def vectors(conn: Connection, document: str, embedder: str) -> Windows | None:
    """What an embedder made of a document; None where it has not been asked."""
    row = conn.execute(
        sa.select(_vectors).where(_vectors.c.document == document, _vectors.c.embedder == embedder)
    ).one_or_none()
    return None if row is None else _windows(row)


def embedded(conn: Connection, documents: Iterable[str], embedder: str) -> set[str]:
    """Those of the documents that the embedder has seen."""
    found: set[str] = set()
    for some in portions(documents):
        rows = sa.select(_vectors.c.document).where(_vectors.c.document.in_(some), _vectors.c.embedder == embedder)
        found |= set(conn.execute(rows).scalars())
    return found


def cut(conn: Connection, units: Iterable[Unit]) -> set[Unit]:
    """Those of the units that have been cut."""
    wanted = set(units)
    found: set[Unit] = set()
    columns = (_chunks.c.document, _chunks.c.max_tokens, _chunks.c.overlap_tokens)
    for some in portions({unit.document for unit in wanted}):
        rows = conn.execute(sa.select(*columns).where(_chunks.c.document.in_(some)))
        found |= {_unit(*row) for row in rows} & wanted
    return found


# ---- what nobody needs any more


def is_empty(conn: Connection) -> bool:
    """Whether there is no document at all."""
    return conn.execute(sa.select(_documents.c.key).limit(1)).first() is None


def unused(conn: Connection, *, before: float) -> set[str]:
    """Keys of the documents that no file has been ingested with since then."""
    return set(conn.execute(sa.select(_documents.c.key).where(_documents.c.used_at < before)).scalars())


def forget(conn: Connection, keys: Collection[str], *, before: float) -> set[str]:
    """Remove those documents, and all that was made of them, that are still not used since then; which these were.
    keys: a portion, as who else writes is not to wait for long."""
    where = sa.and_(_documents.c.key.in_(keys), _documents.c.used_at < before)
    gone = set(conn.execute(sa.delete(_documents).where(where).returning(_documents.c.key)).scalars())
    for table in (_texts, _chunks, _vectors):
        conn.execute(sa.delete(table).where(table.c.document.in_(gone)))
    return gone


def forget_vectors(conn: Connection, *, but: Collection[str]) -> int:
    """Remove the vectors of all embedders but these; how many documents had some."""
    return conn.execute(sa.delete(_vectors).where(_vectors.c.embedder.not_in(list(but)))).rowcount


# ---- as searches read it


class DocumentReader:
    """The derived data, for those who only read it. What is not there is left out."""

    def __init__(self, data: Reader) -> None:
        self._data = data

    async def text(self, document: str) -> str | None:
        """The whole text of a document."""

        def look(conn: Connection) -> str | None:
            return text(conn, document) if known(conn, [document]) else None

        return await self._data.read(look)

    async def chunks(self, units: Collection[Unit]) -> dict[Unit, Ranges]:
        """Where the chunks of units are, in their order."""

        def look(conn: Connection) -> dict[Unit, Ranges]:
            found: dict[Unit, Ranges] = {}
            for some in portions({unit.document for unit in units}):
                for row in conn.execute(sa.select(_chunks).where(_chunks.c.document.in_(some))):
                    found[_unit(row.document, row.max_tokens, row.overlap_tokens)] = ranges_of_bytes(row.ranges)
            return {unit: found[unit] for unit in units if unit in found}

        return await self._data.read(look)

    async def windows(self, documents: Collection[str], embedder: str) -> dict[str, Windows]:
        """Windows and vectors of documents."""

        def look(conn: Connection) -> dict[str, Windows]:
            found: dict[str, Windows] = {}
            for some in portions(documents):
                rows = sa.select(_vectors).where(_vectors.c.document.in_(some), _vectors.c.embedder == embedder)
                found.update({row.document: _windows(row) for row in conn.execute(rows)})
            return found

        return await self._data.read(look)

    async def parts(self, spans: Collection[Span]) -> dict[Span, Part]:
        """Parts of documents."""
        return await self._data.read(lambda conn: parts(conn, spans))


def _at(unit: Unit) -> dict[str, str | int]:
    chunking = unit.chunking
    return {
        "document": unit.document,
        "max_tokens": chunking.max_chunk_size_tokens,
        "overlap_tokens": chunking.chunk_overlap_tokens,
    }


def _unit(document: str, max_tokens: int, overlap_tokens: int) -> Unit:
    return Unit(document, Chunking(max_chunk_size_tokens=max_tokens, chunk_overlap_tokens=overlap_tokens))


def _pages(kept: bytes) -> tuple[int, ...]:
    return tuple(np.frombuffer(kept, np.int32).tolist())


def _windows(row: Any) -> Windows:
    scales = np.frombuffer(row.scales, np.float32)
    codes = np.frombuffer(row.codes, np.int8).reshape(len(scales), -1) if len(scales) else np.zeros((0, 0), np.int8)
    return Windows(ranges=ranges_of_bytes(row.ranges), codes=codes, scales=scales)


def _put(conn: Connection, table: sa.Table, row: dict[str, object]) -> None:
    """Insert a row, or give the one with its key these values: two files of the same content may come together."""
    insert = _insert(conn, table)
    key = [column.name for column in table.primary_key]
    values = {name: insert.excluded[name] for name in row if name not in key}
    conn.execute(insert.on_conflict_do_update(index_elements=key, set_=values), row)


def _insert(conn: Connection, table: sa.Table) -> Any:
    """Build the dialect's own INSERT. Import that dialect only: PostgreSQL's takes 25 ms of a start."""
    if conn.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    return insert(table)


def _bytes(array: NDArray[Any], kind: type[np.generic]) -> bytes:
    return np.ascontiguousarray(array, dtype=kind).tobytes()


def _blocks_of(span: Span) -> range:
    return range(span.start // _BLOCK, max(span.start, span.end - 1) // _BLOCK + 1)


def portions(keys: Iterable[T], size: int = _MOST_AT_ONCE) -> Iterable[list[T]]:
    """As many as one statement takes, or fewer."""
    every = list(keys)
    return (every[at : at + size] for at in range(0, len(every), size))
