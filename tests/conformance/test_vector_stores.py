"""Behaviours 146-155: vector stores, their files, batches and searches."""

from __future__ import annotations

from typing import Any

from tests.conformance.api import Api
from tests.conformance.behaviours import behaviour

STATIC = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}
SEA = b"The sea is blue because water absorbs red light."
BREAD = b"Bread is made of flour, water, salt and yeast."


def file(api: Api, name: str = "sea.txt", content: bytes = SEA) -> str:
    return api.sdk.files.create(file=(name, content), purpose="assistants").id


def searchable(api: Api, **attributes_of: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """A store with a file of each name, all ingested; the files' ids by name."""
    texts = {"sea": SEA, "bread": BREAD}
    files = {name: file(api, f"{name}.txt", texts[name]) for name in attributes_of}
    store = api.sdk.vector_stores.create().id
    members: Any = [{"file_id": files[name], "attributes": said} for name, said in attributes_of.items()]
    batch = api.sdk.vector_stores.file_batches.create_and_poll(store, files=members)
    assert (batch.status, batch.file_counts.completed) == ("completed", len(files))
    return store, files


@behaviour(146, "A vector store is made; files added to it are ingested in chunks of 800/400")
def test_a_store_ingests_its_files(api: Api) -> None:
    store = api.post("/vector_stores", {"name": "Documents"})
    assert (store["name"], store["status"], store["usage_bytes"]) == ("Documents", "completed", 0)
    assert set(store["file_counts"].values()) == {0}
    made = api.post(f"/vector_stores/{store['id']}/files", {"file_id": file(api)})
    assert (made["status"] in ("in_progress", "completed"), made["chunking_strategy"]) == (True, STATIC)
    done = api.sdk.vector_stores.files.poll(made["id"], vector_store_id=store["id"])
    assert (done.status, done.last_error) == ("completed", None)
    state = api.get(f"/vector_stores/{store['id']}")
    assert (state["status"], state["file_counts"]["completed"], state["usage_bytes"]) == (
        "completed",
        1,
        done.usage_bytes,
    )
    assert done.usage_bytes > 0
    content = api.get(f"/vector_stores/{store['id']}/files/{made['id']}/content")
    assert "".join(each["text"] for each in content["data"]).strip() == SEA.decode()
    for word in ("file_ids", "name", "files"):
        api.refused("POST", f"/vector_stores/{store['id']}", {word: 1})


@behaviour(147, "Chunk sizes outside of the limits are refused")
def test_chunks_have_limits(api: Api) -> None:
    store, text = api.sdk.vector_stores.create().id, file(api)
    for sizes, wrong in (
        ((99, 0), "max_chunk_size_tokens"),
        ((4097, 0), "max_chunk_size_tokens"),
        ((800, 401), "chunk_overlap_tokens"),
        ((800, -1), "chunk_overlap_tokens"),
    ):
        static = {"max_chunk_size_tokens": sizes[0], "chunk_overlap_tokens": sizes[1]}
        chunking = {"chunking_strategy": {"type": "static", "static": static}}
        for path, body in (
            ("/vector_stores", {"file_ids": [text]}),
            (f"/vector_stores/{store}/files", {"file_id": text}),
            (f"/vector_stores/{store}/file_batches", {"file_ids": [text]}),
        ):
            api.refused("POST", path, {**body, **chunking}, param=f"chunking_strategy.static.{wrong}")
    for most in ((100, 50), (4096, 2048), (100, 0)):
        static = {"max_chunk_size_tokens": most[0], "chunk_overlap_tokens": most[1]}
        body = {"file_id": file(api), "chunking_strategy": {"type": "static", "static": static}}
        made = api.post(f"/vector_stores/{store}/files", body)
        assert made["chunking_strategy"] == body["chunking_strategy"]


@behaviour(148, "A file that cannot be read fails alone; the store stays usable")
def test_a_bad_file_fails_alone(api: Api) -> None:
    store, good = api.sdk.vector_stores.create().id, file(api)
    for name in ("a.csv", "b.png"):
        error = api.refused(
            "POST", f"/vector_stores/{store}/files", {"file_id": file(api, name)}, code="unsupported_file"
        )
        assert error["message"].startswith(f"Files with extensions [{name[1:]}] are not supported for retrieval.")
    blank, broken = file(api, "blank.txt", b" \n"), file(api, "broken.pdf", b"%PDF-1.7 and then nothing")
    table = file(api, "c.csv", b"a,b")
    batch = api.sdk.vector_stores.file_batches.create_and_poll(store, file_ids=[blank, broken, table, good])
    assert (batch.status, batch.file_counts.completed, batch.file_counts.failed) == ("completed", 1, 3)
    errors = {each.id: each.last_error for each in api.sdk.vector_stores.files.list(store, filter="failed")}
    codes = {id_: error.code for id_, error in errors.items() if error is not None}
    assert codes == {blank: "invalid_file", broken: "invalid_file", table: "unsupported_file"}
    assert api.sdk.vector_stores.retrieve(store).status == "completed"
    assert [each.file_id for each in api.sdk.vector_stores.search(store, query="sea")] == [good]


@behaviour(149, "File batches count, are cancelled, and are filtered by status")
def test_batches_count(api: Api) -> None:
    store = api.sdk.vector_stores.create().id
    uploaded: Any = [("a.txt", SEA), ("b.md", BREAD)]
    done = api.sdk.vector_stores.file_batches.upload_and_poll(store, files=uploaded, file_ids=[file(api, "c.csv")])
    assert (done.status, done.file_counts.completed, done.file_counts.failed, done.file_counts.total) == (
        "completed",
        2,
        1,
        3,
    )
    path = f"/vector_stores/{store}/file_batches/{done.id}"
    assert len(api.get(f"{path}/files")["data"]) == 3
    (failed,) = api.get(f"{path}/files", filter="failed")["data"]
    assert failed["last_error"]["code"] == "unsupported_file"
    api.refused("GET", f"{path}/files", params={"filter": "foo"}, param="filter", code="invalid_value")
    assert api.post(f"{path}/cancel")["status"] == "completed"
    many = [file(api, f"{n}.txt", SEA * 200) for n in range(20)]
    batch = api.post(f"/vector_stores/{store}/file_batches", {"file_ids": many})
    cancelled = api.post(f"/vector_stores/{store}/file_batches/{batch['id']}/cancel")
    counts = cancelled["file_counts"]
    assert (counts["completed"] + counts["cancelled"], counts["total"]) == (20, 20)
    assert cancelled["status"] == ("cancelled" if counts["cancelled"] else "completed")
    listed = api.get(f"/vector_stores/{store}/files", filter="cancelled", limit=100)["data"]
    assert len(listed) == counts["cancelled"]
    assert api.sdk.vector_stores.retrieve(store).status == "completed"


@behaviour(150, "More than 500 files with a new store, or 2000 in a batch, are refused; so are file_ids beside files")
def test_files_come_in_measured_numbers(api: Api) -> None:
    store, text = api.sdk.vector_stores.create().id, file(api)
    batches = f"/vector_stores/{store}/file_batches"
    for path, key, most in (("/vector_stores", "file_ids", 500), (batches, "file_ids", 2000)):
        error = api.refused("POST", path, {key: [text] * (most + 1)}, code="array_above_max_length", param=key)
        assert f"maximum length {most}, but got an array with length {most + 1}" in error["message"]
    api.refused("POST", batches, {"files": [{"file_id": text}] * 2001}, code="array_above_max_length", param="files")
    api.refused("POST", batches, {"file_ids": [text], "files": [{"file_id": text}]})
    api.refused("POST", batches, {"file_ids": []}, param="file_ids")
    api.refused("POST", batches, {}, code="missing_required_parameter")
    assert api.post(batches, {"file_ids": [text] * 2000})["file_counts"]["total"] == 1


@behaviour(153, "max_num_results, score_threshold and filters are honoured")
def test_a_search_keeps_to_what_it_is_told(api: Api) -> None:
    store, files = searchable(api, sea={"n": 1, "wet": True, "by": "ann"}, bread={"n": 2, "wet": False})
    path = f"/vector_stores/{store}/search"
    for number in (0, 51):
        api.refused("POST", path, {"query": "water", "max_num_results": number}, param="max_num_results")
    for score in (-0.1, 1.1):
        body = {"query": "water", "ranking_options": {"score_threshold": score}}
        api.refused("POST", path, body, param="ranking_options.score_threshold")

    def found(**body: Any) -> list[str]:
        names = {id_: name for name, id_ in files.items()}
        return sorted(names[each["file_id"]] for each in api.post(path, {"query": "water", **body})["data"])

    assert found() == ["bread", "sea"]
    assert len(found(max_num_results=1)) == 1
    scores = [each["score"] for each in api.post(path, {"query": "water"})["data"]]
    above = found(ranking_options={"score_threshold": scores[0], "ranker": "none"})
    assert len(above) == sum(score >= scores[0] for score in scores)
    for kind, value, names in (
        ("eq", 1, ["sea"]),
        ("ne", 1, ["bread"]),
        ("gt", 1, ["bread"]),
        ("gte", 1, ["bread", "sea"]),
        ("lt", 2, ["sea"]),
        ("lte", 1.5, ["sea"]),
        ("in", [2, 3], ["bread"]),
        ("nin", [2, 3], ["sea"]),
    ):
        assert found(filters={"type": kind, "key": "n", "value": value}) == names, kind
    wet, two = {"type": "eq", "key": "wet", "value": True}, {"type": "eq", "key": "n", "value": 2}
    assert found(filters={"type": "and", "filters": [wet, two]}) == []
    assert found(filters={"type": "or", "filters": [wet, two]}) == ["bread", "sea"]
    assert found(filters={"type": "eq", "key": "by", "value": "ann"}) == ["sea"]
    api.refused("POST", path, {"query": "x", "filters": {"type": "like", "key": "n", "value": 1}}, param="filters.type")
    api.sdk.vector_stores.files.update(files["bread"], vector_store_id=store, attributes={"n": 1})
    assert found(filters={"type": "eq", "key": "n", "value": 1}) == ["bread", "sea"]


@behaviour(154, "/search answers a page of results in descending order")
def test_a_search_answers_a_page(api: Api) -> None:
    store, files = searchable(api, sea={}, bread={"kind": "food"})
    page = api.post(f"/vector_stores/{store}/search", {"query": "flour and yeast"})
    assert (page["search_query"], page["has_more"], page["next_page"]) == (["flour and yeast"], False, None)
    best = page["data"][0]
    assert (best["file_id"], best["filename"], best["attributes"]) == (files["bread"], "bread.txt", {"kind": "food"})
    assert best["content"] == [{"type": "text", "text": BREAD.decode()}]
    both = api.post(f"/vector_stores/{store}/search", {"query": ["blue sea", "flour"], "rewrite_query": True})
    assert {each["file_id"] for each in both["data"]} == set(files.values())
    assert both["search_query"] == ["blue sea", "flour"]
    for query in ("", [], 1, [1]):
        api.refused("POST", f"/vector_stores/{store}/search", {"query": query})
    api.refused("POST", f"/vector_stores/{store}/search", {}, code="missing_required_parameter", param="query")
    api.refused("POST", "/vector_stores/vs_x/search", {"query": "x"}, status=404)


@behaviour(155, "Deleting a store, or a file of it, keeps the file; an update names, and null ends expires_after")
def test_files_outlive_their_stores(api: Api) -> None:
    one, two = file(api), file(api, "b.txt")
    terms = {"anchor": "last_active_at", "days": 2}
    store = api.post("/vector_stores", {"file_ids": [one, two], "expires_after": terms})["id"]
    api.sdk.vector_stores.files.delete(one, vector_store_id=store)
    api.refused("GET", f"/vector_stores/{store}/files/{one}", status=404)
    assert api.sdk.files.retrieve(one).id == one
    changed = api.post(f"/vector_stores/{store}", {"name": "n", "metadata": {"a": "b"}})
    assert (changed["name"], changed["expires_after"], changed["metadata"]) == ("n", terms, {"a": "b"})
    changed = api.post(f"/vector_stores/{store}", {"expires_after": None})
    assert (changed["name"], changed["expires_after"], changed["expires_at"]) == ("n", None, None)
    assert api.sdk.vector_stores.delete(store).deleted
    for path in (f"/vector_stores/{store}", f"/vector_stores/{store}/files"):
        api.refused("GET", path, status=404)
    assert [api.sdk.files.retrieve(each).id for each in (one, two)] == [one, two]
