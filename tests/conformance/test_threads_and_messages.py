"""Behaviours 42-61: threads, what is said in them, and how it is listed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.api import Api, seen, text_of
from tests.conformance.behaviours import behaviour
from tests.models.upstream import Text

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c63f8ffff3f0300080301013b8bd3a10000000049454e44ae426082"
)


@behaviour(42, "A thread is made of {}, of an empty body, and of no body at all")
def test_a_thread_is_made_of_nothing(api: Api) -> None:
    made = [
        api.post("/threads", {}),
        api.post("/threads", content=b"", headers={"content-type": "application/json"}),
        api.post("/threads"),
    ]
    for thread in made:
        assert thread["metadata"] == {}
        assert not thread["tool_resources"]
        assert api.get(f"/threads/{thread['id']}") == thread


@behaviour(43, "A thread's messages are made in their order, by nobody's run")
def test_a_thread_is_made_with_messages(api: Api) -> None:
    said = [("user", "one"), ("assistant", "two"), ("user", "three")]
    thread = api.post("/threads", {"messages": [{"role": role, "content": text} for role, text in said]})
    messages = api.get(f"/threads/{thread['id']}/messages", order="asc")["data"]
    assert [(each["role"], each["content"][0]["text"]["value"]) for each in messages] == said
    for each in messages:
        assert (each["run_id"], each["assistant_id"], each["thread_id"]) == (None, None, thread["id"])
        assert (each["status"], each["attachments"], each["metadata"]) == ("completed", [], {})
        assert each["completed_at"] == each["created_at"]


@behaviour(44, "A message is a user's or an assistant's, no system's; the model sees an assistant's as such")
def test_messages_have_one_of_two_roles(api: Api) -> None:
    thread = api.thread("hello")
    for role in ("system", "tool", "function", "", None):
        api.refused("POST", f"/threads/{thread}/messages", {"role": role, "content": "x"}, param="role")
    api.refused("POST", "/threads", {"messages": [{"role": "system", "content": "x"}]}, param="messages[0].role")
    api.sdk.beta.threads.messages.create(thread, role="assistant", content="I said this.")
    api.run(Text("Hi."), thread=thread)
    assert seen(api.asked()[0])[-2:] == [("user", "hello"), ("assistant", "I said this.")]


@behaviour(45, "Empty content is refused; a string becomes one text part without annotations")
def test_content_is_not_empty(api: Api) -> None:
    thread = api.thread()
    for content in ("", [], None, 1):
        response = api.call("POST", f"/threads/{thread}/messages", {"role": "user", "content": content})
        assert response.status_code == 400, content
    made = api.post(f"/threads/{thread}/messages", {"role": "user", "content": "text"})
    assert made["content"] == [{"type": "text", "text": {"value": "text", "annotations": []}}]


@behaviour(46, "Text, image_url and image_file parts are accepted; a text is a string going in, an object coming out")
def test_content_has_parts(api: Api) -> None:
    file = api.sdk.files.create(file=("a.png", PNG), purpose="vision")
    url = "https://example.com/a.png"
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        {"type": "image_file", "image_file": {"file_id": file.id}},
    ]
    made = api.post(f"/threads/{api.thread()}/messages", {"role": "user", "content": parts})
    text, by_url, by_file = made["content"]
    assert text == {"type": "text", "text": {"value": "look", "annotations": []}}
    assert by_url == parts[1]
    assert (by_file["type"], by_file["image_file"]["file_id"]) == ("image_file", file.id)
    assert by_file["image_file"].get("detail", "auto") == "auto"
    wrong = [{"type": "text", "text": {"value": "x"}}], [{"type": "image_file", "image_file": {}}], [{"type": "sound"}]
    for each in wrong:
        assert api.call("POST", "/threads", {"messages": [{"role": "user", "content": each}]}).status_code == 400


@behaviour(47, "file_ids of a message, as in Azure's samples of v2, make the files visible to the code interpreter")
def test_file_ids_of_a_message_are_accepted_in_v2(api: Api) -> None:
    file = api.sdk.files.create(file=("a.csv", b"a\n1\n"), purpose="assistants")
    message = {"role": "user", "content": "x", "file_ids": [file.id]}
    thread = api.post("/threads", {"messages": [message]})
    assert thread["tool_resources"]["code_interpreter"] == {"file_ids": [file.id]}
    attachments = api.get(f"/threads/{thread['id']}/messages")["data"][0]["attachments"]
    assert [each["file_id"] for each in attachments] == [file.id]
    later = api.thread()
    api.post(f"/threads/{later}/messages", message)
    assert api.get(f"/threads/{later}")["tool_resources"]["code_interpreter"] == {"file_ids": [file.id]}


@behaviour(48, "An attachment for the code interpreter adds its file to the thread's files")
def test_attachments_add_files_to_the_thread(api: Api) -> None:
    first, second = (api.sdk.files.create(file=(n, b"x"), purpose="assistants").id for n in ("a.txt", "b.txt"))
    tools = [{"type": "code_interpreter"}]
    thread = api.post("/threads", {"tool_resources": {"code_interpreter": {"file_ids": [first]}}})
    api.post(
        f"/threads/{thread['id']}/messages",
        {"role": "user", "content": "x", "attachments": [{"file_id": second, "tools": tools}]},
    )
    files = api.get(f"/threads/{thread['id']}")["tool_resources"]["code_interpreter"]["file_ids"]
    assert sorted(files) == sorted([first, second])
    replaced = {"code_interpreter": {"file_ids": [second]}}
    assert api.post(f"/threads/{thread['id']}", {"tool_resources": replaced})["tool_resources"] == replaced
    assert api.post(f"/threads/{thread['id']}", {"metadata": {"a": "1"}})["tool_resources"] == replaced


@behaviour(49, "An attachment for file_search makes a store of the thread; a second one reuses it")
def test_attachments_for_file_search_share_a_store(api: Api) -> None:
    first, second = (api.sdk.files.create(file=(f"{n}.txt", b"words"), purpose="assistants").id for n in range(2))
    thread = api.sdk.beta.threads.create().id
    for file in (first, second):
        attachments = [{"file_id": file, "tools": [{"type": "file_search"}]}]
        said = {"role": "user", "content": "x", "attachments": attachments}
        assert api.post(f"/threads/{thread}/messages", said)["attachments"] == attachments
    resources = api.get(f"/threads/{thread}")["tool_resources"]
    (store,) = resources["file_search"]["vector_store_ids"]
    assert resources == {"file_search": {"vector_store_ids": [store]}}
    stored = api.get(f"/vector_stores/{store}")
    assert stored["expires_after"] == {"anchor": "last_active_at", "days": 7}
    assert [each.id for each in api.sdk.vector_stores.files.list(store, order="asc")] == [first, second]


@behaviour(50, "Attachments come back with their message; one without a file, or with an unknown one, is refused")
def test_attachments_are_kept_and_checked(api: Api) -> None:
    thread = api.thread()
    path = f"/threads/{thread}/messages"
    file = api.sdk.files.create(file=("a.txt", b"x"), purpose="assistants").id
    attachment = {"file_id": file, "tools": [{"type": "code_interpreter"}]}
    made = api.post(path, {"role": "user", "content": "x", "attachments": [attachment]})
    assert made["attachments"] == [attachment]
    assert api.get(f"{path}/{made['id']}")["attachments"] == [attachment]
    for wrong in ({"tools": attachment["tools"]}, {**attachment, "file_id": file[:-4] + "zzzz"}):
        response = api.call("POST", path, {"role": "user", "content": "x", "attachments": [wrong]})
        assert 400 <= response.status_code < 500
    assert [each["id"] for each in api.get(path)["data"]][:1] == [made["id"]]


@behaviour(51, "An update of a thread's vector store replaces it")
def test_an_update_replaces_a_threads_store(api: Api) -> None:
    one, two = (api.sdk.vector_stores.create().id for _ in range(2))
    resources = {each: {"file_search": {"vector_store_ids": [each]}} for each in (one, two)}
    thread = api.post("/threads", {"tool_resources": resources[one], "metadata": {"a": "b"}})["id"]
    changed = api.post(f"/threads/{thread}", {"tool_resources": resources[two], "metadata": {"c": "d"}})
    assert (changed["tool_resources"], changed["metadata"]) == (resources[two], {"c": "d"})
    assert api.get(f"/threads/{thread}") == changed


@behaviour(52, "A deleted thread answers thread.deleted, and is gone with its messages and runs")
def test_a_deleted_thread_is_gone(api: Api) -> None:
    run = api.run(Text("Hi."))
    thread = run.thread_id
    message = api.messages(thread)[0].id
    answer = api.call("DELETE", f"/threads/{thread}").json()
    assert answer == {"id": thread, "object": "thread.deleted", "deleted": True}
    for path in ("", "/messages", f"/messages/{message}", "/runs", f"/runs/{run.id}", f"/runs/{run.id}/steps"):
        api.refused("GET", f"/threads/{thread}{path}", status=404)
    api.refused("DELETE", f"/threads/{thread}", status=404)


@behaviour(53, "Messages are listed newest first or oldest first, before, after, by run, and in pages")
def test_messages_are_listed_in_both_orders(api: Api) -> None:
    thread = api.thread(*"abcde")
    run = api.run(Text("answer"), thread=thread)
    path = f"/threads/{thread}/messages"

    def listed(**query: Any) -> list[str]:
        return [each["content"][0]["text"]["value"] for each in api.get(path, **query)["data"]]

    ids = {text_of(each): each.id for each in api.messages(thread)}
    assert listed() == ["answer", *"edcba"]
    assert listed(order="asc") == [*"abcde", "answer"]
    assert listed(order="asc", limit=2) == ["a", "b"]
    assert listed(order="asc", after=ids["b"], limit=2) == ["c", "d"]
    assert listed(order="asc", before=ids["d"], limit=2) == ["b", "c"]
    assert listed(after=ids["d"]) == ["c", "b", "a"]
    assert listed(before=ids["d"]) == ["answer", "e"]
    assert listed(run_id=run.id) == ["answer"]
    assert api.get(path, order="asc", limit=2)["has_more"] is True
    assert api.get(path, limit=6)["has_more"] is False
    assert listed(order="asc", after=ids["a"], before=ids["d"]) == ["b", "c"]
    api.refused("GET", path, params={"order": "sideways"}, param="order")
    for cursor in ("after", "before"):
        assert api.call("GET", path, params={cursor: "msg_unknown"}).status_code in (400, 404)


@behaviour(54, "A limit of 0, of 101, or that is no number is refused")
def test_limits_of_lists_are_1_to_100(api: Api) -> None:
    path = f"/threads/{api.thread(*'abc')}/messages"
    for limit, code in [
        ("0", "integer_below_min_value"),
        ("101", "integer_above_max_value"),
        ("abc", None),
        ("-1", None),
    ]:
        api.refused("GET", path, params={"limit": limit}, code=code, param="limit")
    assert len(api.get(path, limit="20")["data"]) == 3
    assert len(api.get(path, limit=1)["data"]) == 1
    assert len(api.get(path, limit=100)["data"]) == 3


@behaviour(55, "An update of a message changes its metadata; role and content are unknown parameters there")
def test_only_the_metadata_of_a_message_changes(api: Api) -> None:
    thread = api.thread()
    before = api.get(f"/threads/{thread}/messages")["data"][0]
    path = f"/threads/{thread}/messages/{before['id']}"
    assert api.post(path, {"metadata": {"a": "1", "b": "2"}}) == {**before, "metadata": {"a": "1", "b": "2"}}
    assert api.post(path, {"metadata": {"c": "3"}}) == {**before, "metadata": {"c": "3"}}
    for key, value in [("role", "assistant"), ("content", "other")]:
        api.refused("POST", path, {key: value}, code="unknown_parameter", param=key)
    assert api.get(path) == {**before, "metadata": {"c": "3"}}


@behaviour(56, "A deleted message answers thread.message.deleted, leaves the list, and the model sees it no more")
def test_a_deleted_message_is_gone_for_the_model_too(api: Api) -> None:
    thread = api.thread("keep", "drop", "last")
    _, drop, _ = api.messages(thread)
    path = f"/threads/{thread}/messages/{drop.id}"
    answer = api.call("DELETE", path).json()
    assert answer == {"id": drop.id, "object": "thread.message.deleted", "deleted": True}
    api.refused("DELETE", path, status=404)
    api.refused("GET", path, status=404)
    api.run(Text("Hi."), thread=thread)
    assert [text for _, text in api.texts(thread)] == ["keep", "last", "Hi."]
    assert [content for role, content in seen(api.asked()[0]) if role == "user"] == ["keep", "last"]


@behaviour(57, "A message is found below its own thread only")
def test_a_message_of_another_thread_is_not_found(api: Api) -> None:
    mine, other = api.thread(), api.thread()
    message = api.messages(mine)[0].id
    path = f"/threads/{other}/messages/{message}"
    api.refused("GET", path, status=404)
    api.refused("POST", path, {"metadata": {}}, status=404)
    api.refused("DELETE", path, status=404)
    assert api.get(f"/threads/{mine}/messages/{message}")["id"] == message


@behaviour(58, "An id of the wrong kind is 400: Expected an ID that begins with 'thread'.")
def test_an_id_that_is_none_is_refused(api: Api) -> None:
    error = api.refused("GET", "/threads/undefined", code="invalid_value", param="thread_id")
    assert error["message"] == "Invalid 'thread_id': 'undefined'. Expected an ID that begins with 'thread'."
    assert (
        api.refused("POST", "/threads/undefined/messages", {"role": "user", "content": "x"})["message"]
        == error["message"]
    )
    error = api.refused("GET", "/threads/thread_unknown", status=404)
    assert error["message"] == "No thread found with id 'thread_unknown'."


@behaviour(59, "Messages made in one second keep their order, across pages too")
def test_messages_of_one_second_keep_their_order(api: Api) -> None:
    texts = [str(n) for n in range(30)]
    thread = api.thread(*texts)
    for limit in (1, 7, 100):
        listed = api.sdk.beta.threads.messages.list(thread, limit=limit)
        assert [text_of(each) for each in listed] == texts[::-1]
        listed = api.sdk.beta.threads.messages.list(thread, limit=limit, order="asc")
        assert [text_of(each) for each in listed] == texts


@behaviour(60, "v1: a message has file_ids, and lists its files as thread.message.file")
@pytest.mark.parametrize("surface", ["openai", "azure"])
def test_v1_messages_have_files(on_openai: Api, surface: str) -> None:
    with on_openai.speaking(surface=surface, version=1) as v1:
        file = v1.sdk.files.create(file=("a.txt", b"x"), purpose="assistants").id
        thread = v1.post("/threads", {"messages": [{"role": "user", "content": "x", "file_ids": [file]}]})
        message = v1.get(f"/threads/{thread['id']}/messages")["data"][0]
        assert message["file_ids"] == [file]
        assert "attachments" not in message
        path = f"/threads/{thread['id']}/messages/{message['id']}/files"
        (listed,) = v1.get(path)["data"]
        assert (listed["id"], listed["object"], listed["message_id"]) == (file, "thread.message.file", message["id"])
        assert v1.get(f"{path}/{file}") == listed
        v1.refused("GET", f"{path}/{file[:-4]}zzzz", status=404)


@behaviour(61, "Korean, emoji and every other character come back as they were sent")
def test_text_of_any_script_is_kept(api: Api) -> None:
    text = "안녕하세요 😀 e\u0301 \u200f\u2028 \x01\x7f 𝒳 \ufeff end"
    thread = api.post("/threads", {"metadata": {"열쇠 🔑": text}, "messages": [{"role": "user", "content": text}]})
    assert thread["metadata"] == {"열쇠 🔑": text}
    assert api.texts(thread["id"]) == [("user", text)]
    run = api.run(Text(text), thread=thread["id"])
    assert api.texts(run.thread_id)[-1] == ("assistant", text)
    assert seen(api.asked()[0])[-1] == ("user", text)
