"""The collections that search is measured on: read from LOCUM_BENCH_DATA, which no checkout brings along."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from locum.search.language_probe import Abilities, Reading
from locum.search.probe_texts import TRIALS

Vectors = NDArray[np.float32]

UNREAD = {
    "de": 0.338,
    "fr": 0.432,
    "es": 0.435,
    "pt": 0.441,
    "ru": 0.593,
    "ar": 0.622,
    "hi": 0.686,
    "ko": 0.602,
    "ja": 0.509,
    "zh": 0.547,
}
MINILM = Abilities(
    embedder="all-MiniLM-L6-v2",
    languages={"en": Reading(1.0, 0.06)} | {language: Reading(0.0, cosine) for language, cosine in UNREAD.items()},
)
"""What the probe found when it was run on the model whose vectors the collections have (fp32, on 2026-11-27): it ranks
what was meant at a mean reciprocal rank of 0.79 in English and of 0.11 to 0.26 in the ten other languages."""
assert MINILM.languages.keys() == TRIALS.keys()


class Collection(NamedTuple):
    """relevant: of each query, the indices of the documents that answer it. windows: (n, 3) document, start and end."""

    name: str
    documents: list[str]
    queries: list[str]
    relevant: list[set[int]]
    windows: NDArray[np.int32]
    window_vectors: Vectors
    query_vectors: Vectors


def folder() -> Path | None:
    """Where the data are; None where nobody has them."""
    root = os.environ.get("LOCUM_BENCH_DATA")
    return Path(root) / "retrieval" if root else None


def vectors(path: Path) -> Vectors:
    read: Vectors = np.load(path).astype(np.float32)
    return read / np.linalg.norm(read, axis=1, keepdims=True)


def cranfield(path: Path) -> Collection:
    documents = [json.loads(line)["text"] for line in (path / "cranfield_docs.jsonl").open()]
    queries = [json.loads(line) for line in (path / "cranfield_queries.jsonl").open()]
    relevant = [set(query["relevant"]) for query in queries]
    return _collection(path, "cranfield", documents, [query["query"] for query in queries], relevant)


def korquad(path: Path) -> Collection:
    articles = json.loads((path / "KorQuAD_v1.0_dev.json").read_text())["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    questions = {each["id"]: each["question"] for paragraph in paragraphs for each in paragraph["qas"]}
    with (path / "korquad_queries.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    queries = [questions[row["question_id"]] for row in rows]
    relevant = [{int(row["paragraph"])} for row in rows]
    return _collection(path, "korquad", [paragraph["context"] for paragraph in paragraphs], queries, relevant)


def _collection(
    path: Path, name: str, documents: list[str], queries: list[str], relevant: list[set[int]]
) -> Collection:
    return Collection(
        name,
        documents,
        queries,
        relevant,
        np.loadtxt(path / f"{name}_windows.tsv", skiprows=1, dtype=np.int32),
        vectors(path / f"{name}_window_vectors.f16.npy"),
        vectors(path / f"{name}_query_vectors.f16.npy"),
    )
