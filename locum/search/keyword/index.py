"""The keyword index of a store: one directory, written by one process at a time, read by any number of threads.

It holds units (a document in one chunking) chunk by chunk, and is derived: what the files of the store are is not its
to know. A commit is all or nothing, whenever the writer dies. What a killed writer left behind costs nothing; what the
disk spoiled is met as IndexUnusable, and the answer to that is to remove the directory and apply every unit again.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from tantivy import Document, Index, Occur, Query, Schema, SchemaBuilder, Searcher

from locum.documents.types import Ranges
from locum.errors import LocumError, StorageFull, Unavailable
from locum.search.keyword import terms

_HEAP_BYTES = 32 * 1024 * 1024
_MOST_WORDS = 64
"""Of a query: the first ones. Who pastes a page is looking for what it begins with, or asks with more than words."""

_WANTING = ("Too many open files", "Cannot allocate memory")
"""What the system says of a process, not of the disk."""


def _schema() -> Schema:
    fields = SchemaBuilder()
    fields.add_text_field("unit", stored=True, tokenizer_name="raw", index_option="basic")
    fields.add_integer_field("ordinal", fast=True)
    fields.add_text_field("language", tokenizer_name="raw", index_option="basic")
    for name in ("terms", "characters"):
        fields.add_text_field(name, tokenizer_name="whitespace", index_option="freq")
    return fields.build()


_SCHEMA = _schema()


class IndexUnusable(LocumError):
    """The directory is not (any more) an index of this release: remove it and build it again."""


class IndexBusy(LocumError):
    """Another process writes the index."""


class KeywordHit(NamedTuple):
    """A chunk. share: bm25 as a share of what a chunk of average length gets that has each word once; below 1 for what
    lacks words, above for what repeats them."""

    unit: str
    ordinal: int
    bm25: float
    share: float


def directory_of(root: Path, store_id: str) -> Path:
    """Where the index of a store is; that of other terms is somewhere else."""
    return root / f"terms-{terms.VERSION}" / store_id


class KeywordWriter:
    """Changes an index. A second writer of the same directory, in whatever process, gets IndexBusy."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def apply(self, *, remove: Iterable[str], add: Iterable[tuple[str, str, Ranges]]) -> None:
        """Take units out and put units in, each as its document's text and its chunks, in one commit. What is in
        already is replaced, what is not there need not be removed: the same call twice is as good as once."""
        added = {unit: list(_documents(unit, text, chunks)) for unit, text, chunks in add}
        replaced = [*remove, *added]
        self._directory.mkdir(parents=True, exist_ok=True)
        with _usable(self._directory):
            writer = Index(_SCHEMA, str(self._directory)).writer(heap_size=_HEAP_BYTES, num_threads=1)
            try:
                for unit in replaced:
                    writer.delete_documents_by_term("unit", unit)
                for document in chain.from_iterable(added.values()):
                    writer.add_document(document)
                writer.commit()
            finally:
                writer.wait_merging_threads()  # and let go of the lock


class KeywordReader:
    """Searches an index as of its last commit. Where there is none (yet), nothing is found.

    Once it has been asked, it takes a thread and some twenty mappings of files, until it is closed; it opens again when
    it is asked again, in a millisecond.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._index: Index | None = None
        self._seen: tuple[int, ...] = ()
        self._languages: tuple[tuple[int, ...] | None, dict[str, float]] = None, {}

    @property
    def is_there(self) -> bool:
        """Whether there is an index, be it an empty one."""
        return self._commit() is not None

    @property
    def is_open(self) -> bool:
        return self._index is not None

    def close(self) -> None:
        """Whoever searches it at this moment goes on."""
        with self._lock:
            self._index = None

    def search(self, text: str, limit: int, allowed: Collection[str] | None = None) -> list[KeywordHit]:
        """The best chunks, best first. allowed: of these units alone; None is of all."""
        if allowed is not None and not allowed:
            return []
        with _usable(self._directory):
            searcher = self._searcher()
            if searcher is None or not searcher.num_docs:
                return []
            asked = terms.query_terms(text, _languages(searcher))[:_MOST_WORDS]
            if not asked:
                return []
            ideal = sum(_information(searcher, each) for each in asked)
            found = searcher.search(_query(asked, allowed), limit, count=False).hits
            addresses = [address for _, address in found]
            ordinals = searcher.fast_field_values("ordinal", addresses)
            units = [searcher.doc(address).get_first("unit") for address in addresses]
        return [
            KeywordHit(str(unit), int(ordinal or 0), score, score / ideal)
            for unit, ordinal, (score, _) in zip(units, ordinals, found, strict=True)
        ]

    def languages(self) -> dict[str, float]:
        """Language -> its share of the chunks."""
        with _usable(self._directory):
            commit, searcher = self._commit(), self._searcher()
            found = {} if searcher is None else _languages(searcher)
        self._languages = commit, found
        return found

    @property
    def known_languages(self) -> dict[str, float] | None:
        """The same without a look into the index, where there has been one since its last commit."""
        commit, found = self._languages
        return found if commit is not None and commit == self._commit() else None

    def _searcher(self) -> Searcher | None:
        commit = self._commit()
        if commit is None:
            return None
        with self._lock:
            if self._index is None:
                self._index = Index(_SCHEMA, str(self._directory))
                self._index.config_reader(reload_policy="manual")
            elif commit != self._seen:
                self._index.reload()
            self._seen = commit
            return self._index.searcher()

    def _commit(self) -> tuple[int, ...] | None:
        """What tells one commit from the next: each writes this file anew."""
        try:
            state = (self._directory / "meta.json").stat()
        except FileNotFoundError:
            return None
        return state.st_ino, state.st_mtime_ns, state.st_size


def _documents(unit: str, text: str, chunks: Ranges) -> Iterator[Document]:
    for ordinal, (language, of_words, characters) in enumerate(terms.terms_of_chunks(text, chunks)):
        yield Document(unit=unit, ordinal=ordinal, language=language, terms=of_words, characters=characters)


def _field_of(term: str) -> str:
    return "characters" if terms.is_character(term) else "terms"


def _languages(searcher: Searcher) -> dict[str, float]:
    counts = dict(searcher.terms_with_prefix("language", ""))
    return {language: count / sum(counts.values()) for language, count in counts.items()}


def _information(searcher: Searcher, word: tuple[str, ...]) -> float:
    """What BM25 gives for the word once in a chunk of average length."""
    total = searcher.num_docs
    holding = min(total, max(searcher.doc_freq(_field_of(term), term) for term in word))
    return math.log(1 + (total - holding + 0.5) / (holding + 0.5))


def _query(asked: list[tuple[str, ...]], allowed: Collection[str] | None) -> Query:
    query = Query.boolean_query([(Occur.Should, _any_of(word)) for word in asked])
    if allowed is None:
        return query
    units = Query.const_score_query(Query.term_set_query(_SCHEMA, "unit", list(allowed)), 0.0)
    return Query.boolean_query([(Occur.Must, query), (Occur.Must, units)])


def _any_of(word: tuple[str, ...]) -> Query:
    queries = [Query.term_query(_SCHEMA, _field_of(term), term, index_option="freq") for term in word]
    return queries[0] if len(queries) == 1 else Query.disjunction_max_query(queries)


@contextmanager
def _usable(directory: Path) -> Iterator[None]:
    """The library's errors in our words. It tells them apart by their text only, and what it does not expect in a
    spoiled file it meets with a panic, which is no Exception."""
    try:
        yield
    except BaseException as error:
        text = str(error)
        if "LockBusy" in text:
            raise IndexBusy(f"The index {directory} is being written by another process.") from error
        if "No space left" in text:
            raise StorageFull("There is no room left to write the search index.") from error
        if any(each in text for each in _WANTING):
            raise Unavailable(f"The index {directory} cannot be opened just now: {text}") from error
        if isinstance(error, ValueError | OSError) or type(error).__name__ == "PanicException":
            raise IndexUnusable(f"The index {directory} cannot be used: {text}") from error
        raise
