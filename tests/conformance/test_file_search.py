"""Behaviours 146-156: file search and vector stores. More of it is in `tests/engine/test_file_search.py`."""

from __future__ import annotations

from typing import Any

import pytest

from locum.domain.vector_stores import SECONDS_PER_DAY
from tests.conformance.api import Api
from tests.conformance.behaviours import behaviour
from tests.conformance.conftest import Clocked
from tests.conformance.searching import (
    ASKED,
    HANDBOOK,
    SEARCH,
    results,
    searching,
    store_of,
    stores,
    upload,
)
from tests.models.upstream import Text


@behaviour(151, "A run cites: the marker is in the text and the annotation cuts it out")
def test_a_run_cites(api: Api) -> None:
    assistant, files = searching(api, {"handbook.txt": HANDBOOK})
    thread = api.thread("How much leave?")
    run = api.run(ASKED, Text("😀 25 days 【0:0†source】."), thread=thread, assistant=assistant)
    assert run.status == "completed"
    (part,) = api.messages(thread)[-1].content
    assert part.type == "text"
    (annotation,) = part.text.annotations
    assert annotation.type == "file_citation"
    assert part.text.value[annotation.start_index : annotation.end_index] == annotation.text == "【0:0†source】"
    assert annotation.file_citation.file_id == files["handbook.txt"]
    quote = annotation.file_citation.quote  # type: ignore[attr-defined]
    assert quote
    assert quote in HANDBOOK.decode()


@behaviour(152, "The assistant's and the thread's store are searched together; an expired one fails")
def test_both_stores_are_searched_until_one_expires(clocked: Clocked, on_openai: Api) -> None:
    api = Api(clocked.endpoint, on_openai.wire, on_openai.upstream)
    assistant, _ = searching(api, {"handbook.txt": HANDBOOK})
    store, _ = store_of(
        api,
        {"rules.txt": b"Days of paid leave can not be sold."},
        expires_after={"anchor": "last_active_at", "days": 1},
    )
    before = api.sdk.vector_stores.retrieve(store)
    thread = api.thread("How much leave?")
    api.sdk.beta.threads.update(thread, tool_resources=stores(store))  # type: ignore[arg-type]
    run = api.run(ASKED, Text("Both."), thread=thread, assistant=assistant)
    assert {each.file_name for each in results(api, run)} == {"handbook.txt", "rules.txt"}
    after = api.sdk.vector_stores.retrieve(store)
    assert (before.expires_at or 0) <= (after.expires_at or 0) == (after.last_active_at or 0) + SECONDS_PER_DAY
    with clocked.later(SECONDS_PER_DAY + 60):
        assert api.sdk.vector_stores.retrieve(store).status == "expired"
        run = api.run(ASKED, Text("Never."), thread=thread, assistant=assistant)
    assert (run.status, run.last_error and run.last_error.code) == ("failed", "server_error")
    assert run.last_error is not None
    assert f"The vector store {store} expired on " in run.last_error.message


@behaviour(156, "A run waits for the files of its thread's store before it searches")
@pytest.mark.parametrize("paragraphs", [1, 2000])
def test_a_run_waits_until_its_threads_files_are_read(api: Api, paragraphs: int) -> None:
    text = "\n\n".join(f"Chapter {n} is about the number {n}." for n in range(paragraphs)).encode()
    file = upload(api, "book.txt", HANDBOOK + b"\n" + text)
    attached: Any = {"file_id": file, "tools": [SEARCH]}
    thread = api.sdk.beta.threads.create(
        messages=[{"role": "user", "content": "How much leave?", "attachments": [attached]}]
    ).id
    run = api.run(ASKED, Text("25 【0:0†source】."), thread=thread, assistant=api.assistant(tools=[SEARCH]))
    assert run.status == "completed"
    assert file in [each.file_id for each in results(api, run)]
