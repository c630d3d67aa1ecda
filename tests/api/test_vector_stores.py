"""Vector stores, their files and batches through the unmodified SDK, on both databases. Tests write rows
in the place of an ingestion worker."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import openai
import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from locum.domain.files import blob_key
from locum.domain.threads import Thread
from locum.store import files as file_rows
from locum.store import tables
from locum.store import threads as thread_rows
from locum.store import vector_store_files as rows
from tests.api.edge import EdgeServer, wait_until
from tests.api.here import Here

DAY = 24 * 3600


# ---- stores


def test_a_store_is_the_hosted_object(here: Here) -> None:
    made = here.ask("POST", "", {}).json
    assert made == {
        "id": made["id"],
        "object": "vector_store",
        "created_at": int(here.clock.now),
        "name": "",
        "description": None,
        "usage_bytes": 0,
        "bytes": 0,
        "file_counts": {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0},
        "status": "completed",
        "expires_after": None,
        "expires_at": None,
        "last_active_at": int(here.clock.now),
        "metadata": {},
    }
    assert here.ask("GET", f"/{made['id']}").json == made


def test_a_store_lives_from_create_to_delete(here: Here) -> None:
    file = here.file()
    made = here.sdk.vector_stores.create(
        name="Papers",
        description="All of them",
        file_ids=[file],
        expires_after={"anchor": "last_active_at", "days": 3},
        metadata={"a": "b"},
    )
    assert (made.name, made.status, made.file_counts.in_progress, made.metadata) == (
        "Papers",
        "in_progress",
        1,
        {"a": "b"},
    )
    assert made.expires_at == made.created_at + 3 * DAY
    assert here.ingest() == [file]
    ready = here.sdk.vector_stores.retrieve(made.id)
    assert (ready.status, ready.usage_bytes, ready.file_counts.completed) == ("completed", 100, 1)
    changed = here.sdk.vector_stores.update(made.id, name="Books", expires_after=None, metadata={})
    assert (changed.name, changed.expires_after, changed.expires_at, changed.metadata) == ("Books", None, None, {})
    assert here.sdk.vector_stores.update(made.id).name == "Books"
    assert here.sdk.vector_stores.delete(made.id).deleted
    assert here.refused(lambda: here.sdk.vector_stores.retrieve(made.id), status=404)
    assert here.refused(lambda: here.sdk.vector_stores.delete(made.id), status=404)
    assert here.sdk.files.retrieve(file).id == file


def test_stores_are_listed_in_pages(here: Here) -> None:
    made = [here.store(name=f"{n}") for n in range(5)]
    assert [each.id for each in here.sdk.vector_stores.list(limit=2)] == made[::-1]
    assert [each.id for each in here.sdk.vector_stores.list(order="asc", limit=3)] == made
    page = here.sdk.vector_stores.list(before=made[0], limit=2)
    assert ([each.id for each in page.data], page.has_more) == ([made[2], made[1]], True)


def test_a_store_expires_and_lives_again_on_other_terms(here: Here) -> None:
    store = here.store(here.file(), expires_after={"anchor": "last_active_at", "days": 1})
    here.ingest()
    here.clock.now += DAY
    assert here.sdk.vector_stores.retrieve(store).status == "expired"
    with pytest.raises(openai.BadRequestError):
        here.sdk.vector_stores.search(store, query="sea")
    assert here.sdk.vector_stores.update(store, expires_after=None).status == "completed"
    assert len(here.sdk.vector_stores.search(store, query="sea").data) == 1


def test_expired_store_stays_readable_until_its_days_are_over_or_while_it_is_named(here: Here) -> None:
    ends = {"anchor": "last_active_at", "days": 1}
    file = here.file()
    alone, of_thread, of_assistant, revived = (here.store(file, expires_after=ends) for _ in range(4))
    endless = here.store(file)
    here.sdk.beta.threads.create(tool_resources={"file_search": {"vector_store_ids": [of_thread]}})
    here.sdk.beta.assistants.create(
        model="m",
        tools=[{"type": "file_search"}],
        tool_resources={"file_search": {"vector_store_ids": [of_assistant]}},
    )
    here.ingest()
    here.clock.now += 91 * DAY - 1
    stores = here.server.services.vector_stores
    assert not {alone, of_thread, of_assistant, revived, endless} & {*here.server.do(stores.delete_expired(90))}
    assert here.sdk.vector_stores.retrieve(alone).status == "expired"
    assert here.sdk.vector_stores.files.list(alone).data[0].id == file
    here.sdk.vector_stores.update(revived, expires_after={"anchor": "last_active_at", "days": 2})
    here.clock.now += 1
    deleted = {*here.server.do(stores.delete_expired(90))}
    assert {alone, of_thread, of_assistant, revived, endless} & deleted == {alone}
    assert here.refused(lambda: here.sdk.vector_stores.retrieve(alone), status=404)
    kept = (of_thread, of_assistant, revived)
    assert [here.sdk.vector_stores.retrieve(store).status for store in kept] == ["expired"] * 3
    assert here.sdk.vector_stores.retrieve(endless).status == "completed"
    assert here.sdk.files.retrieve(file).id == file


def test_names_of_stores_are_found_in_any_number_of_threads(here: Here) -> None:
    threads = [Thread(id=f"thread_{secrets.token_hex(8)}", created_at=1) for _ in range(2500)]
    here.server.write(lambda conn: [thread_rows.insert(conn, here.resource, thread) for thread in threads])
    store = here.store(expires_after={"anchor": "last_active_at", "days": 1})
    here.sdk.beta.threads.create(tool_resources={"file_search": {"vector_store_ids": [store]}})
    here.clock.now += 91 * DAY
    assert store not in here.server.do(here.server.services.vector_stores.delete_expired(90))


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"foo": 1}, "foo", "unknown_parameter"),
        ({"name": 1}, "name", "invalid_type"),
        ({"name": "x" * 513}, "name", "string_above_max_length"),
        ({"file_ids": ["file-x"] * 501}, "file_ids", "array_above_max_length"),
        ({"file_ids": ["x"]}, "file_ids[0]", "invalid_value"),
        ({"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor", "invalid_value"),
        (
            {"expires_after": {"anchor": "last_active_at", "days": 0}},
            "expires_after.days",
            "integer_below_min_value",
        ),
        (
            {"expires_after": {"anchor": "last_active_at", "days": 366}},
            "expires_after.days",
            "integer_above_max_value",
        ),
        ({"expires_after": {"anchor": "last_active_at"}}, "expires_after.days", "missing_required_parameter"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
        ({"chunking_strategy": {"type": "other"}}, "chunking_strategy.type", "invalid_value"),
        ({"chunking_strategy": {}}, "chunking_strategy.type", "missing_required_parameter"),
        ({"chunking_strategy": {"type": "static"}}, "chunking_strategy.static", "missing_required_parameter"),
        (
            {"chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 800}}},
            "chunking_strategy.static.chunk_overlap_tokens",
            "missing_required_parameter",
        ),
    ],
)
def test_what_a_store_cannot_be_is_refused(edge: EdgeServer, body: Any, param: str, code: str) -> None:
    answer = edge.request("POST", "/v1/vector_stores", body, beta=False)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, param, code), answer.json


@pytest.mark.parametrize(
    ("sizes", "param", "code", "words"),
    [
        ((99, 0), "max_chunk_size_tokens", "integer_below_min_value", "Expected a value >= 100, but got 99 instead."),
        ((4097, 0), "max_chunk_size_tokens", "integer_above_max_value", "<= 4096, but got 4097 instead."),
        ((800, 401), "chunk_overlap_tokens", "integer_above_max_value", "<= 400, but got 401 instead."),
        ((101, 51), "chunk_overlap_tokens", "integer_above_max_value", "<= 50, but got 51 instead."),
        ((800, -1), "chunk_overlap_tokens", "integer_below_min_value", ">= 0, but got -1 instead."),
    ],
)
def test_chunks_have_limits(edge: EdgeServer, sizes: tuple[int, int], param: str, code: str, words: str) -> None:
    static = {"max_chunk_size_tokens": sizes[0], "chunk_overlap_tokens": sizes[1]}
    body = {"chunking_strategy": {"type": "static", "static": static}}
    error = edge.request("POST", "/v1/vector_stores", body, beta=False).error
    assert (error["param"], error["code"]) == (f"chunking_strategy.static.{param}", code)
    assert words in error["message"]


def test_an_id_that_is_none_is_named(edge: EdgeServer) -> None:
    error = edge.request("GET", "/v1/vector_stores/undefined", beta=False).error
    assert error["message"] == "Invalid 'vector_store_id': 'undefined'. Expected an ID that begins with 'vs'."
    error = edge.request("GET", "/v1/vector_stores/vs_x/file_batches/undefined", beta=False).error
    assert error["param"] == "batch_id"
    assert edge.request("GET", "/v1/vector_stores/vs_x", beta=False).error["message"] == (
        "No vector store found with id 'vs_x'."
    )


def test_another_resource_sees_nothing_of_a_store(keyed: EdgeServer) -> None:
    key, other = (keyed.do(keyed.keys.create(name, None))[1] for name in ("one", "two"))

    def ask(method: str, path: str, key: str, body: Any = None) -> Any:
        headers = {"authorization": f"Bearer {key}"}
        return keyed.request(method, f"/v1/vector_stores{path}", body, headers, beta=False)

    store = ask("POST", "", key, {}).json["id"]
    for method, path, body in (
        ("GET", "", None),
        ("POST", "", {"name": "mine"}),
        ("DELETE", "", None),
        ("POST", "/search", {"query": "x"}),
        ("POST", "/files", {"file_id": "file-x"}),
        ("GET", "/files", None),
        ("POST", "/file_batches", {"file_ids": ["file-x"]}),
        ("GET", "/file_batches/vsfb_x", None),
    ):
        answer = ask(method, f"/{store}{path}", other, body)
        assert (answer.status, answer.error["message"]) == (404, f"No vector store found with id '{store}'.")
    assert ask("GET", "", other).json["data"] == []
    assert ask("GET", f"/{store}", key).json["name"] == ""


# ---- files of a store


def test_a_file_goes_from_in_progress_to_completed(here: Here) -> None:
    store, file = here.store(), here.file()
    before = here.server.wakes
    added = here.ask("POST", f"/{store}/files", {"file_id": file}).json
    assert added == {
        "id": file,
        "object": "vector_store.file",
        "usage_bytes": 0,
        "created_at": int(here.clock.now),
        "vector_store_id": store,
        "status": "in_progress",
        "last_error": None,
        "chunking_strategy": {
            "type": "static",
            "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
        },
        "attributes": {},
    }
    assert here.server.wakes > before
    assert here.sdk.vector_stores.retrieve(store).status == "in_progress"
    here.ingest()
    done = here.sdk.vector_stores.files.retrieve(file, vector_store_id=store)
    assert (done.status, done.usage_bytes, done.last_error) == ("completed", 100, None)
    assert here.sdk.vector_stores.retrieve(store).status == "completed"


def test_the_sdk_waits_for_a_file(here: Here) -> None:
    store, work = here.store(), here.ingesting()
    done = here.sdk.vector_stores.files.create_and_poll(
        here.file(),
        vector_store_id=store,
        attributes={"year": 2024, "draft": False, "by": "ann", "share": 0.5},
        chunking_strategy={"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}},
    )
    work.join()
    assert done.status == "completed"
    assert done.attributes == {"year": 2024, "draft": False, "by": "ann", "share": 0.5}
    assert done.chunking_strategy is not None
    assert done.chunking_strategy.to_dict()["static"] == {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}


def test_the_sdk_uploads_into_a_store(here: Here) -> None:
    store, work = here.store(), here.ingesting()
    done = here.sdk.vector_stores.files.upload_and_poll(vector_store_id=store, file=("a.md", b"# words"))
    work.join()
    assert done.status == "completed"
    (chunk,) = here.sdk.vector_stores.files.content(done.id, vector_store_id=store).data
    assert (chunk.type, chunk.text) == ("text", "# words")


def test_a_file_that_fails_leaves_the_store_usable(here: Here) -> None:
    good, bad = here.file(), here.file("empty.txt", b" ")
    store = here.store(good, bad)
    here.ingest(failing=(bad,))
    failed = here.sdk.vector_stores.files.retrieve(bad, vector_store_id=store)
    assert failed.last_error is not None
    assert (failed.status, failed.last_error.code) == ("failed", "invalid_file")
    state = here.sdk.vector_stores.retrieve(store)
    assert (state.status, state.file_counts.failed, state.file_counts.total) == ("completed", 1, 2)
    assert [each.file_id for each in here.sdk.vector_stores.search(store, query="sea").data] == [good]
    message = here.refused(lambda: here.sdk.vector_stores.files.content(bad, vector_store_id=store))
    assert message == f"The file '{bad}' has the status 'failed': only a file that is 'completed' has content."


def test_files_are_listed_by_their_state(here: Here) -> None:
    done, failed, waiting = (here.file(f"{n}.txt") for n in range(3))
    store = here.store(done, failed)
    here.ingest(failing=(failed,))
    here.sdk.vector_stores.files.create(store, file_id=waiting)

    def listed(**options: Any) -> list[str]:
        return [each.id for each in here.sdk.vector_stores.files.list(store, **options)]

    assert listed() == [waiting, failed, done]
    assert listed(order="asc", limit=1) == [done, failed, waiting]
    assert listed(filter="completed") == [done]
    assert listed(filter="failed") == [failed]
    assert listed(filter="in_progress") == [waiting]
    assert listed(filter="cancelled") == []
    message = here.refused(lambda: listed(filter="foo"), param="filter", code="invalid_value")
    assert "'in_progress', 'completed', 'failed', and 'cancelled'" in message


def test_a_file_leaves_a_store_and_stays(here: Here) -> None:
    file = here.file()
    store = here.store(file)
    here.ingest()
    assert here.sdk.vector_stores.files.delete(file, vector_store_id=store).deleted
    assert here.sdk.vector_stores.search(store, query="sea").data == []
    assert here.sdk.vector_stores.retrieve(store).file_counts.total == 0
    assert here.sdk.files.retrieve(file).id == file
    here.refused(lambda: here.sdk.vector_stores.files.retrieve(file, vector_store_id=store), status=404)
    here.refused(lambda: here.sdk.vector_stores.files.delete(file, vector_store_id=store), status=404)


def test_a_deleted_file_leaves_every_store(here: Here) -> None:
    file, other = here.file(), here.file("other.txt")
    stores = [here.store(file, other), here.store(file)]
    assistant = here.sdk.beta.assistants.create(
        model="m", tool_resources={"code_interpreter": {"file_ids": [file, other]}}
    ).id
    here.ingest()
    here.sdk.files.delete(file)
    assert [each.id for each in here.sdk.vector_stores.files.list(stores[0])] == [other]
    assert here.sdk.vector_stores.retrieve(stores[1]).file_counts.total == 0
    assert here.sdk.vector_stores.search(stores[1], query="sea").data == []
    resources: Any = here.sdk.beta.assistants.retrieve(assistant).tool_resources
    assert resources.code_interpreter.file_ids == [other]


def test_a_file_that_is_there_is_added_again_without_harm(here: Here) -> None:
    file = here.file()
    store = here.store(file)
    here.ingest()
    files = here.sdk.vector_stores.files
    again = files.create(store, file_id=file)
    assert (again.status, again.attributes) == ("completed", {})
    again = files.create(store, file_id=file, attributes={"year": 2024})
    assert (again.status, again.attributes) == ("completed", {"year": 2024})
    assert files.create(store, file_id=file).attributes == {"year": 2024}
    static: Any = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 0}}
    again = files.create(store, file_id=file, chunking_strategy=static)
    assert (again.status, again.attributes) == ("in_progress", {"year": 2024})
    assert here.ingest() == [file]
    assert files.create(store, file_id=file, chunking_strategy=static).status == "completed"


def test_a_failed_file_is_tried_again_in_its_batch(here: Here) -> None:
    file, store = here.file(), here.store()
    batch = here.sdk.vector_stores.file_batches.create(store, file_ids=[file]).id
    here.ingest(failing=(file,))
    assert here.sdk.vector_stores.files.create(store, file_id=file).status == "in_progress"
    here.ingest()
    counts = here.sdk.vector_stores.file_batches.retrieve(batch, vector_store_id=store).file_counts
    assert (counts.completed, counts.failed, counts.total) == (1, 0, 1)
    done = here.sdk.vector_stores.files.retrieve(file, vector_store_id=store)
    assert (done.status, done.last_error) == ("completed", None)


def test_a_worker_of_the_old_row_does_not_write_the_new_one(here: Here) -> None:
    file = here.file()
    store = here.store(file)
    here.server.write(lambda conn: rows.claim(conn, "slow", now=here.clock.now, until=here.clock.now + 60, limit=1))
    static: Any = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 0}}
    here.sdk.vector_stores.files.create(store, file_id=file, chunking_strategy=static)
    mine = here.server.write(lambda conn: rows.renew(conn, "slow", range(100), until=here.clock.now + 60))
    assert mine == set()
    assert here.ingest() == [file]


def test_attributes_are_replaced(here: Here) -> None:
    file = here.file()
    store = here.store(file)
    update = here.sdk.vector_stores.files.update
    assert update(file, vector_store_id=store, attributes={"a": "b"}).attributes == {"a": "b"}
    assert update(file, vector_store_id=store, attributes={"c": 1}).attributes == {"c": 1}
    assert update(file, vector_store_id=store, attributes=None).attributes == {}
    assert here.ask("POST", f"/{store}/files/{file}", {}).error["code"] == "missing_required_parameter"


@pytest.mark.parametrize(
    ("attributes", "param", "code"),
    [
        ({str(n): n for n in range(17)}, "attributes", "object_above_max_properties"),
        ({"k" * 65: 1}, "attributes", "property_name_above_max_length"),
        ({"k": "v" * 513}, "attributes.k", "string_above_max_length"),
        ({"k": None}, "attributes.k", "invalid_type"),
        ({"k": ["v"]}, "attributes.k", "invalid_type"),
        ({"k": {"v": 1}}, "attributes.k", "invalid_type"),
        ([], "attributes", "invalid_type"),
    ],
)
def test_attributes_have_limits(edge: EdgeServer, attributes: Any, param: str, code: str) -> None:
    body = {"file_id": "file-x", "attributes": attributes}
    error = edge.request("POST", "/v1/vector_stores/vs_x/files", body, beta=False).error
    assert (error["param"], error["code"]) == (param, code), error


def test_sixteen_attributes_of_full_length_are_kept(here: Here) -> None:
    attributes: dict[str, Any] = {f"{n:02}" + "k" * 62: "v" * 512 for n in range(16)}
    file, store = here.file(), here.store()
    made = here.sdk.vector_stores.files.create(store, file_id=file, attributes=attributes)
    assert made.attributes == attributes


def test_a_number_beyond_all_numbers_is_refused(edge: EdgeServer) -> None:
    body = b'{"file_id": "file-x", "attributes": {"k": 1e999}}'
    assert edge.request("POST", "/v1/vector_stores/vs_x/files", body, beta=False).status == 400


def test_a_kind_that_cannot_be_searched_is_refused_in_the_hosted_words(here: Here) -> None:
    table, picture, text = here.file("a.csv"), here.file("b.png"), here.file()
    store = here.store()
    create = here.sdk.vector_stores.files.create
    message = here.refused(lambda: create(store, file_id=table), param="file_id", code="unsupported_file")
    assert message == (
        "Files with extensions [.csv] are not supported for retrieval. "
        "See https://platform.openai.com/docs/assistants/tools/file-search/supported-files"
    )
    message = here.refused(lambda: here.store(text, picture, table), param="file_ids", code="unsupported_file")
    assert "[.png, .csv]" in message
    assert [each.id for each in here.sdk.vector_stores.list()] == [store]


def test_a_file_that_does_not_exist_is_not_added(here: Here) -> None:
    store = here.store()
    for call in (
        lambda: here.sdk.vector_stores.files.create(store, file_id="file-x"),
        lambda: here.store("file-x"),
        lambda: here.sdk.vector_stores.file_batches.create(store, file_ids=["file-x"]),
    ):
        assert here.refused(call, status=404) == "Files [file-x] were not found"


def test_a_store_is_full_at_ten_thousand_files(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locum.services.vector_store_files.MAX_FILES", 3)  # the rule is the same with fewer
    first, *more = (here.file(f"{n}.txt") for n in range(4))
    store = here.store(first)
    message = here.refused(lambda: here.sdk.vector_stores.file_batches.create(store, file_ids=more))
    assert message == f"A vector store may have 3 files at most: '{store}' has 1, and 3 more were to be added."
    here.sdk.vector_stores.file_batches.create(store, file_ids=[first, *more[:2]])
    assert here.sdk.vector_stores.retrieve(store).file_counts.total == 3


def test_one_file_added_from_many_sides_is_there_once(here: Here) -> None:
    file, store = here.file(), here.store()
    with ThreadPoolExecutor(8) as pool:
        adding = [
            pool.submit(here.sdk.vector_stores.files.create, store, file_id=file, attributes={"n": n})
            for n in range(16)
        ]
        assert {each.result().id for each in adding} == {file}
    assert here.sdk.vector_stores.retrieve(store).file_counts.total == 1


def test_files_come_and_go_while_others_are_ingested(here: Here) -> None:
    files, store = [here.file(f"{n}.txt") for n in range(8)], here.store()
    api = here.sdk.vector_stores.files
    rounds = 6
    is_over = threading.Event()

    def ingest() -> None:
        while not is_over.is_set():
            here.ingest(3)

    def come_and_go(file: str) -> None:
        for n in range(rounds):
            api.create(store, file_id=file, attributes={"n": n})
            api.update(file, vector_store_id=store, attributes={"n": n + 0.5})
            if n % 2 and n < rounds - 1:
                api.delete(file, vector_store_id=store)

    with ThreadPoolExecutor(9) as pool:
        ingesting = pool.submit(ingest)
        try:
            for each in [pool.submit(come_and_go, file) for file in files]:
                each.result()
        finally:
            is_over.set()
        ingesting.result()
    here.ingest()
    found = {each.id: (each.status, each.attributes) for each in api.list(store)}
    assert found == dict.fromkeys(files, ("completed", {"n": rounds - 0.5}))
    assert len(here.sdk.vector_stores.search(store, query="sea").data) == 8


def test_a_file_deleted_while_it_is_added_is_in_no_store(here: Here) -> None:
    for _ in range(10):
        file, store = here.file(), here.store()
        with ThreadPoolExecutor(2) as pool:
            adding = pool.submit(here.sdk.vector_stores.files.create, store, file_id=file)
            pool.submit(here.sdk.files.delete, file).result()
            adding.exception()
        assert here.sdk.vector_stores.retrieve(store).file_counts.total == 0


# ---- batches


def test_a_batch_counts_its_files(here: Here) -> None:
    good, bad, table = here.file(), here.file("bad.txt"), here.file("a.csv")
    store = here.store(here.file("earlier.txt"))
    here.ingest()
    batch = here.sdk.vector_stores.file_batches.create(
        store, file_ids=[good, bad, table, good], attributes={"year": 2024}
    )
    assert (batch.status, batch.vector_store_id) == ("in_progress", store)
    assert batch.to_dict()["object"] == "vector_store.file_batch"
    assert batch.file_counts.to_dict() == {
        "in_progress": 2,
        "completed": 0,
        "failed": 1,
        "cancelled": 0,
        "total": 3,
    }
    here.ingest(failing=(bad,))
    done = here.sdk.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store)
    assert (done.status, done.file_counts.completed, done.file_counts.failed) == ("completed", 1, 2)

    def listed(**options: Any) -> list[str]:
        files = here.sdk.vector_stores.file_batches.list_files(batch.id, vector_store_id=store, **options)
        return [each.id for each in files]

    assert listed(order="asc", limit=2) == [good, bad, table]
    assert listed() == [table, bad, good]
    assert listed(filter="failed") == [table, bad]
    unsupported = here.sdk.vector_stores.files.retrieve(table, vector_store_id=store)
    assert unsupported.last_error is not None
    assert (unsupported.last_error.code, unsupported.attributes) == ("unsupported_file", {"year": 2024})
    assert here.sdk.vector_stores.retrieve(store).file_counts.total == 4


def test_the_sdk_waits_for_a_batch(here: Here) -> None:
    store, files = here.store(), [here.file(f"{n}.txt") for n in range(3)]
    work = here.ingesting()
    done = here.sdk.vector_stores.file_batches.create_and_poll(store, file_ids=files)
    work.join()
    assert (done.status, done.file_counts.completed) == ("completed", 3)


def test_the_sdk_uploads_a_batch(here: Here) -> None:
    store, work = here.store(), here.ingesting()
    done = here.sdk.vector_stores.file_batches.upload_and_poll(
        store, files=[("a.txt", b"one"), ("b.md", b"two")], file_ids=[here.file()]
    )
    work.join()
    assert (done.status, done.file_counts.completed) == ("completed", 3)


def test_each_file_of_a_batch_says_its_own(here: Here) -> None:
    one, other, store = here.file("1.txt"), here.file("2.txt"), here.store()
    static: Any = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 100}}
    here.sdk.vector_stores.file_batches.create(
        store,
        files=[{"file_id": one, "attributes": {"n": 1}}, {"file_id": other, "chunking_strategy": static}],
        attributes={"ignored": True},
    )
    first, second = here.sdk.vector_stores.files.list(store, order="asc")
    assert (first.attributes, second.attributes) == ({"n": 1}, {})
    assert second.to_dict()["chunking_strategy"] == static


def test_a_batch_is_cancelled(here: Here) -> None:
    done, waiting, store = here.file("1.txt"), here.file("2.txt"), here.store()
    batch = here.sdk.vector_stores.file_batches.create(store, file_ids=[done, waiting]).id
    assert here.ingest(1) == [done]
    cancelled = here.sdk.vector_stores.file_batches.cancel(batch, vector_store_id=store)
    assert (cancelled.status, cancelled.file_counts.completed, cancelled.file_counts.cancelled) == ("cancelled", 1, 1)
    assert here.ingest() == []
    assert here.sdk.vector_stores.retrieve(store).status == "completed"
    listed = here.sdk.vector_stores.files.list(store, filter="cancelled")
    assert [each.id for each in listed] == [waiting]
    assert here.sdk.vector_stores.file_batches.cancel(batch, vector_store_id=store).status == "cancelled"
    assert here.sdk.vector_stores.files.create(store, file_id=waiting).status == "in_progress"


def test_a_batch_that_is_done_stays_so_when_it_is_cancelled(here: Here) -> None:
    store = here.store()
    batch = here.sdk.vector_stores.file_batches.create(store, file_ids=[here.file()]).id
    here.ingest()
    assert here.sdk.vector_stores.file_batches.cancel(batch, vector_store_id=store).status == "completed"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "file_ids", "missing_required_parameter"),
        ({"file_ids": []}, "file_ids", "empty_array"),
        ({"file_ids": ["file-x"] * 2001}, "file_ids", "array_above_max_length"),
        ({"files": [{"file_id": "file-x"}] * 2001}, "files", "array_above_max_length"),
        ({"files": [{}]}, "files[0].file_id", "missing_required_parameter"),
        ({"files": [{"file_id": "file-x", "attributes": {"a": []}}]}, "files[0].attributes.a", "invalid_type"),
        ({"file_ids": ["file-x"], "files": [{"file_id": "file-x"}]}, "files", "invalid_value"),
    ],
)
def test_a_batch_is_files_of_one_form_and_not_too_many(edge: EdgeServer, body: Any, param: str, code: str) -> None:
    error = edge.request("POST", "/v1/vector_stores/vs_x/file_batches", body, beta=False).error
    assert (error["param"], error["code"]) == (param, code), error


def test_two_thousand_files_come_in_one_batch(here: Here) -> None:
    file, store = here.file(), here.store()

    def copy(conn: sa.Connection) -> list[str]:
        first = file_rows.get(conn, here.resource, file, now=int(here.clock.now))
        names = [f"file-{n:024}" for n in range(2000)]
        notes = [{"key": blob_key(name), "staged_at": 0.0, "is_garbage": False} for name in names]
        conn.execute(sa.insert(tables.staged_blobs), notes)
        for name in names:
            file_rows.insert(conn, here.resource, replace(first, id=name))
        return names

    names = here.server.write(copy)
    batch = here.sdk.vector_stores.file_batches.create(store, file_ids=names)
    assert batch.file_counts.in_progress == 2000
    assert [each.id for each in here.sdk.vector_stores.files.list(store, order="asc", limit=3).data] == names[:3]
    here.sdk.vector_stores.delete(store)


def test_a_file_whose_time_has_come_is_not_shown_any_more(here: Here) -> None:
    brief = here.sdk.files.create(
        file=("brief.txt", b"the sea is red"),
        purpose="assistants",
        expires_after={"anchor": "created_at", "seconds": 3600},
    ).id
    store, kept = here.store(brief), here.file()
    batch = here.sdk.vector_stores.file_batches.create(store, file_ids=[brief, kept]).id
    here.ingest()
    assert here.sdk.vector_stores.retrieve(store).file_counts.completed == 2
    here.clock.now += 3600
    files = here.sdk.vector_stores.files
    assert [each.id for each in files.list(store)] == [kept]
    assert [each.id for each in here.sdk.vector_stores.file_batches.list_files(batch, vector_store_id=store)] == [kept]
    shown = here.sdk.vector_stores.retrieve(store)
    assert (shown.file_counts.total, shown.usage_bytes) == (1, 100)
    assert here.sdk.vector_stores.file_batches.retrieve(batch, vector_store_id=store).file_counts.total == 1
    for ask in (files.retrieve, files.content, files.delete, partial(files.update, attributes={"a": 1})):
        here.refused(lambda ask=ask: ask(brief, vector_store_id=store), status=404)  # type: ignore[misc]
    assert brief in here.refused(lambda: files.create(store, file_id=brief), status=404)


# ---- requests that are made again


def test_what_is_made_with_a_key_is_made_once(here: Here) -> None:
    file = here.file()

    def twice(call: Callable[..., Any], key: str, **body: Any) -> Any:
        first, second = (call(**body, extra_headers={"Idempotency-Key": key}) for _ in range(2))
        assert first.id == second.id
        return first

    store = twice(here.sdk.vector_stores.create, "a", file_ids=[file]).id
    assert [each.id for each in here.sdk.vector_stores.list()] == [store]
    twice(lambda **more: here.sdk.vector_stores.files.create(store, **more), "b", file_id=file)
    batch = twice(lambda **more: here.sdk.vector_stores.file_batches.create(store, **more), "c", file_ids=[file])
    assert batch.file_counts.total == 1


@pytest.mark.parametrize("noun", ["files", "file_batches"])
def test_a_question_of_a_poll_helper_is_held_until_the_files_are_done(here: Here, noun: str) -> None:
    file, store = here.file(), here.store()
    batch = here.sdk.vector_stores.file_batches.create(store, file_ids=[file]).id
    path = f"/{store}/{noun}/{file if noun == 'files' else batch}"
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(here.ask, "GET", path, x_stainless_poll_helper="true")
        wait_until(lambda: here.server.is_watched(store))
        assert not asking.done()
        here.ingest()
        answer = asking.result()
    assert (answer.json["status"], answer.headers["openai-poll-after-ms"]) == ("completed", "10")
    patient = here.ask("GET", path, x_stainless_poll_helper="true", x_stainless_custom_poll_interval="1000")
    assert patient.headers["openai-poll-after-ms"] == "100"


def test_what_does_not_poll_is_told_when_to_ask_again(here: Here) -> None:
    file, store = here.file(), here.store()
    batch = here.sdk.vector_stores.file_batches.create(store, file_ids=[file]).id
    for path in (f"files/{file}", f"file_batches/{batch}"):
        answer = here.ask("GET", f"/{store}/{path}")
        assert answer.headers["openai-poll-after-ms"] == "100"


# ---- search


def test_a_search_answers_a_page_of_results(here: Here) -> None:
    blue, red = here.file("blue.txt"), here.file("red.txt", b"the sea was red")
    store = here.store(blue, red)
    here.ingest()
    page = here.ask("POST", f"/{store}/search", {"query": "red sea"}).json
    assert page == {
        "object": "vector_store.search_results.page",
        "search_query": ["red sea"],
        "data": [
            {
                "file_id": red,
                "filename": "red.txt",
                "score": 1.0,
                "attributes": {},
                "content": [{"type": "text", "text": "the sea was red"}],
            },
            {
                "file_id": blue,
                "filename": "blue.txt",
                "score": 0.5,
                "attributes": {},
                "content": [{"type": "text", "text": "the sea is blue"}],
            },
        ],
        "has_more": False,
        "next_page": None,
    }
    found = here.sdk.vector_stores.search(store, query=["red", "blue"], max_num_results=1)
    assert len(found.data) == 1
    found = here.sdk.vector_stores.search(store, query="red sea", ranking_options={"score_threshold": 0.6})
    assert [each.file_id for each in found] == [red]


def test_a_search_is_filtered_by_attributes(here: Here) -> None:
    store, files = here.store(), [here.file(f"{n}.txt") for n in range(4)]
    for n, file in enumerate(files):
        here.sdk.vector_stores.files.create(store, file_id=file, attributes={"n": n, "even": n % 2 == 0})
    here.ingest()

    def found(**filters: Any) -> list[int]:
        page = here.sdk.vector_stores.search(store, query="sea", filters=filters)  # type: ignore[arg-type]
        return sorted(files.index(each.file_id) for each in page)

    assert found(type="eq", key="n", value=1) == [1]
    assert found(type="ne", key="n", value=1) == [0, 2, 3]
    assert found(type="gte", key="n", value=2) == [2, 3]
    assert found(type="lt", key="n", value=2.5) == [0, 1, 2]
    assert found(type="in", key="n", value=[0, 3]) == [0, 3]
    assert found(type="nin", key="n", value=[0, 3]) == [1, 2]
    even = {"type": "eq", "key": "even", "value": True}
    assert found(type="and", filters=[even, {"type": "gt", "key": "n", "value": 0}]) == [2]
    odd = {"type": "or", "filters": [{"type": "eq", "key": "n", "value": 1}, {"type": "eq", "key": "n", "value": 3}]}
    assert found(type="or", filters=[even, odd]) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "query", "missing_required_parameter"),
        ({"query": ""}, "query", "string_below_min_length"),
        ({"query": []}, "query", "empty_array"),
        ({"query": 1}, "query", "invalid_type"),
        ({"query": ["a", 1]}, "query[1]", "invalid_type"),
        ({"query": ["a"] * 33}, "query", "array_above_max_length"),
        ({"query": "a", "max_num_results": 0}, "max_num_results", "integer_below_min_value"),
        ({"query": "a", "max_num_results": 51}, "max_num_results", "integer_above_max_value"),
        ({"query": "a", "rewrite_query": "yes"}, "rewrite_query", "invalid_type"),
        (
            {"query": "a", "ranking_options": {"score_threshold": 1.1}},
            "ranking_options.score_threshold",
            "decimal_above_max_value",
        ),
        ({"query": "a", "ranking_options": {"ranker": "best"}}, "ranking_options.ranker", "invalid_value"),
        ({"query": "a", "filters": {"type": "like"}}, "filters.type", "invalid_value"),
        ({"query": "a", "filters": {"key": "k", "value": 1}}, "filters.type", "missing_required_parameter"),
        ({"query": "a", "filters": {"type": "eq", "key": "k"}}, "filters.value", "missing_required_parameter"),
        ({"query": "a", "filters": {"type": "eq", "key": "k", "value": None}}, "filters.value", "invalid_type"),
        ({"query": "a", "filters": {"type": "in", "key": "k", "value": 1}}, "filters.value", "invalid_type"),
        ({"query": "a", "filters": {"type": "gt", "key": "k", "value": [1]}}, "filters.value", "invalid_type"),
        (
            {"query": "a", "filters": {"type": "and", "filters": [{"type": "eq", "key": "k", "value": {}}]}},
            "filters.filters[0].value",
            "invalid_type",
        ),
        ({"query": "a", "filters": {"type": "and"}}, "filters.filters", "missing_required_parameter"),
        (
            {"query": "a", "filters": {"type": "or", "filters": [{"type": "and", "filters": []}] * 100}},
            "filters",
            "invalid_value",
        ),
        ({"query": "a", "limit": 1}, "limit", "unknown_parameter"),
    ],
)
def test_what_is_no_search_is_refused(edge: EdgeServer, body: Any, param: str, code: str) -> None:
    error = edge.request("POST", "/v1/vector_stores/vs_x/search", body, beta=False).error
    assert (error["param"], error["code"]) == (param, code), error


# ---- the other surfaces


def test_vector_stores_are_there_on_every_surface(edge: EdgeServer) -> None:
    for mount, query in (
        ("/openai", "api-version=2024-05-01-preview"),
        ("/openai/deployments/any", "api-version=2024-05-01-preview"),
        ("/openai/v1", ""),
    ):
        made = edge.request("POST", f"{mount}/vector_stores?{query}", {"name": "n"}, beta=False)
        assert made.status == 200
        assert edge.request(
            "GET", f"/v1/vector_stores/{made.json['id']}", headers={"openai-beta": "assistants=v1"}
        ).json
    v1 = edge.request("GET", "/openai/vector_stores?api-version=2024-02-15-preview", beta=False)
    assert (v1.status, v1.error["code"]) == (404, "404")
