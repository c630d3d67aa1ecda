"""What a search costs at 10,000, 100,000 and a million chunks: time, memory, disk, deletion, and recall of the scan.

There are 1.7 windows to a chunk, as in the documents the design was measured on. The vectors are 30,000 real ones (64
tokens of technical documentation each) and, beyond that, the same with noise; the queries are real questions. Chunks
are random mixes of real sentences: the statistics of terms are real, topics are not. Their analysis is measured by
itself: for the large indexes the sentences are analysed once.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, count, pairwise
from pathlib import Path
from statistics import median
from typing import Any, Literal

import msgspec
import numpy as np
import uvloop
from numpy.typing import NDArray
from sqlalchemy import Connection
from tantivy import Document, Index

from bench import measuring, retrieval_data
from bench.measuring import MIB, Target, quantile
from bench.retrieval_data import MINILM
from bench.server import scratch
from locum.api.v2.requests.vector_stores import DEFAULT_RESULTS as RESULTS_OF_A_SEARCH
from locum.documents import store as document_store
from locum.documents.store import DocumentReader
from locum.documents.types import Unit, Windows
from locum.domain.files import File, blob_key
from locum.domain.search import DEFAULT_RESULTS, Comparison, Query
from locum.domain.vector_stores import Chunking, VectorStore, VectorStoreFile
from locum.search.keyword import terms
from locum.search.keyword.index import _SCHEMA as SCHEMA
from locum.search.keyword.index import KeywordReader, KeywordWriter, directory_of
from locum.search.search import Search, candidates_for
from locum.search.vectors import VectorIndex, quantise
from locum.store import files, staged_blobs, vector_store_files, vector_stores
from locum.store.sqlite import SQLite

SIZES = (10_000, 100_000, 1_000_000)
WINDOWS_OF_A_CHUNK = 1.7
CHUNKS_OF_A_UNIT = 100
STORE = "vs_bench"
CANDIDATES = candidates_for(20)
_SENTENCES_OF_A_CHUNK = 18
_STEP = 1700
"""Characters from one chunk to the next."""
_WRITTEN_AT_ONCE = 200
_NOISE = 0.6
"""Length of the noise beside a vector of length 1: the copies have a cosine of 0.86 with their original."""
_BLOCK = 30_000

Vectors = NDArray[np.float32]


def timed(
    act: Callable[[int], object], repeats: int, clock: Callable[[], float] = time.thread_time
) -> dict[str, float]:
    """Milliseconds of `act(0)`, `act(1)` …: wall time, and processor time by `clock`."""
    isolation, cpus = [], []
    for number in range(-max(1, repeats // 10), repeats):
        wall, cpu = time.perf_counter(), clock()
        act(abs(number))
        if number >= 0:
            isolation.append((time.perf_counter() - wall) * 1000)
            cpus.append((clock() - cpu) * 1000)
    return {
        "p50_ms": round(median(isolation), 3),
        "p99_ms": round(quantile(isolation, 0.99), 3),
        "min_ms": round(min(isolation), 3),
        "cpu_p50_ms": round(median(cpus), 3),
    }


def blocks(real: Vectors, total: int) -> Iterator[Vectors]:
    """`total` vectors: the real ones, then those with noise."""
    generator = np.random.default_rng(0)
    for number in count():
        size = min(len(real), total - number * len(real))
        if size <= 0:
            return
        noise = generator.standard_normal(real.shape, dtype=np.float32) * np.float32(_NOISE / real.shape[1] ** 0.5)
        block = real[:size] + (noise[:size] if number else 0)
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def of_vectors(real: Vectors, questions: Vectors, chunks: int, repeats: int) -> dict[str, Any]:
    total = int(chunks * WINDOWS_OF_A_CHUNK)
    per_unit = int(CHUNKS_OF_A_UNIT * WINDOWS_OF_A_CHUNK)
    index = VectorIndex(real.shape[1])
    index.reserve(total)
    nearest = np.full((len(questions), 10), -2.0, np.float32)
    rows = np.zeros((len(questions), 10), np.int64)
    start, adding = 0, 0.0
    for block in blocks(real, total):
        cosines = np.concatenate([nearest, questions @ block.T], axis=1)
        numbers = np.concatenate(
            [rows, np.broadcast_to(np.arange(start, start + len(block)), (len(questions), len(block)))], axis=1
        )
        best = np.argpartition(-cosines, 9, axis=1)[:, :10]
        nearest, rows = np.take_along_axis(cosines, best, 1), np.take_along_axis(numbers, best, 1)
        began = time.process_time()
        for at in range(0, len(block), per_unit):
            index.add(str(start + at), *quantise(block[at : at + per_unit]))
        adding += time.process_time() - began
        start += len(block)
    found = 0
    for question, exact in zip(questions, rows, strict=True):
        found += len(set(exact.tolist()) & {int(hit.document) + hit.window for hit in index.search(question, 10)})
    documents = sorted(index.documents)
    some = documents[:: max(1, len(documents) // max(1, len(documents) // 100))]
    figures: dict[str, Any] = {
        "windows": total,
        "recall@10": round(found / rows.size, 4),
        "search": timed(lambda number: index.search(questions[number % len(questions)], CANDIDATES), repeats),
        "search of one document in a hundred": timed(
            lambda number: index.search(questions[number % len(questions)], CANDIDATES, some), repeats
        ),
        "windows added per cpu s": round(total / adding),
        "memory_mib": round(index.nbytes / MIB, 1),
        "memory_mib per million chunks": round(index.nbytes / MIB * 1e6 / chunks),
    }
    figures["delete a document"] = timed(lambda number: index.remove(documents[number]), min(100, len(documents) - 2))
    return figures


class Chunks:
    """Chunks of sentences, and their terms. The same number gives the same chunk."""

    def __init__(self, sentences: list[str]) -> None:
        self._sentences = sentences
        self._terms = [terms.terms(sentence).terms for sentence in sentences]

    def sentences_of(self, number: int) -> list[int]:
        return random.Random(number).choices(range(len(self._sentences)), k=_SENTENCES_OF_A_CHUNK)

    def text(self, number: int) -> str:
        return " ".join(self._sentences[each] for each in self.sentences_of(number))

    def document(self, unit: str, number: int) -> Document:
        """As KeywordWriter makes it, from terms that are known already."""
        found = " ".join(self._terms[each] for each in self.sentences_of(number))
        return Document(unit=unit, ordinal=number % CHUNKS_OF_A_UNIT, language="en", terms=found, characters="")


def document_key(number: int) -> str:
    return f"{number:040x}"


def unit_key(number: int) -> str:
    return Unit(document_key(number), Chunking()).key


class Questions:
    """The embedder of the questions: it knows their vectors."""

    identity = MINILM.embedder

    def __init__(self, queries: list[str], vectors: Vectors) -> None:
        self._vectors = dict(zip(queries, vectors, strict=False))

    async def embed(self, texts: Sequence[str], *, kind: Literal["document", "query"]) -> Vectors:
        return np.stack([self._vectors[text] for text in texts])


def shelve(conn: Connection, number: int, chunks: Chunks, windows: Windows) -> None:
    """A document of 100 chunks, each with half of the next one. It begins with what the index has of it."""
    unit = Unit(document_key(number), Chunking())
    first = number * CHUNKS_OF_A_UNIT
    texts = (chunks.text(first + each) for each in range(CHUNKS_OF_A_UNIT))
    text = "".join(f"{each[: _STEP - 1]:{_STEP}}" for each in texts)
    starts = np.arange(CHUNKS_OF_A_UNIT, dtype=np.int32) * _STEP
    document_store.put_document(conn, unit.document, text, [], now=0)
    document_store.put_chunks(conn, unit, np.stack([starts, np.minimum(starts + 2 * _STEP, len(text))], axis=1))
    document_store.put_vectors(conn, unit.document, Questions.identity, windows)


def windows_of(real: Vectors) -> Callable[[int], Windows]:
    """From a document's number to its share of the vectors."""
    codes, scales = quantise(real)
    count = int(CHUNKS_OF_A_UNIT * WINDOWS_OF_A_CHUNK)
    starts = np.arange(count, dtype=np.int32) * (CHUNKS_OF_A_UNIT * _STEP // count)
    ranges = np.stack([starts, starts + starts[1]], axis=1)

    def windows(number: int) -> Windows:
        rows = (number * count + np.arange(count)) % len(codes)
        return Windows(ranges, codes[rows], scales[rows])

    return windows


def fill(conn: Connection, documents: int) -> None:
    """A store with a file for each document."""
    store = VectorStore(id=STORE, created_at=0, last_active_at=int(time.time()), embedder=Questions.identity)
    vector_stores.insert(conn, "default", store)
    for number in range(documents):
        name = f"file-{number}"
        staged_blobs.note(conn, blob_key(name), now=0)
        files.insert(
            conn,
            "default",
            File(id=name, created_at=0, filename=f"{number}.txt", purpose="assistants", bytes=1, sha256=""),
        )
        member = VectorStoreFile(id=name, created_at=0, vector_store_id=STORE, status="completed")
        member = msgspec.structs.replace(member, document=document_key(number), attributes={"part": number % 100})
        vector_store_files.insert(conn, "default", [member])


def of_searches(
    chunks: Chunks,
    windows: Callable[[int], Windows],
    embedder: Questions,
    queries: list[str],
    size: int,
    root: Path,
    repeats: int,
) -> dict[str, Any]:
    """Whole searches, with all that is around the indexes but the embedding of the query."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the server's loop
        db, data = SQLite(root / "locum.db"), SQLite(root / "search.db", document_store.prepare)
        documents = size // CHUNKS_OF_A_UNIT
        runner.run(db.write(lambda conn: fill(conn, documents)))
        for first in range(0, documents, _WRITTEN_AT_ONCE):

            def write(
                conn: Connection, numbers: range = range(first, min(first + _WRITTEN_AT_ONCE, documents))
            ) -> None:
                for number in numbers:
                    shelve(conn, number, chunks, windows(number))

            runner.run(data.write(write))
        loop = runner.get_loop()  # `runner.run` spends a millisecond on what Ctrl-C would do
        search = Search(
            db, DocumentReader(data), root, embedder=embedder, abilities=MINILM, memory_bytes=4 * 1024 * MIB
        )

        by_words = Search(db, DocumentReader(data), root)

        def ask(
            number: int,
            *others: int,
            filter_: Comparison | None = None,
            of: Search = search,
            in_run: bool = False,
        ) -> None:
            """As `/search` asks, or a run."""
            texts = tuple(queries[each % len(queries)] for each in (number, *others))
            limit = DEFAULT_RESULTS if in_run else RESULTS_OF_A_SEARCH
            query = Query(texts=texts, limit=limit, filter=filter_, quotes=in_run)
            assert loop.run_until_complete(of.search("default", [STORE], query))

        began = time.perf_counter()
        ask(0)
        first = (time.perf_counter() - began) * 1000
        one = Comparison(type="eq", key="part", value=50)  # of those that were not deleted
        figures = {
            "first search, which loads the vectors, ms": round(first),
            "search": timed(ask, repeats, time.process_time),
            "search of a run, with quotes": timed(lambda n: ask(n, in_run=True), repeats, time.process_time),
            "search by words alone": timed(lambda n: ask(n, of=by_words), repeats, time.process_time),
            "search of a run with 4 queries": timed(
                lambda n: ask(n, n + 1, n + 2, n + 3, in_run=True), repeats, time.process_time
            ),
            "search filtered to one file in a hundred": timed(
                lambda n: ask(n, filter_=one), repeats, time.process_time
            ),
        }
        for each in (db, data):
            runner.run(each.close())
    return figures


def of_words(chunks: Chunks, queries: list[str], size: int, directory: Path, repeats: int) -> dict[str, Any]:
    directory.mkdir(parents=True)
    index = Index(SCHEMA, str(directory))
    writer = index.writer(heap_size=128 * MIB, num_threads=1)
    began = time.process_time()
    for number in range(size):
        writer.add_document(chunks.document(unit_key(number // CHUNKS_OF_A_UNIT), number))
    writer.commit()
    writer.wait_merging_threads()
    indexing = time.process_time() - began
    disk = sum(path.stat().st_size for path in directory.iterdir())
    reader = KeywordReader(directory)
    some = [unit_key(number) for number in range(0, size // CHUNKS_OF_A_UNIT, 100)]
    writer_of_changes = KeywordWriter(directory)
    texts = [chunks.text(number) for number in range(CHUNKS_OF_A_UNIT)]
    ranges = np.array(list(pairwise(accumulate(map(len, texts), initial=0))), np.int32)
    text = "".join(texts)
    return {
        "search": timed(lambda number: reader.search(queries[number % len(queries)], CANDIDATES), repeats),
        "search of one unit in a hundred": timed(
            lambda number: reader.search(queries[number % len(queries)], CANDIDATES, some), repeats
        ),
        "chunks indexed per cpu s, analysis aside": round(size / indexing),
        "disk_mib": round(disk / MIB, 1),
        "disk_mib per million chunks": round(disk / MIB * 1e6 / size),
        "delete a unit, commit": timed(
            lambda number: writer_of_changes.apply(remove=[unit_key(number)], add=[]), min(10, repeats)
        ),
        "add a unit of 100 chunks, commit": timed(
            lambda number: writer_of_changes.apply(remove=[], add=[(f"new{number}", text, ranges)]),
            min(10, repeats),
        ),
    }


def analysis(chunks: Chunks) -> dict[str, float]:
    texts = [chunks.text(number) for number in range(500)]
    began = time.process_time()
    for text in texts:
        terms.terms(text)
    seconds = time.process_time() - began
    size = sum(map(len, texts))
    return {
        "characters of a chunk": round(size / len(texts)),
        "million characters per cpu s": round(size / seconds / 1e6, 2),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="chunks")
    arguments.add_argument("--repeats", type=int, default=300)
    options = arguments.parse_args()
    path = retrieval_data.folder()
    if path is None:
        print("skipped: LOCUM_BENCH_DATA is not set, and the vectors and sentences are real ones from there")
        return
    began_on = measuring.machine()
    real = retrieval_data.vectors(path / "techdoc_30k_vectors.f16.npy")
    questions = retrieval_data.vectors(path / "techdoc_question_vectors.f16.npy")
    documents = [json.loads(line)["text"] for line in (path / "cranfield_docs.jsonl").open()]
    sentences = [sentence.strip() for text in documents for sentence in text.split(" . ") if len(sentence) > 30]
    queries = [json.loads(line)["query"] for line in (path / "cranfield_queries.jsonl").open()]
    chunks, windows, embedder = Chunks(sentences), windows_of(real), Questions(queries, questions)
    figures: dict[str, Any] = {"analysis": analysis(chunks)}
    for size in options.sizes:
        figures[str(size)] = {"vectors": of_vectors(real, questions, size, options.repeats)}
        gc.collect()
        with tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch()) as folder:
            directory = directory_of(Path(folder), STORE)
            figures[str(size)]["words"] = of_words(chunks, queries, size, directory, options.repeats)
            figures[str(size)]["whole"] = of_searches(
                chunks, windows, embedder, queries, size, Path(folder), options.repeats
            )
        print(f"{size} chunks: {json.dumps(figures[str(size)])}", flush=True)
    report(figures, options.sizes, began_on)


def report(figures: dict[str, Any], sizes: list[int], began_on: dict[str, Any]) -> None:
    rows = []
    for size in map(str, sizes):
        for kind, of in figures[size].items():
            for what, each in of.items():
                if isinstance(each, dict):
                    rows.append([f"{size} chunks, {kind}: {what}", *(f"{value:.2f}" for value in each.values())])
    measuring.print_table(["", "p50 ms", "p99 ms", "best ms", "cpu ms"], rows)
    targets = []
    for size, most in (("100000", 8), ("1000000", 30)):
        if size in figures:
            whole = figures[size]["whole"]
            targets.append(Target(f"{size} chunks: a whole search, p50, ms", whole["search"]["p50_ms"], at_most=most))
    for size in map(str, sizes):
        recall = figures[size]["vectors"]["recall@10"]
        targets.append(Target(f"{size} chunks: recall@10", recall, at_least=0.98))
    measuring.save("search_latency", figures, targets, began_on)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
