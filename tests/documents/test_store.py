"""The derived data, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import sqlalchemy as sa

from locum.documents import store as document_store
from locum.documents.store import Document, DocumentReader
from locum.documents.types import Part, Span, Unit, Windows
from locum.domain.vector_stores import Chunking
from locum.store.database import Database
from locum.store.sqlite import SQLite

T = TypeVar("T")
Write = Callable[[Callable[[sa.Connection], T]], T]


@pytest.fixture
def write(databases: tuple[Database, Database], runner: asyncio.Runner) -> Write[object]:
    return lambda fn: runner.run(databases[1].write(fn))


def make_vectors(rows: int = 3, dimensions: int = 4) -> Windows:
    codes = np.arange(rows * dimensions, dtype=np.int8).reshape(rows, dimensions)
    ranges = np.arange(rows * 2, dtype=np.int32).reshape(rows, 2)
    return Windows(ranges=ranges, codes=codes, scales=np.linspace(0.1, 1, rows, dtype=np.float32))


def test_any_part_of_a_text_is_read_as_it_was_written(write: Write[str]) -> None:
    words = ("가나다 🙂 abc\x00\n" * 30_000)[:200_001]
    write(lambda conn: document_store.put_document(conn, "k", words, (0, 9), now=1))
    block = 1 << 13
    for start, end in ((0, 10), (block - 3, block + 3), (block, 2 * block), (5, 200_001), (200_000, 300_000), (7, 7)):
        span = Span("k", start, end)
        found = write(lambda conn, at=span: document_store.parts(conn, [at, Span("k", 1, 2)]))  # type: ignore[misc]
        assert found == {
            at: Part(words[at.start : at.end], (0, 9)) for at in (span, Span("k", 1, 2)) if at.start < at.end
        }
    assert write(lambda conn: document_store.text(conn, "k")) == words
    assert write(lambda conn: document_store.text(conn, "another")) == ""


def test_a_document_says_its_length_size_and_pages(write: Write[Document | None]) -> None:
    made = write(lambda conn: document_store.put_document(conn, "k", "가나다 \ud800", (0, 2), now=1))
    assert made == Document(key="k", length=5, size=11, pages=(0, 2))
    assert write(lambda conn: document_store.use(conn, "k", now=2)) == made
    assert write(lambda conn: document_store.use(conn, "another", now=2)) is None


def test_a_document_that_comes_twice_is_there_once(write: Write[object]) -> None:
    write(lambda conn: document_store.put_document(conn, "k", "long " * 50_000, (), now=1))
    write(lambda conn: document_store.put_document(conn, "k", "short", (), now=2))
    assert write(lambda conn: document_store.text(conn, "k")) == "short"


def test_cuts_and_vectors_come_back_as_they_were(write: Write[object]) -> None:
    unit, ranges = Unit("k", Chunking()), np.array([[0, 5], [3, 9]], np.int32)
    write(lambda conn: document_store.put_chunks(conn, unit, ranges))
    write(lambda conn: document_store.put_chunks(conn, unit, ranges))
    assert np.array_equal(write(lambda conn: document_store.chunks(conn, unit)), ranges)  # type: ignore[arg-type]
    other = Unit("k", Chunking(max_chunk_size_tokens=100, chunk_overlap_tokens=0))
    assert write(lambda conn: document_store.chunks(conn, other)) is None
    assert write(lambda conn: document_store.cut(conn, [unit, other])) == {unit}
    for vectors in (make_vectors(), make_vectors(0, 0)):
        write(lambda conn, given=vectors: document_store.put_vectors(conn, "k", "e", given))  # type: ignore[misc]
        found = write(lambda conn: document_store.vectors(conn, "k", "e"))
        assert isinstance(found, Windows)
        for name in ("ranges", "codes", "scales"):
            assert np.array_equal(getattr(found, name), getattr(vectors, name))
    assert write(lambda conn: document_store.vectors(conn, "k", "another")) is None
    assert write(lambda conn: document_store.embedded(conn, ["k", "l"], "e")) == {"k"}


def test_the_key_of_a_document_depends_on_content_kind_and_parser() -> None:
    keys = {
        document_store.key_of(*document)
        for document in (("a", "md", "1"), ("b", "md", "1"), ("a", "txt", "1"), ("a", "md", "2"))
    }
    assert len(keys) == 4


def test_searches_read_many_things_at_once_and_miss_nothing_but_what_is_not_there(
    databases: tuple[Database, Database], runner: asyncio.Runner, write: Write[object]
) -> None:
    reader, units = DocumentReader(databases[1]), [Unit(f"k{number}", Chunking()) for number in range(1200)]

    def fill(conn: sa.Connection) -> None:
        for number, unit in enumerate(units):
            pages = (0, 2) if number % 2 else ()
            document_store.put_document(conn, unit.document, f"text {number}", pages, now=1)
            document_store.put_chunks(conn, unit, np.array([[0, number]], np.int32))
            document_store.put_vectors(conn, unit.document, "e", make_vectors(number % 4))

    write(fill)
    absent = Unit("absent", Chunking())
    chunks = runner.run(reader.chunks([*units, absent]))
    assert {unit: ranges.tolist() for unit, ranges in chunks.items()} == {
        unit: [[0, number]] for number, unit in enumerate(units)
    }
    windows = runner.run(reader.windows([unit.document for unit in (*units, absent)], "e"))
    assert {key: len(each.scales) for key, each in windows.items()} == {f"k{n}": n % 4 for n in range(1200)}
    spans = [Span("k7", 0, 4), Span("k7", 5, 6), Span("absent", 0, 4)]
    assert runner.run(reader.parts(spans)) == {spans[0]: Part("text", (0, 2)), spans[1]: Part("7", (0, 2))}
    assert runner.run(reader.text("k7")) == "text 7"
    assert runner.run(reader.text("absent")) is None


def test_what_was_used_lately_is_not_forgotten(write: Write[set[str]]) -> None:
    for key, used in (("old", 1), ("new", 9), ("again", 1)):
        write(lambda conn, k=key, n=used: document_store.put_document(conn, k, "text", (), now=n))  # type: ignore[misc]
        write(lambda conn, k=key: document_store.put_vectors(conn, k, "e", make_vectors()))  # type: ignore[misc]
    unused = write(lambda conn: document_store.unused(conn, before=5))
    assert unused == {"old", "again"}
    write(lambda conn: document_store.use(conn, "again", now=8))  # a file is ingested meanwhile
    assert write(lambda conn: document_store.forget(conn, unused, before=5)) == {"old"}
    assert write(lambda conn: document_store.text(conn, "old")) == ""
    assert write(lambda conn: document_store.embedded(conn, ["old", "new", "again"], "e")) == {"new", "again"}


def test_vectors_of_other_embedders_are_forgotten(write: Write[object]) -> None:
    for embedder in ("a", "b", "c"):
        write(lambda conn, e=embedder: document_store.put_vectors(conn, "k", e, make_vectors()))  # type: ignore[misc]
    assert write(lambda conn: document_store.forget_vectors(conn, but=["a", "c"])) == 1
    assert write(lambda conn: document_store.vectors(conn, "k", "b")) is None


def test_data_of_another_version_is_thrown_away_at_the_start(
    write: Write[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(lambda conn: document_store.put_document(conn, "k", "text", (), now=1))
    write(document_store.prepare)
    assert write(lambda conn: document_store.text(conn, "k")) == "text"
    monkeypatch.setattr(document_store, "VERSION", "another")
    write(document_store.prepare)
    assert write(lambda conn: document_store.text(conn, "k")) == ""


def test_a_file_that_is_not_a_database_is_named(tmp_path: Path) -> None:
    from locum.errors import StartupError

    (tmp_path / "search.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StartupError, match=r"search\.db"):
        SQLite(tmp_path / "search.db", document_store.prepare)
