"""kill -9 of a whole server among hundreds of files that are being ingested: what was acknowledged is searched in the
end, and nothing is there twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from tantivy import Index, Query

from locum.documents import store as document_store
from locum.documents.types import Unit
from locum.domain.vector_stores import Chunking
from locum.ingestion.chunk import Tokens
from locum.search.keyword.index import _SCHEMA as SCHEMA
from locum.search.keyword.index import directory_of
from locum.store.sqlite import SQLite
from tests.serving import ServerProcess, serving

COUNT = 300
KILLS = (COUNT // 5, COUNT // 2)
"""How many files are completed when the server is killed."""
PATIENCE = 120
SMALL = Chunking(max_chunk_size_tokens=100, chunk_overlap_tokens=10)
STRATEGY = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 10}}


def text_of(number: int) -> str:
    return "\n\n".join(f"Paragraph {at} of note {number} is about apples, 사과 {number * at}. " * 4 for at in range(12))


def upload(client: openai.OpenAI) -> list[str]:
    def one(number: int) -> str:
        return client.files.create(file=(f"note-{number}.md", text_of(number).encode()), purpose="assistants").id

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(COUNT)))


def wait_until(server: ServerProcess, store: str, completed: int) -> int:
    """How many are completed, at least that many."""
    end = time.monotonic() + PATIENCE
    with server.openai() as client:
        while time.monotonic() < end:
            counts = client.vector_stores.retrieve(store).file_counts
            assert counts.total == COUNT
            assert counts.failed == counts.cancelled == 0
            assert counts.completed + counts.in_progress == COUNT
            if counts.completed >= completed:
                return counts.completed
    raise AssertionError(f"{completed} of {COUNT} files were not completed within {PATIENCE} s:\n{server.output}")


def kept(path: Path) -> dict[Unit, list[str]]:
    """All chunks of all units that the derived data has."""

    def look(conn: Connection) -> dict[Unit, list[str]]:
        documents = list(conn.execute(sa.select(document_store._documents.c.key)).scalars())
        units = [document_store._unit(*row[:3]) for row in conn.execute(sa.select(document_store._chunks))]
        assert sorted(unit.document for unit in units) == sorted(documents)
        found = {}
        for unit in units:
            text, ranges = document_store.text(conn, unit.document), document_store.chunks(conn, unit)
            assert ranges is not None
            found[unit] = [text[start:end] for start, end in ranges.tolist()]
        return found

    async def go() -> dict[Unit, list[str]]:
        data = SQLite(path, document_store.prepare)
        try:
            return await data.read(look)
        finally:
            await data.close()

    return asyncio.run(go())


@pytest.mark.long
@pytest.mark.timeout(500)
def test_every_acknowledged_file_is_searched_once_after_kills_of_the_server(tmp_path: Path) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off") as server:
        with server.openai() as client:
            files = upload(client)
            store = client.vector_stores.create(file_ids=files, chunking_strategy=STRATEGY).id  # type: ignore[arg-type]
        for number in KILLS:
            assert wait_until(server, store, number) < COUNT
            server.kill()
            server.start()
        wait_until(server, store, COUNT)
        with server.openai() as client:
            (best, *_) = client.vector_stores.search(store, query=f"note {COUNT - 1} 사과 {COUNT - 1}").data
            assert best.file_id == files[-1]
        server.stop()
        units = kept(tmp_path / "data" / "search.db")
        expected = Counter()
        for number in range(COUNT):
            text = text_of(number)
            expected.update(text[start:end] for start, end in Tokens(text).chunks(SMALL).tolist())
        assert Counter(chunk for chunks in units.values() for chunk in chunks) == expected
        directory = directory_of(tmp_path / "data" / "search", store)
        searcher = Index(SCHEMA, str(directory)).searcher()
        indexed = {unit: searcher.search(Query.term_query(SCHEMA, "unit", unit.key), limit=1).count for unit in units}
        assert indexed == {unit: len(chunks) for unit, chunks in units.items()}
        assert searcher.num_docs == expected.total()
