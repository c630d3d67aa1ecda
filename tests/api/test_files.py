"""Uploads and downloads over a socket."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import openai
import pytest
from sqlalchemy import Connection

from locum import ids
from locum.api.files import download_headers
from locum.domain.files import File
from locum.store import files as store
from locum.store import staged_blobs
from locum.store.sqlite import SQLite
from tests.api.edge import Answer, EdgeServer, HandClock, wait_until

TYPE = {"content-type": "multipart/form-data; boundary=XX"}
PURPOSE = b'--XX\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
END = b"--XX--\r\n"


def file(name: str = "a.csv", content: bytes = b"a,b\n") -> bytes:
    head = f'--XX\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


def field(name: str, value: str) -> bytes:
    return f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


ANCHOR, SECONDS = field("expires_after[anchor]", "created_at"), field("expires_after[seconds]", "3600")


def upload(edge: EdgeServer, *pieces: bytes, path: str = "/v1/files", key: str | None = None) -> Answer:
    headers = TYPE if key is None else {**TYPE, "idempotency-key": key}
    return edge.request("POST", path, b"".join(pieces), headers, beta=False)


@pytest.mark.parametrize("pieces", [(PURPOSE, file(), END), (file(), PURPOSE, END)])
def test_fields_may_come_before_or_after_the_file(edge: EdgeServer, pieces: tuple[bytes, ...]) -> None:
    answer = upload(edge, *pieces)
    assert answer.status == 200
    assert (answer.json["filename"], answer.json["bytes"], answer.json["purpose"]) == ("a.csv", 4, "assistants")


def test_an_upload_comes_back_byte_for_byte(edge: EdgeServer) -> None:
    content = bytes(range(256)) * 5000
    file_id = upload(edge, PURPOSE, file("x.bin", content), END).json["id"]
    answer = edge.request("GET", f"/v1/files/{file_id}/content")
    assert answer.body == content
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["content-type"] == "application/octet-stream"


def test_each_surface_hands_out_its_own_ids_and_knows_the_others(edge: EdgeServer) -> None:
    ours = upload(edge, PURPOSE, file(), END).json["id"]
    azure = upload(edge, PURPOSE, file(), END, path="/openai/files?api-version=2024-05-01-preview").json["id"]
    assert ours.startswith("file-")
    assert azure.startswith("assistant-")
    assert edge.request("GET", f"/v1/files/{azure}").status == 200
    assert edge.request("GET", f"/openai/files/{ours}?api-version=2024-05-01-preview").status == 200


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("한글 데이터.csv", "한글 데이터.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\x.csv", "x.csv"),
        ("/abs/x.csv", "x.csv"),
        ("a\tb.csv", "ab.csv"),
        ("\u202egnp.exe", "gnp.exe"),
    ],
)
def test_names_are_kept_but_for_paths_and_control_characters(edge: EdgeServer, name: str, stored: str) -> None:
    assert upload(edge, PURPOSE, file(name), END).json["filename"] == stored


@pytest.mark.parametrize(
    ("pieces", "param"),
    [
        ((PURPOSE, END), "file"),
        ((file(), END), "purpose"),
        ((field("file", "not a file"), PURPOSE, END), "file"),
        ((PURPOSE, file(), file(), END), "file"),
        ((PURPOSE, file(content=b""), END), "file"),
        ((PURPOSE, file("x" * 300), END), "file"),
        ((PURPOSE, file(".."), END), "file"),
        ((PURPOSE, file(""), END), "file"),
        ((field("purpose", "world domination"), file(), END), "purpose"),
        ((field("purpose", "a\0b"), file(), END), "purpose"),
        ((file(), SECONDS, PURPOSE, END), "expires_after.anchor"),
        ((file(), ANCHOR, PURPOSE, END), "expires_after.seconds"),
        ((file(), ANCHOR, field("expires_after[seconds]", "3599"), PURPOSE, END), "expires_after.seconds"),
        ((file(), ANCHOR, field("expires_after[seconds]", "2592001"), PURPOSE, END), "expires_after.seconds"),
        ((file(), ANCHOR, field("expires_after[seconds]", "1e4"), PURPOSE, END), "expires_after.seconds"),
        ((file(), ANCHOR, field("expires_after[seconds]", "9" * 30), PURPOSE, END), "expires_after.seconds"),
        ((file(), field("expires_after[anchor]", "last_active_at"), SECONDS, PURPOSE, END), "expires_after.anchor"),
        ((file(), ANCHOR, SECONDS, field("expires_after[foo]", "1"), PURPOSE, END), "expires_after[foo]"),
        ((file(), field("expires_after", "created_at"), PURPOSE, END), "expires_after"),
        ((file(), field("foo", "1"), PURPOSE, END), "foo"),
        ((file(), PURPOSE), None),
        ((file()[:-10],), None),
        ((b"garbage",), None),
        ((b"",), None),
    ],
)
def test_a_bad_upload_is_a_400_and_leaves_nothing(
    edge: EdgeServer, pieces: tuple[bytes, ...], param: str | None
) -> None:
    before = edge.blobs()
    answer = upload(edge, *pieces)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert sorted(edge.blobs()) == sorted(before)


def test_another_content_type_is_a_400(edge: EdgeServer) -> None:
    answer = edge.request("POST", "/v1/files", {"purpose": "assistants"})
    assert answer.status == 400
    assert "multipart/form-data" in answer.error["message"]


def test_a_client_that_goes_away_leaves_nothing(edge: EdgeServer) -> None:
    before = len(edge.blobs())
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as raw:
        raw.sendall(
            b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=XX\r\n"
            b"content-length: 5000000\r\n\r\n" + PURPOSE + file(content=b"x" * 2_000_000)
        )
        wait_until(lambda: len(edge.blobs()) > before)
    wait_until(lambda: len(edge.blobs()) == before)


def test_client_that_goes_away_after_its_file_is_stored_leaves_no_bytes(edge: EdgeServer) -> None:
    before = edge.blobs()
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as raw:
        raw.sendall(
            b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=XX\r\n"
            b"content-length: 5000\r\n\r\n" + file() + PURPOSE[:20]
        )
        wait_until(lambda: any(path.parent.name != "tmp" for path in set(edge.blobs()) - set(before)))
    wait_until(lambda: sorted(edge.blobs()) == sorted(before))


@pytest.mark.parametrize("key", ["", "x" * 256, "\xe9"])
def test_upload_with_an_invalid_idempotency_key_leaves_no_bytes(edge: EdgeServer, key: str) -> None:
    before = edge.blobs()
    answer = upload(edge, PURPOSE, file(), END, key=key)
    assert (answer.status, answer.error["param"]) == (400, "Idempotency-Key")
    assert sorted(edge.blobs()) == sorted(before)


@pytest.mark.parametrize(
    ("again", "status"),
    [
        ((PURPOSE, file(), END), 200),
        ((file(), PURPOSE, END), 200),
        ((PURPOSE, file(content=b"other"), END), 400),
        ((PURPOSE, file("b.csv"), END), 400),
        ((field("purpose", "vision"), file(), END), 400),
    ],
)
def test_upload_with_a_used_idempotency_key_leaves_no_bytes(
    edge: EdgeServer, again: tuple[bytes, ...], status: int
) -> None:
    key = ids.new("key_")
    first = upload(edge, PURPOSE, file(), END, key=key).json
    before = edge.blobs()
    answer = upload(edge, *again, key=key)
    assert answer.status == status
    if status == 200:
        assert answer.json == first
    assert sorted(edge.blobs()) == sorted(before)
    assert edge.request("GET", f"/v1/files/{first['id']}/content").body == b"a,b\n"


def test_upload_with_the_idempotency_key_of_a_deleted_file_leaves_no_bytes(edge: EdgeServer) -> None:
    before, key = edge.blobs(), ids.new("key_")
    file_id = upload(edge, PURPOSE, file(), END, key=key).json["id"]
    edge.request("DELETE", f"/v1/files/{file_id}")
    assert upload(edge, PURPOSE, file(), END, key=key).status == 404
    assert sorted(edge.blobs()) == sorted(before)


def test_a_file_is_never_shown_as_a_page_of_this_server(edge: EdgeServer) -> None:
    file_id = upload(edge, PURPOSE, file("page.html", b"<script>alert(1)</script>"), END).json["id"]
    headers = edge.request("GET", f"/v1/files/{file_id}/content").headers
    assert headers["content-type"] == "text/html"
    assert headers["content-disposition"].startswith("attachment;")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize(
    ("filename", "type_", "disposition"),
    [
        ("a.csv", "application/csv", "attachment; filename=\"a.csv\"; filename*=UTF-8''a.csv"),
        ("그림.PNG", "image/png", "attachment; filename=\"__.PNG\"; filename*=UTF-8''%EA%B7%B8%EB%A6%BC.PNG"),
        ('a"b\\c.txt', "text/plain", "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%5Cc.txt"),
        (
            "noextension",
            "application/octet-stream",
            "attachment; filename=\"noextension\"; filename*=UTF-8''noextension",
        ),
    ],
)
def test_download_headers(filename: str, type_: str, disposition: str) -> None:
    headers = download_headers(
        File(id="file-1", created_at=1, filename=filename, purpose="assistants", bytes=3, sha256="00")
    )
    assert (headers["content-type"], headers["content-disposition"]) == (type_, disposition)
    assert all(value.isascii() for value in headers.values())


def test_files_are_listed_by_purpose_and_deleted(edge: EdgeServer) -> None:
    vision = upload(edge, field("purpose", "vision"), file("x.png"), END).json["id"]
    listed = edge.request("GET", "/v1/files?purpose=vision&limit=10000").json["data"]
    assert [each["id"] for each in listed] == [vision]
    assert edge.request("DELETE", f"/v1/files/{vision}").json == {"id": vision, "object": "file", "deleted": True}
    gone = edge.request("GET", f"/v1/files/{vision}")
    assert (gone.status, gone.error["message"]) == (404, f"No such File object: {vision}")
    assert edge.request("GET", "/v1/files?limit=10001").status == 400


def test_a_file_may_say_when_it_expires(timed: EdgeServer, clock: HandClock) -> None:
    made = upload(timed, ANCHOR, file(), SECONDS, PURPOSE, END).json
    assert made["expires_at"] == made["created_at"] + 3600 == clock.now + 3600
    assert upload(timed, file(), PURPOSE, END).json["expires_at"] is None
    assert timed.request("GET", f"/v1/files/{made['id']}").json == made


def test_an_expired_file_is_unknown_before_anything_is_swept(timed: EdgeServer, clock: HandClock) -> None:
    kept = upload(timed, file(), PURPOSE, END).json["id"]
    file_id = upload(timed, ANCHOR, file(), SECONDS, PURPOSE, END).json["id"]
    clock.now += 3599
    assert timed.request("GET", f"/v1/files/{file_id}/content").status == 200
    clock.now += 1
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        answer = timed.request(method, f"/v1/files/{file_id}{path}")
        assert (answer.status, answer.error["message"]) == (404, f"No such File object: {file_id}")
    assert [each["id"] for each in timed.request("GET", "/v1/files").json["data"]] == [kept]
    assert timed.request("GET", f"/v1/files?after={file_id}").status == 404


def test_an_expired_file_can_be_attached_to_nothing_any_more(timed: EdgeServer, clock: HandClock) -> None:
    file_id = upload(timed, ANCHOR, file(), SECONDS, PURPOSE, END).json["id"]
    thread = timed.request("POST", "/v1/threads", {}).json["id"]
    clock.now += 3600
    uses = {"tool_resources": {"code_interpreter": {"file_ids": [file_id]}}}
    message = {"role": "user", "content": "hi", "attachments": [{"file_id": file_id, "tools": []}]}
    for path, body in (
        ("/v1/assistants", {"model": "m", **uses}),
        ("/v1/threads", uses),
        (f"/v1/threads/{thread}", uses),
        (f"/v1/threads/{thread}/messages", message),
    ):
        answer = timed.request("POST", path, body)
        assert (answer.status, answer.error["message"]) == (404, f"Files [{file_id}] were not found")


def test_an_expired_file_leaves_with_its_bytes_and_its_uses(timed: EdgeServer, clock: HandClock) -> None:
    kept = upload(timed, file(), PURPOSE, END).json["id"]
    file_id = upload(timed, ANCHOR, file(), SECONDS, PURPOSE, END).json["id"]
    uses = {"tool_resources": {"code_interpreter": {"file_ids": [kept, file_id]}}}
    assistant = timed.request("POST", "/v1/assistants", {"model": "m", **uses}).json["id"]
    thread = timed.request("POST", "/v1/threads", uses).json["id"]
    assert timed.do(timed.services.files.expire()) == ()
    clock.now += 3600
    assert timed.do(timed.services.files.expire()) == (file_id,)
    assert len(timed.blobs()) == 1
    for path in (f"/v1/assistants/{assistant}", f"/v1/threads/{thread}"):
        resources = timed.request("GET", path).json["tool_resources"]
        assert resources == {"code_interpreter": {"file_ids": [kept]}}
    assert timed.do(timed.services.files.expire()) == ()


def test_an_expired_file_cannot_be_used_any_more(tmp_path: Path) -> None:
    database = SQLite(tmp_path / "locum.db")
    made = File(
        id="file-1", created_at=1, filename="a.csv", purpose="assistants", bytes=3, sha256="00", expires_at=3601
    )

    def existing(conn: Connection) -> list[list[File]]:
        staged_blobs.note(conn, "1", now=0)
        store.insert(conn, "default", made)
        return [store.existing(conn, "default", [made.id], now=now) for now in (3600, 3601)]

    async def run() -> list[list[File]]:
        found = await database.write(existing)
        await database.close()
        return found

    assert asyncio.run(run()) == [[made], []]


def test_the_sdk_sets_when_a_file_expires(sdk: openai.OpenAI) -> None:
    made = sdk.files.create(
        file=("a.csv", b"a"), purpose="assistants", expires_after={"anchor": "created_at", "seconds": 7200}
    )
    assert made.expires_at == made.created_at + 7200
    with pytest.raises(openai.BadRequestError, match="integer below minimum value. Expected a value >= 3600"):
        sdk.files.create(
            file=("a.csv", b"a"), purpose="assistants", expires_after={"anchor": "created_at", "seconds": 60}
        )
