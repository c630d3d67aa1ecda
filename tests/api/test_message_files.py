"""Files of new messages: attachments, images and v1's `file_ids`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from tests.api.edge import EdgeServer
from tests.api.test_files import END, PURPOSE, file, upload

V1 = {"openai-beta": "assistants=v1"}
BOTH = [{"type": "code_interpreter"}, {"type": "file_search"}]


@contextmanager
def reads_of_files() -> Iterator[list[str]]:
    """Collect the statements that read the table `files`."""
    statements: list[str] = []

    def collect(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM files" in statement:
            statements.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", collect)
    try:
        yield statements
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", collect)


def new_file(edge: EdgeServer, name: str) -> str:
    file_id = upload(edge, PURPOSE, file(name), END).json["id"]
    assert isinstance(file_id, str)
    return file_id


def image(file_id: str) -> dict[str, Any]:
    return {"type": "image_file", "image_file": {"file_id": file_id}}


@pytest.fixture
def message(timed: EdgeServer) -> dict[str, Any]:
    """A message with a file in every place where it may have one."""
    attachments = [
        {"file_id": new_file(timed, "a.txt"), "tools": BOTH},
        {"file_id": new_file(timed, "b.csv"), "tools": BOTH[:1]},
    ]
    content = [image(new_file(timed, "c.png")), image(new_file(timed, "d.png"))]
    return {"role": "user", "content": content, "attachments": attachments}


def test_files_of_a_message_are_read_once(timed: EdgeServer, message: dict[str, Any]) -> None:
    thread = timed.request("POST", "/v1/threads", {}).json["id"]
    for _ in ("into a new vector store", "into the thread's vector store"):
        with reads_of_files() as reads:
            assert timed.request("POST", f"/v1/threads/{thread}/messages", message).status == 200
        assert len(reads) == 1


def test_files_of_a_v1_message_are_read_once(timed: EdgeServer) -> None:
    thread = timed.request("POST", "/v1/threads", {}, V1, beta=False).json["id"]
    body = {"role": "user", "content": "x", "file_ids": [new_file(timed, "a.txt"), new_file(timed, "b.png")]}
    with reads_of_files() as reads:
        assert timed.request("POST", f"/v1/threads/{thread}/messages", body, V1, beta=False).status == 200
    assert len(reads) == 1


def test_files_of_the_messages_of_a_new_thread_are_read_once(timed: EdgeServer, message: dict[str, Any]) -> None:
    with reads_of_files() as reads:
        assert timed.request("POST", "/v1/threads", {"messages": [message] * 3}).status == 200
    assert len(reads) == 1


def test_files_of_the_additional_messages_of_a_run_are_read_once(timed: EdgeServer, message: dict[str, Any]) -> None:
    assistant = timed.request("POST", "/v1/assistants", {"model": "demo"}).json["id"]
    thread = timed.request("POST", "/v1/threads", {}).json["id"]
    body = {"assistant_id": assistant, "additional_messages": [message] * 3}
    with reads_of_files() as reads:
        assert timed.request("POST", f"/v1/threads/{thread}/runs", body).status == 200
    assert len(reads) == 1


def test_files_of_the_messages_of_create_and_run_are_read_once(timed: EdgeServer, message: dict[str, Any]) -> None:
    assistant = timed.request("POST", "/v1/assistants", {"model": "demo"}).json["id"]
    body = {"assistant_id": assistant, "thread": {"messages": [message] * 3}}
    with reads_of_files() as reads:
        assert timed.request("POST", "/v1/threads/runs", body).status == 200
    assert len(reads) == 1


def test_message_without_files_reads_none(timed: EdgeServer) -> None:
    thread = timed.request("POST", "/v1/threads", {}).json["id"]
    with reads_of_files() as reads:
        timed.request("POST", f"/v1/threads/{thread}/messages", {"role": "user", "content": "x"})
    assert reads == []


@pytest.mark.parametrize(
    ("bodies", "status", "expected"),
    [
        (
            [{"attachments": [{"file_id": f"file-{n}", "tools": BOTH} for n in (1, 2)]}],
            404,
            "Files [file-1, file-2] were not found",
        ),
        (
            [{"attachments": [{"file_id": f"file-{n}", "tools": BOTH[:1]}]} for n in (1, 2, 1)],
            404,
            "Files [file-1, file-2] were not found",
        ),
        ([{"content": [image("file-1"), image("file-2")]}], 404, "Files [file-1, file-2] were not found"),
        ([{"content": [image("file-1")]}, {"content": [image("file-2")]}], 404, "Files [file-1] were not found"),
        (
            [{"content": [image("file-1")], "attachments": [{"file_id": "file-2", "tools": BOTH}]}],
            404,
            "Files [file-2] were not found",
        ),
        (
            [{"content": [image("file-1")], "attachments": [{"file_id": "IMAGE", "tools": BOTH}]}],
            400,
            "not supported",
        ),
    ],
)
def test_error_names_the_files_that_are_missing_and_nothing_is_kept(
    timed: EdgeServer, bodies: list[dict[str, Any]], status: int, expected: str
) -> None:
    picture = new_file(timed, "a.png")
    messages: list[dict[str, Any]] = [{"role": "user", "content": "x", **body} for body in bodies]
    for message in messages:
        message["attachments"] = [
            {**attachment, "file_id": attachment["file_id"].replace("IMAGE", picture)}
            for attachment in message.get("attachments", [])
        ]
    answer = timed.request("POST", "/v1/threads", {"messages": messages})
    assert answer.status == status
    assert expected in answer.error["message"]
    thread = timed.request("POST", "/v1/threads", {}).json["id"]
    if len(messages) == 1:
        again = timed.request("POST", f"/v1/threads/{thread}/messages", messages[0])
        assert (again.status, again.error) == (answer.status, answer.error)
    assert timed.request("GET", f"/v1/threads/{thread}/messages").json["data"] == []
    assert timed.request("GET", "/v1/vector_stores").json["data"] == []
