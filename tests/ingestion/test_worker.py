"""Files on their way to where searches find them: real rows on both databases, real processes and servers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locum.documents import store as document_store
from locum.documents.types import Unit
from locum.domain.vector_stores import Chunking, FileBatch
from locum.errors import Unavailable
from locum.ingestion.chunk import Tokens
from locum.ingestion.compute import ComputeError, ComputeProcess
from locum.ingestion.document_builder import PAUSES
from locum.ingestion.extract.parser import Unreadable
from locum.ingestion.maintenance import KEPT_SECONDS
from locum.ingestion.worker import MAX_ATTEMPTS
from locum.leases import LEASE_SECONDS
from locum.search.embedders.remote import RemoteEmbedder
from locum.store import file_batches, files
from locum.store import vector_store_files as rows
from locum.store import vector_stores as stores
from locum.store.database import Database
from tests.ingestion import deadly_compute
from tests.ingestion.ingesting import RESOURCE, Ingestion, PlainText
from tests.search.embedding_server import EmbeddingServer, Status

Databases = tuple[Database, Database]
Scenario = Callable[[Ingestion], Awaitable[None]]
TEXT = "\n\n".join(f"Paragraph {number} is about apples and engines. " * 8 for number in range(60))


class SetClock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def compute(runner: asyncio.Runner) -> Iterator[ComputeProcess]:
    """One process for all tests of the module: to start one takes longer than most of them."""
    compute = ComputeProcess()
    yield compute
    runner.run(compute.close())


@pytest.fixture
def play(databases: Databases, runner: asyncio.Runner, compute: ComputeProcess, tmp_path: Path) -> Callable[..., None]:
    """Run a scenario with an ingestion that has started, and close it."""

    def play(scenario: Scenario, *, is_started: bool = True, **options: Any) -> None:
        async def go() -> None:
            ingestion = Ingestion(*databases, tmp_path, **{"compute": compute, **options})
            if is_started:
                ingestion.worker.start()
            try:
                await scenario(ingestion)
            finally:
                await ingestion.close()

        runner.run(go())

    return play


def test_a_file_is_cut_and_indexed_before_its_row_says_completed(play: Callable[..., None]) -> None:
    async def scenario(one: Ingestion) -> None:
        store, file_id = await one.make_store(), await one.upload(TEXT.encode(), "notes.md")
        await one.add(store, [file_id])
        await one.settle(store)
        file = await one.file(store, file_id)
        assert file.status == "completed"
        assert file.document is not None
        assert file.usage_bytes > len(TEXT)
        ranges = Tokens(TEXT).chunks(Chunking())
        assert one.indexed(store) == {Unit(file.document, Chunking()).key: list(range(len(ranges)))}
        assert await one.data.read(lambda conn: document_store.text(conn, file.document)) == TEXT
        assert one.worker.outcomes == {"completed": 1}
        (member,) = await one.db.read(lambda conn: rows.searchable(conn, RESOURCE, store))
        assert member.generation == await one.db.read(lambda conn: stores.generation(conn, RESOURCE, store))

    play(scenario)


def test_its_windows_are_embedded_and_the_store_takes_the_embedder(play: Callable[..., None]) -> None:
    with EmbeddingServer() as server:

        async def scenario(one: Ingestion) -> None:
            store, file_id = await one.make_store(), await one.upload(TEXT.encode())
            await one.add(store, [file_id])
            await one.settle(store)
            file = await one.file(store, file_id)
            vectors = await one.data.read(lambda conn: document_store.vectors(conn, file.document or "", "remote:m"))
            assert vectors is not None
            windows = Tokens(TEXT).windows()
            assert np.array_equal(vectors.ranges, windows)
            assert server.texts == [TEXT[start:end] for start, end in windows.tolist()]
            rebuilt = vectors.codes * vectors.scales[:, None]
            assert np.allclose(np.linalg.norm(rebuilt, axis=1), 1, atol=0.02)
            assert await one.db.read(lambda conn: stores.embedder(conn, RESOURCE, store)) == "remote:m"

        play(scenario, embedder=RemoteEmbedder(base_url=server.base_url, model="m"))


def test_the_same_content_in_other_stores_files_and_cuts_is_read_and_embedded_once(play: Callable[..., None]) -> None:
    with EmbeddingServer() as server:

        async def scenario(one: Ingestion) -> None:
            file_ids = [await one.upload(TEXT.encode()) for _ in range(4)]
            made = [await one.make_store() for _ in range(3)]
            small = Chunking(max_chunk_size_tokens=100, chunk_overlap_tokens=10)
            for store in made:
                await one.add(store, file_ids[:2])
                await one.add(store, file_ids[2:], small)
            for store in made:
                await one.settle(store)
                assert len(one.indexed(store)) == 2
            assert len(one.parser.parsed) == 1
            assert len(server.texts) == len(set(server.texts)) == len(Tokens(TEXT).windows())

        play(scenario, slots=4, embedder=RemoteEmbedder(base_url=server.base_url, model="m"))


def test_one_bad_file_does_not_fail_the_others_and_says_what_is_wrong(play: Callable[..., None]) -> None:
    async def scenario(one: Ingestion) -> None:
        store = await one.make_store()
        good, bad, blank, gone = [
            await one.upload(content) for content in (TEXT.encode(), b"\xff\xfe\xff", b" \n ", b"deleted soon")
        ]
        await one.db.write(lambda conn: files.delete(conn, RESOURCE, gone, now=0))
        await one.add(store, [good, bad, blank, gone])
        await one.settle(store)
        assert (await one.file(store, good)).status == "completed"
        for file_id, words in ((bad, "no text in UTF-8"), (blank, "no text in it"), (gone, "deleted")):
            file = await one.file(store, file_id)
            assert file.status == "failed"
            assert file.last_error is not None
            assert file.last_error.code == "invalid_file"
            assert words in file.last_error.message
        assert one.worker.outcomes == {"completed": 1, "invalid_file": 3}

    play(scenario)


def test_a_file_with_too_many_tokens_fails_with_the_limit(play: Callable[..., None]) -> None:
    async def scenario(one: Ingestion) -> None:
        store, file_id = await one.make_store(), await one.upload(b"a b c d e f g h " * 700_000)
        await one.add(store, [file_id])
        await one.settle(store)
        file = await one.file(store, file_id)
        assert file.last_error is not None
        assert "5,000,000 tokens" in file.last_error.message
        assert one.indexed(store) == {}

    play(scenario)


def test_a_file_that_is_taken_out_or_cancelled_while_it_is_read_is_not_written(play: Callable[..., None]) -> None:
    async def scenario(one: Ingestion) -> None:
        one.parser.held = asyncio.Event()
        store = await one.make_store()
        removed, cancelled = await one.upload(b"removed"), await one.upload(b"cancelled")
        _, seq = await one.add(store, [removed, cancelled])
        for _ in range(2):
            await one.parser.begun.get()
        batch = FileBatch(id="vsfb_1", created_at=1, vector_store_id=store)
        await one.db.write(lambda conn: file_batches.insert(conn, RESOURCE, batch, [seq]))
        await one.db.write(lambda conn: rows.delete(conn, RESOURCE, store, removed))
        await one.db.write(lambda conn: rows.cancel_batch(conn, RESOURCE, store, batch.id))
        before = await one.db.read(lambda conn: stores.generation(conn, RESOURCE, store))
        one.parser.held.set()
        while one.worker._held:
            await asyncio.wait(one.worker._held.values())
        assert (await one.file(store, cancelled)).status == "cancelled"
        assert await one.db.read(lambda conn: rows.find(conn, RESOURCE, store, removed)) is None
        assert await one.db.read(lambda conn: stores.generation(conn, RESOURCE, store)) == before
        assert one.worker.outcomes.total() == 0

    play(scenario)


def test_a_heartbeat_keeps_what_is_ours_and_lets_go_of_what_is_not(play: Callable[..., None]) -> None:
    clock = SetClock()

    async def scenario(one: Ingestion) -> None:
        one.parser.held = asyncio.Event()
        store = await one.make_store()
        kept, lost = await one.upload(b"kept"), await one.upload(b"lost")
        kept_seq, lost_seq = await one.add(store, [kept, lost])
        for _ in range(2):
            await one.parser.begun.get()
        await one.db.write(lambda conn: rows.delete(conn, RESOURCE, store, lost))
        clock.now += LEASE_SECONDS * 0.9
        let_go = one.worker._held[lost_seq]
        await one.worker._renew()
        clock.now += LEASE_SECONDS * 0.9
        assert not await one.db.read(lambda conn: rows.any_claimable(conn, "node_2", now=clock.now))
        await asyncio.wait([let_go])
        assert let_go.cancelled()
        assert not one.worker._held[kept_seq].done()

    play(scenario, clock=clock)


def test_a_file_whose_server_is_gone_is_taken_by_another(play: Callable[..., None]) -> None:
    clock = SetClock()

    async def scenario(one: Ingestion) -> None:
        store, file_id = await one.make_store(), await one.upload(TEXT.encode())
        await one.add(store, [file_id])
        until = clock.now + LEASE_SECONDS
        assert await one.db.write(lambda conn: rows.claim(conn, "gone", now=clock.now, until=until, limit=5))
        one.worker.start()
        assert not await one.settled(store, seconds=0)
        clock.now += LEASE_SECONDS + 1
        await one.settle(store)
        assert (await one.file(store, file_id)).status == "completed"

    play(scenario, is_started=False, clock=clock)


def test_a_worker_that_stops_gives_back_what_it_has_in_hand(play: Callable[..., None]) -> None:
    async def scenario(one: Ingestion) -> None:
        one.parser.held = asyncio.Event()
        store = await one.make_store()
        await one.add(store, [await one.upload(b"held")])
        await one.parser.begun.get()
        await one.worker.stop()
        (claim,) = await one.db.write(lambda conn: rows.claim(conn, "node_2", now=1, until=2, limit=5))
        assert claim.attempts == 1

    play(scenario)


def test_a_file_that_fails_us_every_time_fails_in_the_end(play: Callable[..., None]) -> None:
    parser = PlainText()
    parser.trouble = lambda name: RuntimeError("a bug") if name == "bad.txt" else None

    async def scenario(one: Ingestion) -> None:
        store = await one.make_store()
        bad, good = await one.upload(b"bad", "bad.txt"), await one.upload(b"good")
        await one.add(store, [bad, good])
        await one.settle(store)
        file = await one.file(store, bad)
        assert file.last_error is not None
        assert file.last_error.code == "server_error"
        assert f"{MAX_ATTEMPTS} attempts" in file.last_error.message
        assert parser.parsed.count("bad.txt") == MAX_ATTEMPTS
        assert (await one.file(store, good)).status == "completed"

    play(scenario, parser=parser)


def test_a_database_or_disk_that_is_away_costs_a_file_no_attempt(play: Callable[..., None]) -> None:
    parser = PlainText()
    parser.trouble = lambda _: Unavailable("the disk is away") if len(parser.parsed) <= MAX_ATTEMPTS + 1 else None

    async def scenario(one: Ingestion) -> None:
        store, file_id = await one.make_store(), await one.upload(b"good")
        await one.add(store, [file_id])
        await one.settle(store)
        assert (await one.file(store, file_id)).status == "completed"

    play(scenario, parser=parser)


def test_an_embedder_that_is_down_is_waited_for(play: Callable[..., None]) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with EmbeddingServer() as server:
        server.trouble.extend([Status(503)] * 2)

        async def scenario(one: Ingestion) -> None:
            store, file_id = await one.make_store(), await one.upload(TEXT.encode())
            await one.add(store, [file_id])
            await one.settle(store)
            assert (await one.file(store, file_id)).status == "completed"
            assert slept == list(PAUSES[:2])

        play(scenario, embedder=RemoteEmbedder(base_url=server.base_url, model="m", attempts=1), sleep=sleep)


@pytest.mark.parametrize(("status", "pauses"), [(503, len(PAUSES)), (401, 0)])
def test_an_embedder_that_stays_away_or_refuses_fails_the_file_with_its_words(
    play: Callable[..., None], status: int, pauses: int
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with EmbeddingServer() as server:
        server.trouble.extend([Status(status)] * 20)

        async def scenario(one: Ingestion) -> None:
            store, file_id = await one.make_store(), await one.upload(TEXT.encode())
            await one.add(store, [file_id])
            await one.settle(store)
            file = await one.file(store, file_id)
            assert file.last_error is not None
            assert file.last_error.code == "server_error"
            assert f"answered {status}" in file.last_error.message
            assert len(slept) == pauses

        play(scenario, embedder=RemoteEmbedder(base_url=server.base_url, model="m", attempts=1), sleep=sleep)


def test_files_that_are_ready_together_share_commits_of_the_index(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(one: Ingestion) -> None:
        store = await one.make_store()
        file_ids = [await one.upload(f"file number {number}".encode()) for number in range(60)]
        commits = 0
        index = one.compute.index

        async def counted(*args: Any, **options: Any) -> None:
            nonlocal commits
            commits += 1
            await index(*args, **options)

        monkeypatch.setattr(one.compute, "index", counted)
        await one.add(store, file_ids)
        await one.settle(store)
        assert len(one.indexed(store)) == 60
        assert commits <= 6

    play(scenario, slots=8, gather_seconds=60)


def test_a_file_that_nobody_can_index_fails_without_those_that_were_to_share_its_commit(
    play: Callable[..., None], runner: asyncio.Runner
) -> None:
    async def scenario(one: Ingestion) -> None:
        store = await one.make_store()
        good = [await one.upload(f"file number {number}".encode()) for number in range(6)]
        bad = await one.upload(deadly_compute.DEADLY.encode())
        await one.add(store, [*good[:3], bad, *good[3:]])
        await one.settle(store)
        assert (await one.file(store, bad)).status == "failed"
        assert {(await one.file(store, file_id)).status for file_id in good} == {"completed"}
        assert len(one.indexed(store)) == len(good)

    deadly = ComputeProcess(module=deadly_compute.__name__)
    play(scenario, slots=8, gather_seconds=60, compute=deadly)
    runner.run(deadly.close())


def test_a_spoiled_or_lost_index_is_built_again(play: Callable[..., None]) -> None:
    async def scenario(one: Ingestion) -> None:
        store = await one.make_store()
        await one.add(store, [await one.upload(b"first")])
        await one.settle(store)
        first = one.indexed(store)
        members = await one.db.read(lambda conn: rows.searchable(conn, RESOURCE, store))
        units = [Unit(each.file.document or "", each.file.chunking) for each in members]
        one.spoil_index(store)
        await one.indexes.cover(store, units, anew=True)
        assert one.indexed(store) == first
        one.spoil_index(store)
        await one.add(store, [await one.upload(b"second")])
        await one.settle(store)
        assert len(one.indexed(store)) == 2
        assert first.items() < one.indexed(store).items()

    play(scenario)


def test_a_file_that_comes_back_is_indexed_though_taking_it_out_was_cut_short(play: Callable[..., None]) -> None:
    class DiesAfterwards(ComputeProcess):
        """Commits, and cannot say so any more."""

        async def index(self, *args: Any, **options: Any) -> None:
            await super().index(*args, **options)
            raise ComputeError("the process that was at work on it died")

    async def scenario(one: Ingestion) -> None:
        store = await one.make_store()
        kept, removed = await one.upload(b"kept"), await one.upload(b"removed")
        await one.add(store, [kept, removed])
        await one.settle(store)
        before = one.indexed(store)
        await one.db.write(lambda conn: rows.delete(conn, RESOURCE, store, removed))
        dying = DiesAfterwards()
        one.indexes._compute = dying
        with pytest.raises(ComputeError):
            await one.maintenance.sweep()
        await dying.close()
        one.indexes._compute = one.compute
        assert len(one.indexed(store)) == 1
        await one.add(store, [removed])
        await one.settle(store)
        assert one.indexed(store) == before

    play(scenario)


def test_another_server_on_the_same_database_brings_its_own_index_up_to_date(
    play: Callable[..., None], tmp_path: Path
) -> None:
    async def scenario(one: Ingestion) -> None:
        store = await one.make_store()
        await one.add(store, [await one.upload(b"first"), await one.upload(b"second")])
        await one.settle(store)
        other = Ingestion(one.db, one.data, tmp_path / "other", owner="node_2")
        try:
            assert other.indexed(store) == {}
            members = await one.db.read(lambda conn: rows.searchable(conn, RESOURCE, store))
            units = [Unit(each.file.document or "", each.file.chunking) for each in members]
            await other.indexes.cover(store, units)
            assert other.indexed(store) == one.indexed(store)
            await one.add(store, [await one.upload(b"third")])
            await one.settle(store)
            await other.maintenance.follow()
            assert other.indexed(store) == one.indexed(store)
            assert len(other.indexed(store)) == 3
        finally:
            await other.close()

    play(scenario)


def test_an_index_that_a_search_finds_damaged_is_built_again_once(play: Callable[..., None]) -> None:
    async def scenario(one: Ingestion) -> None:
        store = await one.make_store()
        await one.add(store, [await one.upload(b"first")])
        await one.settle(store)
        first = one.indexed(store)
        one.spoil_index(store)
        for _ in range(3):
            one.maintenance.rebuild(RESOURCE, store)
        (building,) = one.maintenance._tasks
        await asyncio.wait([building])
        assert one.indexed(store) == first

    play(scenario)


# ---- maintenance


def test_derived_data_that_is_lost_is_made_again_from_the_files(play: Callable[..., None]) -> None:
    async def scenario(one: Ingestion) -> None:
        store, file_id = await one.make_store(), await one.upload(TEXT.encode())
        await one.add(store, [file_id])
        await one.settle(store)
        file, indexed = await one.file(store, file_id), one.indexed(store)
        await one.data.write(document_store._metadata.drop_all)
        await one.data.write(document_store.prepare)
        await one.indexes.drop(store)
        assert await one.maintenance.restore()
        assert await one.data.read(lambda conn: document_store.text(conn, file.document or "")) == TEXT
        assert one.indexed(store) == indexed
        assert await one.file(store, file_id) == file

    play(scenario)


def test_stores_change_over_to_a_new_embedder_when_all_their_files_have_its_vectors(play: Callable[..., None]) -> None:
    with EmbeddingServer() as server:
        made: dict[str, str] = {}

        async def with_the_old_one(one: Ingestion) -> None:
            made["store"], made["file"] = await one.make_store(), await one.upload(TEXT.encode())
            made["empty"] = await one.make_store()
            await one.add(made["store"], [made["file"]])
            await one.settle(made["store"])

        async def with_the_new_one(one: Ingestion) -> None:
            store, woken = made["store"], asyncio.Event()
            one.worker.on_other_embedder = woken.set
            server.trouble.append(Status(401))
            assert not await one.maintenance.restore()
            assert await one.db.read(lambda conn: stores.embedder(conn, RESOURCE, store)) == "remote:old"
            await one.add(store, [await one.upload(b"another")])  # meanwhile
            await one.settle(store)
            assert woken.is_set()
            assert await one.db.read(lambda conn: stores.embedder(conn, RESOURCE, store)) == "remote:old"
            before = await one.db.read(lambda conn: stores.generation(conn, RESOURCE, store))
            assert before is not None
            assert await one.maintenance.restore()
            for each in (store, made["empty"]):
                assert await one.db.read(lambda conn, at=each: stores.embedder(conn, RESOURCE, at)) == "remote:new"  # type: ignore[misc]
            assert await one.db.read(lambda conn: stores.generation(conn, RESOURCE, store)) == before + 1
            file = await one.file(store, made["file"])
            assert await one.data.read(lambda conn: document_store.embedded(conn, [file.document or ""], "remote:new"))
            await one.maintenance.sweep()
            assert not await one.data.read(
                lambda conn: document_store.embedded(conn, [file.document or ""], "remote:old")
            )

        play(with_the_old_one, embedder=RemoteEmbedder(base_url=server.base_url, model="old"))
        play(with_the_new_one, embedder=RemoteEmbedder(base_url=server.base_url, model="new"))


def test_what_no_store_has_any_more_is_removed_a_day_later(play: Callable[..., None]) -> None:
    clock = SetClock()

    async def scenario(one: Ingestion) -> None:
        store, other = await one.make_store(), await one.make_store()
        kept, removed = await one.upload(b"kept"), await one.upload(b"removed")
        await one.add(store, [kept, removed])
        await one.add(other, [kept])
        for each in (store, other):
            await one.settle(each)
        documents = {each: (await one.file(store, each)).document or "" for each in (kept, removed)}
        await one.db.write(lambda conn: rows.delete(conn, RESOURCE, store, removed))
        await one.db.write(lambda conn: stores.delete(conn, RESOURCE, other))
        await one.maintenance.sweep()
        assert list(one.indexed(store)) == [Unit(documents[kept], Chunking()).key]
        assert not (one.directory / "search" / other).exists()
        assert await one.data.read(lambda conn: document_store.text(conn, documents[removed])) == "removed"
        clock.now += KEPT_SECONDS + 1
        await one.maintenance.sweep()
        assert await one.data.read(lambda conn: document_store.text(conn, documents[removed])) == ""
        assert await one.data.read(lambda conn: document_store.text(conn, documents[kept])) == "kept"

    play(scenario, clock=clock)


def test_a_file_that_a_new_parser_reads_otherwise_gets_another_document(play: Callable[..., None]) -> None:
    made: dict[str, str] = {}

    async def with_the_old_one(one: Ingestion) -> None:
        made["store"], made["file"] = await one.make_store(), await one.upload(TEXT.encode())
        await one.add(made["store"], [made["file"]])
        await one.settle(made["store"])
        made["document"] = (await one.file(made["store"], made["file"])).document or ""
        await one.data.write(document_store._metadata.drop_all)
        await one.data.write(document_store.prepare)

    async def with_the_new_one(one: Ingestion) -> None:
        assert await one.maintenance.restore()
        file = await one.file(made["store"], made["file"])
        assert file.document != made["document"]
        assert Unit(file.document or "", Chunking()).key in one.indexed(made["store"])

    async def with_one_that_cannot(one: Ingestion) -> None:
        await one.data.write(document_store._metadata.drop_all)
        await one.data.write(document_store.prepare)
        one.parser.trouble = lambda _: Unreadable("invalid_file", "not any more")
        assert await one.maintenance.restore()
        assert (await one.file(made["store"], made["file"])).status == "completed"

    play(with_the_old_one)
    play(with_the_new_one, parser=PlainText(version="2"))
    play(with_one_that_cannot)
