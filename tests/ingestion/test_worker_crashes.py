"""kill -9 of the worker's process, between any two lines: every file is ingested once, and nothing is lost.

`LOCUM_CRASH_AT=n` kills it at its n-th crash point: after every commit of either database, every file read, text
embedded and index written. Each point is tried, until one is reached that the work no longer passes.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from locum.documents import store as document_store
from locum.documents.types import Unit
from locum.domain.vector_stores import Chunking
from locum.ingestion.chunk import Tokens
from locum.store import vector_store_files as rows
from locum.store import vector_stores as stores
from tests.databases import PostgresServer
from tests.forkserver import ForkServer
from tests.ingestion.ingesting import RESOURCE, Ingestion, opened
from tests.search.embedding_server import EmbeddingServer

ROOT = Path(__file__).parents[2]
SETTLE_SECONDS = 60


WORKERS = ForkServer(modules=["tests.ingestion.ingesting", "locum.store.postgres"], reload=["locum.crashpoints"])


class Process:
    """`python -m tests.ingestion.ingesting`, until nothing is left to do or it is dead."""

    def __init__(self, directory: Path, database_url: str | None, embedding_url: str) -> None:
        self._command = ["tests.ingestion.ingesting:main", str(directory), database_url or "", embedding_url]

    def run(self, *, crash_at: int = 0, kill_after: float | None = None) -> str | None:
        """The crash point that it died at; None when it has done all there was."""
        env = {**os.environ, "LOCUM_CRASH_AT": str(crash_at)}
        output, stdout = os.pipe()
        with tempfile.TemporaryFile("w+") as log, os.fdopen(output) as lines:
            process = WORKERS.start(*self._command, env=env, cwd=ROOT, stdout=stdout, stderr=log.fileno())
            os.close(stdout)
            if kill_after is not None:
                try:
                    process.wait(kill_after)
                except subprocess.TimeoutExpired:
                    process.kill()
            is_settled = any(line == "settled\n" for line in lines)
            process.kill()
            process.wait()
            log.seek(0)
            said = log.read()
        if is_settled:
            return None
        if kill_after is not None:
            return "killed"
        assert "crash point: " in said, said
        return said.rsplit("crash point: ", 1)[1].splitlines()[0]


def texts_of(number: int, count: int) -> list[str]:
    return [
        "\n\n".join(f"Text {number}.{each}, paragraph {at}, is about apples. " * 6 for at in range(20))
        for each in range(count)
    ]


class Scene:
    """Stores with files, made while no process runs, and looked at when none does."""

    def __init__(self, directory: Path, database_url: str | None, count: int, *, has_others: bool = True) -> None:
        self._directory = directory
        self._database_url = database_url
        self._count = count
        self._others = int(has_others)

    def add(self, number: int) -> None:
        """A store with files that are fine; others: one that is like one of them, and one that is not fine."""

        async def go() -> None:
            async with opened(self._directory, self._database_url) as (db, data):
                one = Ingestion(db, data, self._directory)
                store = await one.make_store(f"vs_{number}")
                contents = [text.encode() for text in texts_of(number, self._count)]
                file_ids = [
                    await one.upload(content) for content in (*contents, *(contents[0], b"\xff")[: 2 * self._others])
                ]
                await one.add(store, file_ids)
                await one.close()

        asyncio.run(go())

    def check(self, number: int) -> None:
        """Everything is there, exactly once."""

        async def go() -> None:
            async with opened(self._directory, self._database_url) as (db, data):
                store = f"vs_{number}"
                one = Ingestion(db, data, self._directory)
                members = await db.read(lambda conn: rows.searchable(conn, RESOURCE, store))
                assert len(members) == self._count + self._others
                counts = (await db.read(lambda conn: stores.held(conn, RESOURCE, [store], now=0)))[store].counts
                assert (counts.completed, counts.failed, counts.total) == (
                    len(members),
                    self._others,
                    len(members) + self._others,
                )
                assert await db.read(lambda conn: stores.embedder(conn, RESOURCE, store)) == "remote:m"
                expected = {}
                documents = {each.file.document or "" for each in members}
                for document in documents:
                    text = await data.read(lambda conn, key=document: document_store.text(conn, key))  # type: ignore[misc]
                    tokens = Tokens(text)
                    expected[Unit(document, Chunking()).key] = list(range(len(tokens.chunks(Chunking()))))
                    vectors = await data.read(lambda conn, key=document: document_store.vectors(conn, key, "remote:m"))  # type: ignore[misc]
                    assert vectors is not None
                    assert vectors.ranges.tolist() == tokens.windows().tolist()
                assert one.indexed(store) == expected
                assert len(documents) == self._count
                await one.close()

        asyncio.run(go())


@pytest.fixture
def embeddings() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as server:
        yield server


def try_every_point(scene: Scene, process: Process, embeddings: EmbeddingServer, *, count: int) -> list[str]:
    """Crash at point 1, 2, 3 … of the work on a scene; the points that were reached."""
    reached: list[str] = []
    point: str | None = "none yet"
    while point is not None:
        number = len(reached) + 1
        scene.add(number)
        point = process.run(crash_at=number)
        if point is not None:
            reached.append(point)
            assert process.run() is None
        scene.check(number)
        texts = texts_of(number, count)
        windows = Counter(text[start:end] for text in texts for start, end in Tokens(text).windows().tolist())
        asked = Counter(text for text in embeddings.texts if text in windows)
        # What was embedded and not yet kept when it died is embedded once more, and nothing else.
        assert windows <= asked <= windows + windows
    return reached


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_file_survives_a_crash_at_every_point(embeddings: EmbeddingServer, tmp_path: Path) -> None:
    scene, process = Scene(tmp_path, None, 1, has_others=False), Process(tmp_path, None, embeddings.base_url)
    reached = try_every_point(scene, process, embeddings, count=1)
    claimed, text_and_chunks, vectors, completed = ["commit"] * 4
    assert reached == [
        *(claimed, "file read", text_and_chunks, "text embedded", vectors),
        *("keyword index written", completed),
    ]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "sqlite":
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_files_that_are_ingested_together_survive_a_crash_at_every_point(
    database_url: str | None, embeddings: EmbeddingServer, tmp_path: Path
) -> None:
    scene, process = Scene(tmp_path, database_url, 3), Process(tmp_path, database_url, embeddings.base_url)
    reached = try_every_point(scene, process, embeddings, count=3)
    assert {"commit", "file read", "text embedded"} <= set(reached)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_files_survive_kills_at_random_moments(
    database_url: str | None, embeddings: EmbeddingServer, tmp_path: Path
) -> None:
    dice = random.Random(20261127)
    scene, process = Scene(tmp_path, database_url, 3), Process(tmp_path, database_url, embeddings.base_url)
    for number in range(1, 25):
        scene.add(number)
        process.run(kill_after=dice.uniform(0, 2.5))
        assert process.run() is None
        scene.check(number)
