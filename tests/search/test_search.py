"""Searching stores: real rows on both databases, a real keyword index, real vectors of a small embedder."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from locum.documents.types import Part, Ranges, Span, Unit, Windows
from locum.domain.files import File, blob_key
from locum.domain.search import Comparison, Passage, Query
from locum.domain.vector_stores import Attribute, Chunking, ExpiresAfter, VectorStore, VectorStoreFile
from locum.errors import NotFound
from locum.search.keyword import terms
from locum.search.keyword.index import KeywordWriter, directory_of
from locum.search.language_probe import Abilities, Reading
from locum.search.rerank import Reranker, RerankFailed
from locum.search.search import Search, StoreExpired, candidates_for
from locum.search.store_cache import StoreCache
from locum.search.vectors import quantise
from locum.store import files, staged_blobs, vector_store_files, vector_stores
from locum.store.database import Database
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLite
from tests.search import indexing

NOW = 1_000_000
SMALL = Chunking(max_chunk_size_tokens=100, chunk_overlap_tokens=0)

REFUNDS = "Refunds are paid within two weeks.\n\nThe office is in the north wing."
PARKING = "Vehicles may be left behind the building.\n\nThe gate closes at nine."
COOKING = "Boil the rice for ten minutes.\n\nSalt comes last."
KOREAN = "환불은 두 주 안에 처리됩니다.\n\n사무실은 북쪽에 있습니다."


class Synonyms:
    """An embedder that reads English: a direction for each word, the same one for words that mean the same."""

    identity = "synonyms"
    _SAME = (("refund", "money"), ("car", "vehicl"), ("park", "left"))
    _DIMENSIONS = 256

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.trouble = ""
        self._meaning = {word: group[0] for group in self._SAME for word in group}

    async def embed(self, texts: Sequence[str], *, kind: Literal["document", "query"]) -> NDArray[np.float32]:
        match self.trouble:
            case "away":
                raise ConnectionError("the embedder is away")
            case "another size":
                return np.ones((len(texts), 7), np.float32)
            case "no numbers":
                return np.full((len(texts), self._DIMENSIONS), np.nan, np.float32)
            case "too few":
                return np.zeros((0, self._DIMENSIONS), np.float32)
        if kind == "query":
            self.asked.append(list(texts))
        return self.vectors(texts)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.stack([self._vector(text) for text in texts])
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)

    def _vector(self, text: str) -> NDArray[np.float64]:
        total = np.zeros(self._DIMENSIONS)
        for term in terms.query_terms(text, ["en"]):
            digest = hashlib.sha256(self._meaning.get(term[0], term[0]).encode()).digest()
            total += np.random.default_rng(int.from_bytes(digest[:8], "big")).standard_normal(self._DIMENSIONS)
        return total


READS_ENGLISH = Abilities(embedder="synonyms", languages={"en": Reading(1.0, 0.0), "ko": Reading(0.0, 0.5)})


class Texts:
    """Derived data in memory: a chunk and a window for each paragraph. `asked` counts documents whose vectors were."""

    def __init__(self, embedder: Synonyms) -> None:
        self._embedder = embedder
        self.documents: dict[str, str] = {}
        self.pages: dict[str, tuple[int, ...]] = {}
        self.asked: list[str] = []

    def paragraphs(self, document: str) -> Ranges:
        pairs, start = [], 0
        for paragraph in self.documents[document].split("\n\n"):
            pairs.append((start, start + len(paragraph)))
            start += len(paragraph) + 2
        return np.array(pairs, np.int32)

    async def chunks(self, units: Collection[Unit]) -> dict[Unit, Ranges]:
        return {unit: self.paragraphs(unit.document) for unit in units if unit.document in self.documents}

    async def windows(self, documents: Collection[str], embedder: str) -> dict[str, Windows]:
        self.asked += documents
        if embedder != self._embedder.identity:
            return {}
        return {document: self._windows(document) for document in documents if document in self.documents}

    async def parts(self, spans: Collection[Span]) -> dict[Span, Part]:
        return {
            span: Part(self.documents[span.document][span.start : span.end], self.pages.get(span.document, ()))
            for span in spans
            if span.document in self.documents
        }

    def _windows(self, document: str) -> Windows:
        ranges = self.paragraphs(document)
        texts = [self.documents[document][start:end] for start, end in ranges]
        return Windows(ranges, *quantise(self._embedder.vectors(texts)))


class Corpus:
    """Stores, and a search of them. Time stands until it is moved."""

    def __init__(self, db: Database, directory: Path, runner: asyncio.Runner, **options: Any) -> None:
        self.db = db
        self.directory = directory
        self.now = NOW
        self.embedder = Synonyms()
        self.derived = Texts(self.embedder)
        self.damaged: list[tuple[str, str]] = []
        self._runner = runner
        given = {"embedder": self.embedder, "abilities": READS_ENGLISH} | options
        self.search = Search(
            db,
            self.derived,
            directory,
            clock=lambda: self.now,
            damaged=lambda resource, store_id: self.damaged.append((resource, store_id)),
            **given,
        )

    def store(self, store_id: str = "vs_1", *, resource: str = "default", **fields: Any) -> str:
        made = {"created_at": NOW, "last_active_at": NOW, "embedder": "synonyms"} | fields
        store = VectorStore(id=store_id, **made)
        self._write(lambda conn: vector_stores.insert(conn, resource, store))
        return store_id

    def file(
        self,
        file_id: str,
        text: str,
        store_id: str = "vs_1",
        *,
        resource: str = "default",
        attributes: dict[str, Attribute] | None = None,
        document: str | None = None,
        created_at: int = NOW,
        expires_at: int | None = None,
    ) -> None:
        """A file that is ingested and in the store."""
        document = document or hashlib.sha256(text.encode()).hexdigest()
        self.derived.documents[document] = text
        self.index(store_id, document)
        row = File(
            id=file_id,
            created_at=1,
            filename=f"{file_id}.txt",
            purpose="assistants",
            bytes=1,
            sha256="",
            expires_at=expires_at,
        )
        member = VectorStoreFile(
            id=file_id,
            created_at=created_at,
            vector_store_id=store_id,
            chunking=SMALL,
            attributes=attributes or {},
        )

        def write(conn: Any) -> None:
            if not files.existing(conn, resource, [file_id], now=0):
                staged_blobs.note(conn, blob_key(file_id), now=0)
                files.insert(conn, resource, row)
            vector_store_files.insert(conn, resource, [member])
            (claim,) = vector_store_files.claim(conn, "worker", now=0, until=1e9, limit=1)
            made = vector_store_files.Ingested(claim=claim, document=document, usage_bytes=1)
            assert vector_store_files.complete(conn, "worker", claim.resource, store_id, [made]) == 1

        self._write(write)

    def index(self, store_id: str, document: str) -> None:
        unit = Unit(document, SMALL)
        chunks = np.array(self.derived.paragraphs(document), np.int32)
        added = (unit.key, self.derived.documents[document], chunks)
        KeywordWriter(directory_of(self.directory, store_id)).apply(remove=[], add=[added])

    def remove(self, file_id: str, store_id: str = "vs_1") -> None:
        self._write(lambda conn: vector_store_files.delete(conn, "default", store_id, file_id))

    def set_attributes(self, file_id: str, attributes: dict[str, Attribute]) -> None:
        self._write(lambda conn: vector_store_files.set_attributes(conn, "default", "vs_1", file_id, attributes))

    def last_active_at(self, store_id: str = "vs_1") -> int:
        return self._runner.run(self.db.read(lambda conn: vector_stores.get(conn, "default", store_id))).last_active_at

    def ask(
        self, *texts: str, stores: Sequence[str] = ("vs_1",), resource: str = "default", **of: Any
    ) -> list[Passage]:
        return list(self._runner.run(self.search.search(resource, stores, Query(texts=texts, **of))))

    def found(self, *texts: str, **options: Any) -> list[str]:
        return [passage.file_id for passage in self.ask(*texts, **options)]

    def _write(self, fn: Any) -> None:
        self._runner.run(self.db.write(fn))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def db(runner: asyncio.Runner, tmp_path: Path) -> Iterator[Database]:
    database = SQLite(tmp_path / "locum.db")
    yield database
    runner.run(database.close())


@pytest.fixture
def corpus(db: Database, runner: asyncio.Runner, tmp_path: Path) -> Corpus:
    corpus = Corpus(db, tmp_path / "search", runner)
    corpus.store()
    corpus.file("file-refunds", REFUNDS)
    corpus.file("file-parking", PARKING)
    corpus.file("file-cooking", COOKING)
    return corpus


def plain(corpus: Corpus, **options: Any) -> Corpus:
    """The same stores, searched with other options."""
    return Corpus(corpus.db, corpus.directory, corpus._runner, **options)


def test_a_passage_says_where_it_is_from(corpus: Corpus) -> None:
    corpus.file("file-pages", "A first page.\n\nA page about bicycles. It is long.", attributes={"year": 2026})
    corpus.derived.pages[hashlib.sha256(b"A first page.\n\nA page about bicycles. It is long.").hexdigest()] = (0, 15)
    passage = corpus.ask("bicycles")[0]
    assert (passage.file_id, passage.filename, passage.vector_store_id) == ("file-pages", "file-pages.txt", "vs_1")
    assert passage.text == passage.quote == "A page about bicycles. It is long."
    assert (passage.start, passage.end, passage.page) == (15, 49, 2)
    assert passage.attributes == {"year": 2026}
    assert 0 < passage.score <= 1


def test_what_means_the_same_is_found_without_a_word_in_common(corpus: Corpus) -> None:
    assert corpus.found("where is my car parked")[0] == "file-parking"
    assert corpus.found("where is my car parked", rerank=False)[0] == "file-parking"


def test_without_an_embedder_words_are_searched(corpus: Corpus) -> None:
    by_words = plain(corpus, embedder=None, abilities=None)
    by_words.derived.documents = corpus.derived.documents
    assert by_words.found("where is my car parked") == []
    assert by_words.found("boiling rice") == ["file-cooking"]
    assert by_words.ask("rice")[0].quote == "Boil the rice for ten minutes."
    (passage, *_) = by_words.ask("rice", quotes=False)
    assert passage.quote == passage.text


def test_words_alone_are_searched_until_it_is_known_what_the_embedder_reads(corpus: Corpus) -> None:
    corpus.search.abilities = None
    assert corpus.found("where is my car parked") == []
    corpus.search.abilities = msgspec.structs.replace(READS_ENGLISH, embedder="another")
    assert corpus.found("where is my car parked") == []
    assert corpus.embedder.asked == []
    corpus.search.abilities = READS_ENGLISH
    assert corpus.found("where is my car parked")[0] == "file-parking"


def test_what_the_embedder_does_not_read_is_searched_by_words(corpus: Corpus) -> None:
    corpus.file("file-korean", KOREAN)
    assert corpus.found("환불은 언제 되나요?") == ["file-korean"]
    assert corpus.embedder.asked == []


@pytest.mark.parametrize("trouble", ["away", "another size", "no numbers", "too few"])
def test_an_embedder_that_fails_leaves_the_words(corpus: Corpus, trouble: str) -> None:
    corpus.embedder.trouble = trouble
    assert corpus.found("boiling rice") == ["file-cooking"]
    corpus.embedder.trouble = ""
    assert corpus.found("where is my car parked")[0] == "file-parking"


def test_vectors_of_another_size_than_the_stores_are_left_out(corpus: Corpus) -> None:
    """As a server of embeddings gives them whose model was replaced under the same name."""

    class Replaced(Texts):
        async def windows(self, documents: Collection[str], embedder: str) -> dict[str, Windows]:
            of_before = await corpus.derived.windows(documents, embedder)
            ranges, ones = corpus.derived.paragraphs(new), np.ones((2, 7), np.float32)
            return of_before | ({new: Windows(ranges, *quantise(ones))} if new in documents else {})

    corpus.file("file-new", "Vehicles are left here.\n\nFor a day.", document="z")
    new = "z"
    replaced = plain(corpus)
    replaced.search._derived = Replaced(corpus.embedder)
    replaced.search._derived.documents = corpus.derived.documents
    assert replaced.found("where is my car parked")[0] == "file-parking"
    assert "file-new" in replaced.found("for a day")


def test_a_store_of_another_embedder_is_searched_by_words(corpus: Corpus) -> None:
    corpus.store("vs_2", embedder="another")
    corpus.file("file-other", PARKING + " It is free.", "vs_2")
    assert corpus.found("where is my car parked", stores=["vs_2"]) == []
    assert corpus.found("the gate closes", stores=["vs_2"]) == ["file-other"]


def test_a_file_that_was_removed_is_not_found_though_the_indexes_have_it(corpus: Corpus) -> None:
    assert corpus.found("boiling rice")[0] == "file-cooking"
    corpus.remove("file-cooking")
    assert "file-cooking" not in corpus.found("boiling rice")
    assert "file-cooking" not in corpus.found("salt comes last")
    corpus.file("file-again", COOKING)
    assert corpus.found("boiling rice")[0] == "file-again"


def test_removed_files_do_not_crowd_out_others(corpus: Corpus) -> None:
    crowd = "\n\n".join(f"Rice, rice, rice {number}." for number in range(candidates_for(20) + 10))
    corpus.file("file-crowd", crowd)
    corpus.remove("file-crowd")
    corpus.search.abilities = None
    assert corpus.found("rice") == ["file-cooking"]


def test_a_file_that_is_added_is_found_by_words_and_by_meaning(corpus: Corpus) -> None:
    assert corpus.ask("how do bicycles work")[0].score < 0.3
    corpus.file("file-vehicles", "Bicycles are vehicles.")
    assert corpus.found("cars")[0] in ("file-vehicles", "file-parking")
    assert corpus.found("how do bicycles work")[0] == "file-vehicles"


def test_only_what_is_new_is_loaded(corpus: Corpus) -> None:
    corpus.found("cars")
    assert len(corpus.derived.asked) == 3
    corpus.found("cars")
    assert len(corpus.derived.asked) == 3
    corpus.file("file-more", "Something else.")
    corpus.found("cars")
    assert len(corpus.derived.asked) == 4
    corpus.remove("file-more")
    corpus.found("cars")
    assert len(corpus.derived.asked) == 4


def test_a_filter_leaves_only_what_passes(corpus: Corpus) -> None:
    corpus.set_attributes("file-parking", {"place": "outside"})
    corpus.file("file-cars", "Cars and vehicles everywhere.", attributes={"place": "inside"})
    outside = Comparison(type="eq", key="place", value="outside")
    assert set(corpus.found("cars", filter=outside)) == {"file-parking"}
    corpus.set_attributes("file-parking", {"place": "inside"})
    assert corpus.found("cars", filter=outside) == []


def test_the_same_text_in_two_files_is_found_once_as_the_older_one_that_passes(corpus: Corpus) -> None:
    corpus.file("file-copy", COOKING, attributes={"copy": True}, created_at=NOW + 1)
    assert corpus.found("boiling rice").count("file-copy") == 0
    copies = Comparison(type="eq", key="copy", value=True)
    assert corpus.found("boiling rice", filter=copies)[0] == "file-copy"
    corpus.remove("file-cooking")
    assert corpus.found("boiling rice")[0] == "file-copy"


def test_several_stores_are_searched_together(corpus: Corpus) -> None:
    corpus.store("vs_2")
    corpus.file("file-trains", "Trains leave at noon. Rice is sold on board.", "vs_2")
    found = corpus.ask("rice", stores=["vs_1", "vs_2", "vs_1"])
    assert {(passage.vector_store_id, passage.file_id) for passage in found} >= {
        ("vs_1", "file-cooking"),
        ("vs_2", "file-trains"),
    }
    corpus.file("file-trains", "Trains leave at noon. Rice is sold on board.", "vs_1")
    again = corpus.ask("trains", stores=["vs_2", "vs_1"])
    assert [passage.vector_store_id for passage in again if passage.file_id == "file-trains"] == ["vs_2"]


def test_several_queries_are_merged_by_the_better_score(corpus: Corpus) -> None:
    alone = {passage.text: passage.score for passage in corpus.ask("rice")}
    both = {passage.text: passage.score for passage in corpus.ask("rice", "gate closes")}
    assert both["Boil the rice for ten minutes."] == pytest.approx(alone["Boil the rice for ten minutes."])
    assert "The gate closes at nine." in both
    assert corpus.ask("rice", "rice") == corpus.ask("rice")


def test_of_a_very_long_query_the_beginning_is_asked(corpus: Corpus) -> None:
    corpus.ask("where is my car parked " + "and then " * 200_000)
    assert [len(text) for text in corpus.embedder.asked[-1]] == [10_000]
    assert corpus.found("boil rice " + "and then " * 200_000)[0] == "file-cooking"


def test_a_query_is_asked_as_clean_as_texts_are_kept(corpus: Corpus) -> None:
    corpus.ask("where is my cafe\u0301" + "\u0323\u0301" * 4000 + "\x1b parked")
    (asked,) = corpus.embedder.asked[-1]
    assert asked.startswith("where is my caf")
    assert len(asked) < 100
    assert asked.endswith(" parked")


def test_threshold_and_limit_cut(corpus: Corpus) -> None:
    everything = corpus.ask("gate closes, refunds paid, boil rice")
    scores = [passage.score for passage in everything]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) >= 3
    assert corpus.ask("gate closes, refunds paid, boil rice", limit=2) == everything[:2]
    cut = corpus.ask("gate closes, refunds paid, boil rice", score_threshold=scores[1])
    assert cut == everything[:2]


def test_a_whole_match_scores_high_and_a_stray_word_low(corpus: Corpus) -> None:
    assert corpus.ask("refunds are paid within two weeks")[0].score > 0.7
    assert corpus.ask("paid xylophones orbit distant lighthouses")[0].score < 0.35


@pytest.mark.parametrize("text", ["", "?!", "zzzz", "12345"])
def test_a_query_that_says_nothing_finds_little(corpus: Corpus, text: str) -> None:
    assert all(passage.score < 0.3 for passage in corpus.ask(text))


def test_an_empty_store_finds_nothing_and_is_not_taken_for_damaged(corpus: Corpus) -> None:
    corpus.store("vs_empty")
    assert corpus.found("rice", stores=["vs_empty"]) == []
    assert corpus.found("rice", stores=[]) == []
    assert corpus.damaged == []


def test_an_unknown_store_is_not_found_and_neither_is_that_of_another_resource(corpus: Corpus) -> None:
    with pytest.raises(NotFound, match="vs_none"):
        corpus.ask("rice", stores=["vs_1", "vs_none"])
    with pytest.raises(NotFound, match="vs_1"):
        corpus.ask("rice", resource="another")
    with pytest.raises(NotFound):
        corpus.ask("rice", stores=["../vs_1"])
    assert len(corpus.search._stores) == 0


def test_an_expired_store_says_so_and_use_puts_that_off(corpus: Corpus) -> None:
    corpus.store("vs_days", expires_after=ExpiresAfter(days=1))
    corpus.now += 86_000
    corpus.ask("rice", stores=["vs_days"])
    corpus.now += 86_000
    corpus.ask("rice", stores=["vs_days"])
    corpus.now += 86_400
    with pytest.raises(StoreExpired, match="vs_days"):
        corpus.ask("rice", stores=["vs_1", "vs_days"])


def test_use_is_recorded_once_a_minute(corpus: Corpus) -> None:
    corpus.now += 59
    corpus.ask("rice")
    assert corpus.last_active_at() == NOW
    corpus.now += 1
    corpus.ask("rice")
    assert corpus.last_active_at() == NOW + 60
    corpus.now += 59
    corpus.ask("rice")
    assert corpus.last_active_at() == NOW + 60


@pytest.mark.parametrize("spoil", ["missing", "unusable"])
def test_a_spoiled_keyword_index_is_reported_and_the_rest_is_searched(corpus: Corpus, spoil: str) -> None:
    directory = directory_of(corpus.directory, "vs_1")
    if spoil == "missing":
        shutil.rmtree(directory)
    else:
        (directory / "meta.json").write_text("{")
    assert corpus.found("where is my car parked")[0] == "file-parking"
    assert ("default", "vs_1") in corpus.damaged
    shutil.rmtree(directory, ignore_errors=True)
    for document in corpus.derived.documents:
        corpus.index("vs_1", document)
    corpus.damaged.clear()
    assert corpus.found("boiling rice")[0] == "file-cooking"
    assert corpus.damaged == []


def test_what_is_lost_of_the_derived_data_is_left_out(corpus: Corpus) -> None:
    corpus.derived.documents.pop(hashlib.sha256(COOKING.encode()).hexdigest())
    assert "file-cooking" not in corpus.found("boiling rice, gate closes")
    assert corpus.found("gate closes")[0] == "file-parking"


def test_a_file_that_is_no_more_is_not_found(corpus: Corpus) -> None:
    corpus._write(lambda conn: files.delete(conn, "default", "file-cooking", now=0))
    assert "file-cooking" not in corpus.found("boiling rice")


def test_a_file_whose_time_has_come_is_not_found_and_leaves_room_for_others(corpus: Corpus) -> None:
    corpus.file("file-brief", REFUNDS, created_at=NOW - 1, expires_at=NOW + 60)
    corpus.file("file-late", "Refunds are paid at once.", expires_at=NOW + 60)
    corpus.file("file-plain", "The money comes back.")
    assert corpus.found("refunds are paid", limit=2) == ["file-late", "file-brief"]
    corpus.now += 60
    assert corpus.found("refunds are paid", limit=2) == ["file-refunds", "file-plain"]
    assert corpus.found("refunds are paid", filter=Comparison(type="ne", key="k", value=1), limit=1) == ["file-refunds"]


def test_stores_that_were_not_used_for_longest_make_room(corpus: Corpus) -> None:
    small = plain(corpus, memory_bytes=1)
    small.derived.documents = corpus.derived.documents
    small.store("vs_2")
    small.file("file-two", "Vehicles again.", "vs_2")
    for _ in range(2):
        assert small.found("cars", stores=["vs_1"])[0] == "file-parking"
        assert small.found("cars", stores=["vs_2"]) == ["file-two"]
        assert len(small.search._stores) == 1
    assert len(small.derived.asked) == 8


def test_the_keyword_indexes_of_few_stores_stay_open(tmp_path: Path) -> None:
    kept = StoreCache(tmp_path, 1024**3, most_open=2)
    stores = [kept.get("default", f"vs_{number}") for number in range(4)]
    for store in stores:
        KeywordWriter(directory_of(tmp_path, store.store_id)).apply(
            remove=[], add=[indexing.unit("doc:100:0", ["rice"])]
        )
        assert store.keyword.search("rice", 1)
    kept.make_room()
    assert [store.keyword.is_open for store in stores] == [False, False, True, True]
    assert all(store.keyword.search("rice", 1) for store in stores)


class Judge:
    """A reranker that likes texts with a word in them."""

    def __init__(self, word: str = "", error: str = "") -> None:
        self._word = word
        self._error = error
        self.seen: list[tuple[str, list[str]]] = []

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        self.seen.append((query, list(texts)))
        if self._error:
            raise RerankFailed(self._error)
        return [0.9 if self._word in text else 0.1 for text in texts]


def with_judge(corpus: Corpus, judge: Reranker) -> Corpus:
    judged = plain(corpus, reranker=judge)
    judged.derived.documents = corpus.derived.documents
    return judged


def test_a_reranker_decides_and_its_scores_count(corpus: Corpus) -> None:
    judge = Judge("gate")
    judged = with_judge(corpus, judge)
    first, *rest = judged.ask("rice and the gate", limit=2)
    assert (first.text, first.score) == ("The gate closes at nine.", 0.9)
    assert [passage.score for passage in rest] == [0.1]
    assert len(judge.seen[0][1]) > 2
    assert [passage.score for passage in judged.ask("rice and the gate", score_threshold=0.5)] == [0.9]


def test_a_reranker_is_not_asked_when_that_is_not_wanted(corpus: Corpus) -> None:
    judge = Judge("gate")
    judged = with_judge(corpus, judge)
    assert judged.ask("rice", rerank=False) == corpus.ask("rice")
    assert judge.seen == []


def test_a_reranker_that_fails_leaves_the_order_that_was_found(corpus: Corpus) -> None:
    judged = with_judge(corpus, Judge(error="it is away"))
    assert judged.ask("rice", "gate", limit=1) == corpus.ask("rice", "gate", limit=1)
    threshold = corpus.ask("rice")[0].score
    assert judged.ask("rice", score_threshold=threshold) == corpus.ask("rice", score_threshold=threshold)


def test_each_query_is_judged_by_itself(corpus: Corpus) -> None:
    judge = Judge("gate")
    with_judge(corpus, judge).ask("rice", "gate")
    assert sorted(query for query, _ in judge.seen) == ["gate", "rice"]


def test_searches_that_overlap_with_changes_see_one_state_or_the_other(corpus: Corpus) -> None:
    async def scene() -> list[list[Passage]]:
        searches = [
            asyncio.create_task(corpus.search.search("default", ["vs_1"], Query(texts=("cars", "rice"))))
            for _ in range(10)
        ]
        removal = corpus.db.write(lambda conn: vector_store_files.delete(conn, "default", "vs_1", "file-cooking"))
        await removal
        after = await corpus.search.search("default", ["vs_1"], Query(texts=("rice",)))
        return [list(passages) for passages in (await asyncio.gather(*searches))] + [list(after)]

    *during, after = corpus._runner.run(scene())
    assert "file-cooking" not in [passage.file_id for passage in after]
    for passages in during:
        assert "file-parking" in [passage.file_id for passage in passages]


def test_a_search_keeps_what_it_found_when_another_sees_a_change_meanwhile(corpus: Corpus) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    class Slow:
        """The derived data, which takes its time with the first answer."""

        def __getattr__(self, name: str) -> Any:
            return getattr(corpus.derived, name)

        async def chunks(self, units: Collection[Unit]) -> dict[Unit, Ranges]:
            if not asked.is_set():
                asked.set()
                await go_on.wait()
            return await corpus.derived.chunks(units)

    search = Search(corpus.db, Slow(), corpus.directory, clock=lambda: corpus.now)

    async def scene() -> tuple[Passage, ...]:
        first = asyncio.create_task(search.search("default", ["vs_1"], Query(texts=("rice",))))
        await asked.wait()
        await corpus.db.write(lambda conn: vector_store_files.delete(conn, "default", "vs_1", "file-refunds"))
        await search.search("default", ["vs_1"], Query(texts=("gate",)))
        go_on.set()
        return await first

    assert [passage.file_id for passage in corpus._runner.run(scene())] == ["file-cooking"]


def test_stores_are_searched_on_postgresql_too(postgres: Any, runner: asyncio.Runner, tmp_path: Path) -> None:
    db = runner.run(Postgres.open(postgres.create()))
    try:
        corpus = Corpus(db, tmp_path / "search", runner)
        corpus.store()
        corpus.file("file-parking", PARKING)
        corpus.file("file-cooking", COOKING)
        corpus.now += 120
        assert corpus.found("where is my car parked")[0] == "file-parking"
        assert corpus.last_active_at() == NOW + 120
        corpus.remove("file-parking")
        assert "file-parking" not in corpus.found("gate closes")
    finally:
        runner.run(db.close())
