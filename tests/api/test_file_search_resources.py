"""Vector stores of assistants, threads and runs, and files that come with messages, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import openai
import pytest

from locum.domain.tools import FileSearchTool, Tool
from tests.api.edge import EdgeServer
from tests.api.here import Here

DAY = 24 * 3600
STATIC: Any = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 100}}
needs_the_tool = pytest.mark.skipif(
    FileSearchTool not in get_args(Tool), reason="file_search is no tool of assistants yet"
)


def stores_of(thing: Any) -> list[str]:
    """Ids of the vector stores that an assistant or a thread shows."""
    resources = thing.tool_resources
    return list(resources.file_search.vector_store_ids) if resources and resources.file_search else []


def files_of(here: Here, store: str) -> list[str]:
    return [each.id for each in here.sdk.vector_stores.files.list(store, order="asc", limit=100)]


def by_id(*stores: str) -> Any:
    return {"file_search": {"vector_store_ids": list(stores)}}


def described(*files: str, **more: Any) -> Any:
    return {"file_search": {"vector_stores": [{"file_ids": list(files), **more}]}}


def attached(file: str, *tools: str) -> Any:
    return {"file_id": file, "tools": [{"type": each} for each in tools]}


# ---- assistants


def test_an_assistant_has_a_store_and_an_update_replaces_it(here: Here) -> None:
    first, second = here.store(), here.store()
    assistants = here.sdk.beta.assistants
    made = assistants.create(model="m", tool_resources=by_id(first))
    assert stores_of(made) == [first]
    assert stores_of(assistants.update(made.id, name="n")) == [first]
    assert stores_of(assistants.update(made.id, tool_resources=by_id(second))) == [second]
    assert stores_of(assistants.update(made.id, tool_resources=by_id())) == []
    assert assistants.retrieve(made.id).to_dict()["tool_resources"] == {}


def test_a_store_that_is_described_is_made_and_does_not_end(here: Here) -> None:
    file, wakes = here.file(), here.server.wakes
    made = here.sdk.beta.assistants.create(
        model="m", tool_resources=described(file, chunking_strategy=STATIC, metadata={"a": "b"})
    )
    assert here.server.wakes > wakes
    (store,) = stores_of(made)
    assert made.to_dict()["tool_resources"] == by_id(store)
    state = here.sdk.vector_stores.retrieve(store)
    assert (state.expires_after, state.metadata, state.file_counts.in_progress) == (None, {"a": "b"}, 1)
    assert here.sdk.vector_stores.files.retrieve(file, vector_store_id=store).to_dict()["chunking_strategy"] == STATIC
    assert stores_of(here.sdk.beta.assistants.update(made.id, tool_resources=described())) != [store]


def test_both_tools_have_their_resources_side_by_side(here: Here) -> None:
    table, text = here.file("a.csv"), here.file()
    resources = {"code_interpreter": {"file_ids": [table]}, **described(text)}
    made = here.sdk.beta.assistants.create(model="m", tool_resources=resources).to_dict()["tool_resources"]
    (store,) = made["file_search"]["vector_store_ids"]  # type: ignore[index, call-overload]
    assert made == {"code_interpreter": {"file_ids": [table]}, **by_id(store)}


def test_a_store_that_does_not_exist_is_refused(here: Here) -> None:
    assistant, thread = here.sdk.beta.assistants.create(model="m").id, here.sdk.beta.threads.create().id
    calls: tuple[Callable[[], Any], ...] = (
        lambda: here.sdk.beta.assistants.create(model="m", tool_resources=by_id("vs_x")),
        lambda: here.sdk.beta.assistants.update(assistant, tool_resources=by_id("vs_x")),
        lambda: here.sdk.beta.threads.create(tool_resources=by_id("vs_x")),
        lambda: here.sdk.beta.threads.update(thread, tool_resources=by_id("vs_x")),
        lambda: here.sdk.beta.threads.create_and_run(assistant_id=assistant, tool_resources=by_id("vs_x")),
    )
    for call in calls:
        assert here.refused(call, status=404) == "No vector store found with id 'vs_x'."


def test_a_store_with_a_file_that_cannot_be_searched_is_not_made_and_nothing_else(here: Here) -> None:
    table = here.file("a.csv")
    for create in (
        lambda: here.sdk.beta.assistants.create(model="m", tool_resources=described(table)),
        lambda: here.sdk.beta.threads.create(tool_resources=described(table)),
    ):
        at = "tool_resources.file_search.vector_stores[0].file_ids"
        message = here.refused(create, param=at, code="unsupported_file")
        assert message.startswith("Files with extensions [.csv] are not supported for retrieval.")
    assert here.sdk.vector_stores.list().data == []
    assert here.sdk.beta.assistants.list().data == []


def test_an_assistant_takes_one_store_by_id_or_by_description(here: Here) -> None:
    one, two = here.store(), here.store()
    create = here.sdk.beta.assistants.create
    here.refused(
        lambda: create(model="m", tool_resources=by_id(one, two)),
        param="tool_resources.file_search.vector_store_ids",
        code="array_above_max_length",
    )
    both = {"file_search": {"vector_store_ids": [one], "vector_stores": [{}]}}
    message = here.refused(
        lambda: create(model="m", tool_resources=both),
        param="tool_resources.file_search",
        code="invalid_value",
    )
    assert "'vector_store_ids' and 'vector_stores' cannot be given together" in message


def test_a_deleted_store_is_named_on_and_harms_nothing(here: Here) -> None:
    store = here.store()
    assistant = here.sdk.beta.assistants.create(model="m", tool_resources=by_id(store)).id
    thread = here.sdk.beta.threads.create(tool_resources=by_id(store)).id
    here.sdk.vector_stores.delete(store)
    assert stores_of(here.sdk.beta.assistants.retrieve(assistant)) == [store]
    assert stores_of(here.sdk.beta.assistants.update(assistant, tool_resources=by_id(store))) == [store]
    assert here.sdk.beta.threads.runs.create(thread, assistant_id=assistant).status == "queued"
    other = here.sdk.beta.threads.create(tool_resources=by_id(here.store())).id
    here.sdk.vector_stores.delete(stores_of(here.sdk.beta.threads.retrieve(other))[0])
    here.sdk.beta.threads.messages.create(
        other, role="user", content="x", attachments=[attached(here.file(), "file_search")]
    )
    (made,) = stores_of(here.sdk.beta.threads.retrieve(other))
    assert here.sdk.vector_stores.retrieve(made).file_counts.total == 1


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[openai.OpenAI]:
    """The SDK of a server whose owner allows two stores."""
    with (
        EdgeServer(tmp_path, stores_per_object=2) as server,
        openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0) as sdk,
    ):
        yield sdk


def test_an_owner_may_allow_more_stores(roomy: openai.OpenAI) -> None:
    one, two, three = (roomy.vector_stores.create().id for _ in range(3))
    made = roomy.beta.assistants.create(model="m", tool_resources=by_id(one, two))
    assert stores_of(made) == [one, two]
    with pytest.raises(openai.BadRequestError, match="maximum length 2"):
        roomy.beta.assistants.create(model="m", tool_resources=by_id(one, two, three))


# ---- threads, messages, runs


def test_a_store_that_is_described_with_a_thread_ends_after_a_week(here: Here) -> None:
    file = here.file()
    made = here.sdk.beta.threads.create(tool_resources=described(file))
    (store,) = stores_of(made)
    state = here.sdk.vector_stores.retrieve(store)
    assert state.expires_after is not None
    assert (state.expires_after.anchor, state.expires_after.days) == ("last_active_at", 7)
    assert state.expires_at == state.created_at + 7 * DAY
    (other,) = stores_of(here.sdk.beta.threads.update(made.id, tool_resources=described()))
    assert other != store
    assert here.sdk.vector_stores.retrieve(other).expires_at is not None
    assert stores_of(here.sdk.beta.threads.update(made.id, metadata={"a": "b"})) == [other]


def test_an_attachment_makes_a_store_and_the_next_one_joins_it(here: Here) -> None:
    first, second, third = here.file("1.txt"), here.file("2.txt"), here.file("3.txt")
    thread, wakes = here.sdk.beta.threads.create().id, here.server.wakes
    message = here.sdk.beta.threads.messages.create(
        thread, role="user", content="x", attachments=[attached(first, "file_search")]
    )
    assert [each.to_dict() for each in message.attachments or []] == [attached(first, "file_search")]
    assert here.server.wakes > wakes
    now_has = here.sdk.beta.threads.retrieve(thread)
    (store,) = stores_of(now_has)
    assert now_has.to_dict()["tool_resources"] == by_id(store)
    state = here.sdk.vector_stores.retrieve(store)
    assert (state.expires_after and state.expires_after.days, state.name) == (7, "")
    here.sdk.beta.threads.messages.create(
        thread,
        role="user",
        content="x",
        attachments=[attached(second, "file_search", "code_interpreter"), attached(third, "code_interpreter")],
    )
    resources = here.sdk.beta.threads.retrieve(thread).to_dict()["tool_resources"]
    assert resources == {"code_interpreter": {"file_ids": [second, third]}, **by_id(store)}
    assert files_of(here, store) == [first, second]


def test_attachments_join_the_store_that_a_thread_was_given(here: Here) -> None:
    given = here.store()
    file = here.file()
    messages: Any = [{"role": "user", "content": "x", "attachments": [attached(file, "file_search")]}]
    thread = here.sdk.beta.threads.create(messages=messages, tool_resources=by_id(given))
    assert stores_of(thread) == [given]
    assert files_of(here, given) == [file]
    described_too = here.sdk.beta.threads.create(messages=messages, tool_resources=described(here.file("b.txt")))
    (store,) = stores_of(described_too)
    assert len(files_of(here, store)) == 2


def test_messages_of_a_run_bring_files_too(here: Here) -> None:
    assistant = here.sdk.beta.assistants.create(model="m").id
    messages: Any = [{"role": "user", "content": "x", "attachments": [attached(here.file(), "file_search")]}]
    thread = here.sdk.beta.threads.create().id
    wakes = here.server.wakes
    here.sdk.beta.threads.runs.create(thread, assistant_id=assistant, additional_messages=messages)
    assert here.server.wakes > wakes
    (store,) = stores_of(here.sdk.beta.threads.retrieve(thread))
    assert len(files_of(here, store)) == 1
    wakes = here.server.wakes
    run = here.sdk.beta.threads.create_and_run(assistant_id=assistant, thread={"messages": messages})
    assert here.server.wakes > wakes
    assert stores_of(here.sdk.beta.threads.retrieve(run.thread_id)) != [store]


def test_a_run_has_its_assistants_store_or_the_one_it_is_given(here: Here) -> None:
    own, other = here.store(), here.store()
    assistant = here.sdk.beta.assistants.create(model="m", tool_resources=by_id(own)).id

    def resources(**options: Any) -> Any:
        return here.sdk.beta.threads.create_and_run(assistant_id=assistant, **options).to_dict()["tool_resources"]

    assert resources() == by_id(own)
    assert resources(tool_resources=by_id(other)) == by_id(other)
    (made,) = resources(tool_resources=described(here.file()))["file_search"]["vector_store_ids"]
    assert here.sdk.vector_stores.retrieve(made).expires_at is not None


def test_an_attachment_that_cannot_be_searched_is_refused_whole(here: Here) -> None:
    thread, table = here.sdk.beta.threads.create().id, here.file("a.csv")
    message = here.refused(
        lambda: here.sdk.beta.threads.messages.create(
            thread, role="user", content="x", attachments=[attached(table, "code_interpreter", "file_search")]
        ),
        param="attachments",
        code="unsupported_file",
    )
    assert "[.csv]" in message
    assert here.sdk.beta.threads.messages.list(thread).data == []
    assert here.sdk.beta.threads.retrieve(thread).to_dict()["tool_resources"] == {}
    missing = attached("file-x", "file_search")
    assert (
        here.refused(
            lambda: here.sdk.beta.threads.messages.create(thread, role="user", content="x", attachments=[missing]),
            status=404,
        )
        == "Files [file-x] were not found"
    )


def test_messages_that_come_at_once_share_one_store(here: Here) -> None:
    thread, files = here.sdk.beta.threads.create().id, [here.file(f"{n}.txt") for n in range(8)]

    def say(file: str) -> Any:
        return here.sdk.beta.threads.messages.create(
            thread, role="user", content="x", attachments=[attached(file, "file_search")]
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(say, files))
    (store,) = stores_of(here.sdk.beta.threads.retrieve(thread))
    assert sorted(files_of(here, store)) == sorted(files)
    assert [each.id for each in here.sdk.vector_stores.list()] == [store]


def test_file_ids_of_a_message_are_for_every_tool_that_can_read_them(here: Here) -> None:
    table, text = here.file("a.csv"), here.file()
    thread = here.sdk.beta.threads.create(
        messages=[{"role": "user", "content": "x", "file_ids": [table, text]}]  # type: ignore[typeddict-unknown-key]
    )
    (store,) = stores_of(thread)
    assert thread.to_dict()["tool_resources"] == {"code_interpreter": {"file_ids": [table, text]}, **by_id(store)}
    assert files_of(here, store) == [text]
    (message,) = here.sdk.beta.threads.messages.list(thread.id)
    assert [each.to_dict() for each in message.attachments or []] == [
        attached(table, "code_interpreter"),
        attached(text, "code_interpreter", "file_search"),
    ]


def test_a_fork_shares_the_store(here: Here) -> None:
    thread = here.sdk.beta.threads.create(tool_resources=described(here.file()))
    fork: Any = here.sdk.post(
        f"/threads/{thread.id}/fork", cast_to=object, body={}, options={"headers": {"OpenAI-Beta": "assistants=v2"}}
    )
    assert fork["tool_resources"] == by_id(*stores_of(thread))


# ---- stores that were made for a thread are deleted with it


def existing_stores(here: Here) -> list[str]:
    return [store.id for store in here.sdk.vector_stores.list(order="asc")]


def fork_of(here: Here, thread: str) -> str:
    options: Any = {"headers": {"OpenAI-Beta": "assistants=v2"}}
    fork: Any = here.sdk.post(f"/threads/{thread}/fork", cast_to=object, body={}, options=options)
    return str(fork["id"])


def make_by_description(here: Here, file: str) -> str:
    return here.sdk.beta.threads.create(tool_resources=described(file)).id


def make_by_update(here: Here, file: str) -> str:
    thread = here.sdk.beta.threads.create().id
    here.sdk.beta.threads.update(thread, tool_resources=described(file))
    return thread


def make_by_first_message(here: Here, file: str) -> str:
    message: Any = {"role": "user", "content": "x", "attachments": [attached(file, "file_search")]}
    return here.sdk.beta.threads.create(messages=[message]).id


def make_by_message(here: Here, file: str) -> str:
    thread = here.sdk.beta.threads.create().id
    attachments: Any = [attached(file, "file_search")]
    here.sdk.beta.threads.messages.create(thread, role="user", content="x", attachments=attachments)
    return thread


def make_by_message_of_run(here: Here, file: str) -> str:
    thread, assistant = here.sdk.beta.threads.create().id, here.sdk.beta.assistants.create(model="m").id
    message: Any = {"role": "user", "content": "x", "attachments": [attached(file, "file_search")]}
    here.sdk.beta.threads.runs.create(thread, assistant_id=assistant, additional_messages=[message])
    return thread


def make_by_thread_of_run(here: Here, file: str) -> str:
    assistant = here.sdk.beta.assistants.create(model="m").id
    thread: Any = {"tool_resources": described(file)}
    return here.sdk.beta.threads.create_and_run(assistant_id=assistant, thread=thread).thread_id


def make_by_run(here: Here, file: str) -> str:
    assistant = here.sdk.beta.assistants.create(model="m").id
    run = here.sdk.beta.threads.create_and_run(assistant_id=assistant, tool_resources=described(file))
    return run.thread_id


@pytest.mark.parametrize(
    "make",
    [
        *(make_by_description, make_by_update, make_by_first_message, make_by_message, make_by_message_of_run),
        *(make_by_thread_of_run, make_by_run),
    ],
)
def test_deleted_thread_takes_the_store_that_was_made_for_it_along(
    make: Callable[[Here, str], str], here: Here
) -> None:
    file = here.file()
    thread = make(here, file)
    (store,) = existing_stores(here)
    assert files_of(here, store) == [file]
    here.sdk.beta.threads.delete(thread)
    assert existing_stores(here) == []
    assert here.sdk.files.retrieve(file).id == file


def test_deleted_thread_leaves_a_store_of_its_user(here: Here) -> None:
    own, file = here.store(), here.file()
    thread = here.sdk.beta.threads.create(tool_resources=by_id(own)).id
    attachments: Any = [attached(file, "file_search")]
    here.sdk.beta.threads.messages.create(thread, role="user", content="x", attachments=attachments)
    here.sdk.beta.threads.delete(thread)
    assert existing_stores(here) == [own]
    assert files_of(here, own) == [file]


def test_store_that_a_thread_was_given_later_stays_and_the_one_made_for_it_goes(here: Here) -> None:
    own, thread = here.store(), make_by_description(here, here.file())
    here.sdk.beta.threads.update(thread, tool_resources=by_id(own))
    assert len(existing_stores(here)) == 2
    here.sdk.beta.threads.delete(thread)
    assert existing_stores(here) == [own]


def test_store_that_forks_share_is_deleted_with_the_last_thread(here: Here) -> None:
    first = make_by_description(here, here.file())
    second = fork_of(here, first)
    third = fork_of(here, second)
    (store,) = existing_stores(here)
    for thread in (first, third):
        here.sdk.beta.threads.delete(thread)
        assert existing_stores(here) == [store]
    here.sdk.beta.threads.delete(second)
    assert existing_stores(here) == []


def test_store_made_for_a_thread_stays_with_an_assistant_that_uses_it(here: Here) -> None:
    thread = make_by_description(here, here.file())
    (store,) = existing_stores(here)
    assistant = here.sdk.beta.assistants.create(model="m").id
    here.sdk.beta.assistants.update(assistant, tool_resources=by_id(store))
    fork = fork_of(here, thread)
    for deleted in (thread, fork):
        here.sdk.beta.threads.delete(deleted)
        assert existing_stores(here) == [store]
    here.sdk.beta.assistants.delete(assistant)
    assert existing_stores(here) == [store]


def test_store_that_was_deleted_before_its_thread_harms_nothing(here: Here) -> None:
    thread = make_by_description(here, here.file())
    here.sdk.vector_stores.delete(existing_stores(here)[0])
    assert here.sdk.beta.threads.delete(thread).deleted


def test_deleted_assistant_leaves_the_store_that_was_described_with_it(here: Here) -> None:
    assistant = here.sdk.beta.assistants.create(model="m", tool_resources=described(here.file()))
    here.sdk.beta.assistants.delete(assistant.id)
    assert existing_stores(here) == stores_of(assistant)


# ---- v1


class V1:
    """v1's words for the same."""

    def __init__(self, here: Here) -> None:
        self._here = here

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.answer(method, path, body)
        assert answer.status == 200, answer.json
        return answer.json

    def answer(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"authorization": f"Bearer {self._here.sdk.api_key}", "openai-beta": "assistants=v1"}
        return self._here.server.request(method, f"/v1{path}", body, headers)

    def searched(self, assistant: str) -> list[str]:
        """The files of the assistant's vector store."""
        stores = stores_of(self._here.sdk.beta.assistants.retrieve(assistant))
        return files_of(self._here, stores[0]) if stores else []


RETRIEVAL = {"type": "retrieval"}


@needs_the_tool
def test_the_files_of_a_v1_assistant_that_retrieves_are_searched(here: Here) -> None:
    v1, one, two, table = V1(here), here.file("1.txt"), here.file("2.txt"), here.file("a.csv")
    tools = [RETRIEVAL, {"type": "code_interpreter"}]
    made = v1("POST", "/assistants", {"model": "m", "tools": tools, "file_ids": [one, table]})
    assistant = made["id"]
    assert made["file_ids"] == [one, table]
    assert v1.searched(assistant) == [one]
    v1("POST", f"/assistants/{assistant}/files", {"file_id": two})
    assert v1.searched(assistant) == [one, two]
    v1("DELETE", f"/assistants/{assistant}/files/{one}")
    assert v1.searched(assistant) == [two]
    assert [each["id"] for each in v1("GET", f"/assistants/{assistant}/files")["data"]] == [two, table]
    assert v1("POST", f"/assistants/{assistant}", {"file_ids": [one]})["file_ids"] == [one]
    assert v1.searched(assistant) == [one]
    assert here.sdk.files.retrieve(two).id == two


@needs_the_tool
def test_a_v1_assistant_that_learns_to_retrieve_searches_the_files_it_has(here: Here) -> None:
    v1, file = V1(here), here.file()
    assistant = v1("POST", "/assistants", {"model": "m", "file_ids": [file]})["id"]
    assert v1.searched(assistant) == []
    v1("POST", f"/assistants/{assistant}", {"tools": [RETRIEVAL]})
    assert v1.searched(assistant) == [file]


@needs_the_tool
def test_v1_leaves_alone_what_v2_put_into_the_store(here: Here) -> None:
    v1, mine, theirs = V1(here), here.file("1.txt"), here.file("2.txt")
    assistant = here.sdk.beta.assistants.create(
        model="m", tools=[{"type": "file_search"}], tool_resources=described(theirs)
    ).id
    v1("POST", f"/assistants/{assistant}", {"name": "n"})
    assert v1.searched(assistant) == [theirs]
    v1("POST", f"/assistants/{assistant}", {"file_ids": [mine]})
    assert v1.searched(assistant) == [theirs, mine]
    v1("POST", f"/assistants/{assistant}", {"file_ids": []})
    assert v1.searched(assistant) == [theirs]


@needs_the_tool
def test_a_file_that_only_retrieval_could_read_and_cannot_is_refused(here: Here) -> None:
    answer = V1(here).answer(
        "POST", "/assistants", {"model": "m", "tools": [RETRIEVAL], "file_ids": [here.file("a.csv")]}
    )
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, "file_ids", "unsupported_file")


def test_a_v1_update_of_files_keeps_the_store(here: Here) -> None:
    v1, store = V1(here), here.store(here.file("1.txt"))
    assistant = here.sdk.beta.assistants.create(model="m", tool_resources=by_id(store)).id
    v1("POST", f"/assistants/{assistant}", {"file_ids": [here.file("2.txt")]})
    assert stores_of(here.sdk.beta.assistants.retrieve(assistant)) == [store]
    v1("POST", f"/assistants/{assistant}", {"file_ids": []})
    assert here.sdk.beta.assistants.retrieve(assistant).to_dict()["tool_resources"] == by_id(store)


def test_a_v1_message_brings_its_files_to_the_threads_store(here: Here) -> None:
    v1, file = V1(here), here.file()
    thread = v1("POST", "/threads", {})["id"]
    message = v1("POST", f"/threads/{thread}/messages", {"role": "user", "content": "x", "file_ids": [file]})
    assert message["file_ids"] == [file]
    (store,) = stores_of(here.sdk.beta.threads.retrieve(thread))
    assert files_of(here, store) == [file]


@needs_the_tool
def test_deleted_v1_assistant_takes_the_store_that_v1_does_not_show_along(here: Here) -> None:
    v1, file = V1(here), here.file()
    assistant = v1("POST", "/assistants", {"model": "m", "tools": [RETRIEVAL], "file_ids": [file]})["id"]
    assert len(existing_stores(here)) == 1
    v1("DELETE", f"/assistants/{assistant}")
    assert existing_stores(here) == []
    assert here.sdk.files.retrieve(file).id == file


def test_deleted_thread_of_v1_takes_its_store_along(here: Here) -> None:
    v1, message = V1(here), {"role": "user", "content": "x", "file_ids": [here.file()]}
    thread = v1("POST", "/threads", {"messages": [message]})["id"]
    assert len(existing_stores(here)) == 1
    v1("DELETE", f"/threads/{thread}")
    assert existing_stores(here) == []
