"""Files that come in parts: through the SDK, over a socket, and with the server killed in between."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import socket
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from msgspec.structs import replace

from locum.domain.uploads import MAX_PART_BYTES, Upload
from locum.store import uploads as store
from tests.api.edge import Answer, EdgeServer, HandClock, wait_until
from tests.blobs.buckets import BUCKET, S3Server
from tests.databases import PostgresServer
from tests.serving import ServerProcess

TYPE = {"content-type": "multipart/form-data; boundary=XX"}
END = b"\r\n--XX--\r\n"
PREVIEW = "api-version=2024-10-01-preview"


def form(content: bytes, name: str = "data") -> bytes:
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"; filename="upload"\r\n\r\n'
    return head.encode() + content + END


def create(edge: EdgeServer, size: int, path: str = "/v1/uploads", **more: Any) -> Answer:
    body = {"filename": "a.csv", "purpose": "assistants", "bytes": size, "mime_type": "text/csv", **more}
    return edge.request("POST", path, body, beta=False)


def add(edge: EdgeServer, upload_id: str, content: bytes) -> str:
    answer = edge.request("POST", f"/v1/uploads/{upload_id}/parts", form(content), TYPE, beta=False)
    assert answer.status == 200, answer.body
    part_id = answer.json["id"]
    assert answer.json == {
        "id": part_id,
        "object": "upload.part",
        "created_at": answer.json["created_at"],
        "upload_id": upload_id,
    }
    assert isinstance(part_id, str)
    return part_id


def complete(edge: EdgeServer, upload_id: str, *part_ids: str, **more: Any) -> Answer:
    return edge.request("POST", f"/v1/uploads/{upload_id}/complete", {"part_ids": part_ids, **more}, beta=False)


def cancel(edge: EdgeServer, upload_id: str) -> Answer:
    return edge.request("POST", f"/v1/uploads/{upload_id}/cancel", beta=False)


# ---- what it is for


def test_the_sdk_uploads_a_large_file_in_parts(sdk: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "한글 data.csv"
    path.write_bytes(random.Random(1).randbytes(2_500_000))
    checksum = hashlib.md5(path.read_bytes()).hexdigest()
    upload = sdk.uploads.upload_file_chunked(
        file=path, mime_type="text/csv", purpose="assistants", part_size=1_000_000, md5=checksum
    )
    assert (upload.status, upload.bytes, upload.filename) == ("completed", 2_500_000, path.name)
    assert upload.file is not None
    assert sdk.files.retrieve(upload.file.id) == upload.file
    assert (upload.file.bytes, upload.file.filename, upload.file.purpose) == (2_500_000, path.name, "assistants")
    assert sdk.files.content(upload.file.id).read() == path.read_bytes()


def test_the_sdk_gives_each_step_its_object(sdk: openai.OpenAI) -> None:
    upload = sdk.uploads.create(
        filename="a.txt",
        purpose="user_data",
        bytes=6,
        mime_type="text/plain",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (upload.status, upload.file, upload.object) == ("pending", None, "upload")
    assert upload.expires_at == upload.created_at + 3600
    parts = [sdk.uploads.parts.create(upload.id, data=content) for content in (b"def", b"abc")]
    assert [part.upload_id for part in parts] == [upload.id, upload.id]
    done = sdk.uploads.complete(upload.id, part_ids=[parts[1].id, parts[0].id])
    assert done.file is not None
    assert sdk.files.content(done.file.id).read() == b"abcdef"
    assert done.file.expires_at == done.file.created_at + 3600
    other = sdk.uploads.create(filename="a.txt", purpose="vision", bytes=6, mime_type="text/plain")
    assert sdk.uploads.cancel(other.id).status == "cancelled"


def test_the_file_of_an_upload_is_used_like_any_other(edge: EdgeServer) -> None:
    upload_id = create(edge, 3).json["id"]
    file_id = complete(edge, upload_id, add(edge, upload_id, b"abc")).json["file"]["id"]
    body = {"model": "m", "tool_resources": {"code_interpreter": {"file_ids": [file_id]}}}
    assert edge.request("POST", "/v1/assistants", body).json["tool_resources"] == body["tool_resources"]
    assert file_id in [each["id"] for each in edge.request("GET", "/v1/files").json["data"]]


def test_an_upload_over_azure_hands_out_azures_ids(edge: EdgeServer) -> None:
    upload_id = create(edge, 3, f"/openai/uploads?{PREVIEW}").json["id"]
    part_id = edge.request("POST", f"/openai/uploads/{upload_id}/parts?{PREVIEW}", form(b"abc"), TYPE).json["id"]
    done = edge.request("POST", f"/openai/uploads/{upload_id}/complete?{PREVIEW}", {"part_ids": [part_id]}).json
    assert done["file"]["id"].startswith("assistant-")
    assert edge.request("GET", f"/v1/files/{done['file']['id']}/content").body == b"abc"


def test_the_objects_are_the_hosted_ones(timed: EdgeServer, clock: HandClock) -> None:
    pending = create(timed, 3).json
    assert pending == {
        "id": pending["id"],
        "object": "upload",
        "bytes": 3,
        "created_at": int(clock.now),
        "filename": "a.csv",
        "purpose": "assistants",
        "status": "pending",
        "expires_at": int(clock.now) + 3600,
        "file": None,
    }
    done = complete(timed, pending["id"], add(timed, pending["id"], b"abc")).json
    assert done == {**pending, "status": "completed", "file": done["file"]}
    assert done["file"] == timed.request("GET", f"/v1/files/{done['file']['id']}").json


# ---- what is refused


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"bytes": 0}, "bytes", "integer_below_min_value"),
        ({"bytes": 8 * 1024**3 + 1}, "bytes", "integer_above_max_value"),
        ({"bytes": "3"}, "bytes", "invalid_type"),
        ({"bytes": True}, "bytes", "invalid_type"),
        ({"purpose": "assistants_output"}, "purpose", "invalid_value"),
        ({"filename": ".."}, "filename", "invalid_value"),
        ({"filename": "x" * 300}, "filename", "string_above_max_length"),
        ({"mime_type": None}, "mime_type", "invalid_type"),
        ({"foo": 1}, "foo", "unknown_parameter"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds", "integer_below_min_value"),
        ({"expires_after": {"seconds": 3600}}, "expires_after.anchor", "missing_required_parameter"),
    ],
)
def test_an_upload_that_cannot_be_is_a_400(edge: EdgeServer, change: dict[str, Any], param: str, code: str) -> None:
    answer = create(edge, 3, **change) if "bytes" not in change else create(edge, **{"size": 3, **change})
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, param, code)


@pytest.mark.parametrize("missing", ["filename", "purpose", "bytes", "mime_type"])
def test_what_an_upload_needs_is_named(edge: EdgeServer, missing: str) -> None:
    body = {"filename": "a", "purpose": "vision", "bytes": 1, "mime_type": "text/plain"}
    answer = edge.request("POST", "/v1/uploads", {k: v for k, v in body.items() if k != missing})
    assert answer.error["message"] == f"Missing required parameter: '{missing}'."


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (form(b""), "data"),
        (form(b"abc", "file"), "file"),
        (form(b"abc").replace(b'; filename="upload"', b""), "data"),
        (form(b"abc").removesuffix(END) + b"\r\n" + form(b"def"), "data"),
        (b"--XX--\r\n", "data"),
        (form(b"abc")[:-10], None),
    ],
)
def test_a_bad_part_is_a_400_and_leaves_nothing(edge: EdgeServer, body: bytes, param: str | None) -> None:
    before, upload_id = edge.blobs(), create(edge, 3).json["id"]
    answer = edge.request("POST", f"/v1/uploads/{upload_id}/parts", body, TYPE, beta=False)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert sorted(edge.blobs()) == sorted(before)


def test_a_part_of_more_than_64_mb_is_a_400(edge: EdgeServer) -> None:
    before, upload_id = len(edge.blobs()), create(edge, 1).json["id"]
    head, tail = form(b"|").split(b"|")
    with socket.create_connection(("127.0.0.1", edge.port), timeout=30) as raw:
        raw.sendall(
            f"POST /v1/uploads/{upload_id}/parts HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            f"content-type: {TYPE['content-type']}\r\n"
            f"content-length: {len(head) + MAX_PART_BYTES + 1 + len(tail)}\r\n\r\n".encode()
            + head
        )
        with suppress(ConnectionError):  # refused before all of it is there
            for _ in range(64):
                raw.sendall(bytes(1024**2))
            raw.sendall(b"x" + tail)
        response = http.client.HTTPResponse(raw)
        response.begin()
        error = json.loads(response.read())["error"]
    assert (response.status, error["param"]) == (400, "data")
    assert error["message"] == "Invalid 'data': the part is too large. Expected at most 67108864 bytes (64 MB)."
    assert len(edge.blobs()) == before


def test_a_client_that_goes_away_leaves_nothing(edge: EdgeServer) -> None:
    before, upload_id = len(edge.blobs()), create(edge, 3).json["id"]
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as raw:
        raw.sendall(
            f"POST /v1/uploads/{upload_id}/parts HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000000\r\n"
            f"content-type: {TYPE['content-type']}\r\n\r\n".encode()
            + form(b"x" * 2_000_000).removesuffix(END)
        )
        wait_until(lambda: len(edge.blobs()) > before)
    wait_until(lambda: len(edge.blobs()) == before)


@pytest.mark.parametrize("end", ["completed", "cancelled", "expired", "swept"])
def test_part_of_an_upload_that_ends_meanwhile_is_a_400_and_leaves_no_bytes(
    timed: EdgeServer, clock: HandClock, end: str
) -> None:
    upload_id = create(timed, 3).json["id"]
    part_id = add(timed, upload_id, b"abc")
    body = form(b"def")
    with socket.create_connection(("127.0.0.1", timed.port), timeout=10) as raw:
        raw.sendall(
            f"POST /v1/uploads/{upload_id}/parts HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
            f"content-type: {TYPE['content-type']}\r\n\r\n".encode()
            + body.removesuffix(END)
        )
        wait_until(lambda: len(timed.blobs()) == 2)
        if end == "completed":
            assert complete(timed, upload_id, part_id).status == 200
        elif end == "cancelled":
            assert cancel(timed, upload_id).status == 200
        else:
            clock.now += 3600
            if end == "swept":
                timed.do(timed.services.uploads.expire())
        raw.sendall(END)
        response = http.client.HTTPResponse(raw)
        response.begin()
        error = json.loads(response.read())["error"]
    status = "expired" if end == "swept" else end
    expected = f"Upload '{upload_id}' has the status '{status}'. Expected 'pending'."
    assert (response.status, error["message"]) == (400, expected)
    kept = {"completed": 1, "cancelled": 0, "expired": 1, "swept": 0}  # the file's blob; the part that was there before
    assert len(timed.blobs()) == kept[end]


def test_parts_must_be_the_uploads_own_each_once_and_come_to_its_size(edge: EdgeServer) -> None:
    upload_id, other_id = create(edge, 6).json["id"], create(edge, 3).json["id"]
    first, second, foreign = add(edge, upload_id, b"abc"), add(edge, upload_id, b"def"), add(edge, other_id, b"ghi")
    for part_ids, param, words in (
        ((first, foreign), "part_ids[1]", f"'{foreign}' is no part of the upload '{upload_id}'"),
        ((first, "part_unknown"), "part_ids[1]", "'part_unknown' is no part"),
        ((first, first), "part_ids[1]", f"'{first}' is there twice"),
        ((first,), "part_ids", f"The parts have 3 bytes, but the upload '{upload_id}' was created for 6 bytes."),
        ((), "part_ids", "empty array"),
        (("\ud55c",), "part_ids[0]", "is no part"),
    ):
        answer = complete(edge, upload_id, *part_ids)
        assert (answer.status, answer.error["param"]) == (400, param)
        assert words in answer.error["message"]
    for body in ({}, {"part_ids": "x"}, {"part_ids": [1]}, {"part_ids": [first], "foo": 1}):
        assert edge.request("POST", f"/v1/uploads/{upload_id}/complete", body).status == 400
    assert complete(edge, upload_id, second, first).status == 200  # nothing of that has done any harm


def test_a_wrong_checksum_is_a_400_and_the_upload_can_be_completed_still(edge: EdgeServer) -> None:
    before, upload_id = len(edge.blobs()), create(edge, 3).json["id"]
    part_id = add(edge, upload_id, b"abc")
    refused = complete(edge, upload_id, part_id, md5="0" * 32)
    assert (refused.status, refused.error["param"]) == (400, "md5")
    assert len(edge.blobs()) == before + 1
    assert complete(edge, upload_id, part_id, md5=hashlib.md5(b"abc").hexdigest().upper()).status == 200


def test_an_upload_that_is_over_takes_nothing_any_more(edge: EdgeServer) -> None:
    before = len(edge.blobs())
    done, dropped = create(edge, 3).json["id"], create(edge, 3).json["id"]
    assert complete(edge, done, add(edge, done, b"abc")).status == 200
    add(edge, dropped, b"abc")
    assert cancel(edge, dropped).json["status"] == "cancelled"
    assert len(edge.blobs()) == before + 1  # the file's: no part is left
    for upload_id, status in ((done, "completed"), (dropped, "cancelled")):
        for answer in (
            edge.request("POST", f"/v1/uploads/{upload_id}/parts", form(b"abc"), TYPE),
            complete(edge, upload_id, "part_x"),
            cancel(edge, upload_id),
        ):
            message = f"Upload '{upload_id}' has the status '{status}'. Expected 'pending'."
            assert (answer.status, answer.error["message"]) == (400, message)
    assert len(edge.blobs()) == before + 1


def test_an_unknown_upload_is_a_404(edge: EdgeServer) -> None:
    for answer in (
        edge.request("POST", "/v1/uploads/upload_x/parts", form(b"abc"), TYPE),
        complete(edge, "upload_x", "part_x"),
        cancel(edge, "upload_x"),
    ):
        assert (answer.status, answer.error["message"]) == (404, "No such Upload object: upload_x")
    assert edge.request("GET", "/v1/uploads").status == 405
    assert edge.request("GET", "/v1/uploads/upload_x").status == 404


def test_an_upload_of_another_resource_looks_like_an_unknown_one(keyed: EdgeServer) -> None:
    ours = {"api-key": "sk-right-key-of-this-test"}
    _, key = keyed.do(keyed.keys.create("other", None))
    theirs = {"api-key": key}
    body = {"filename": "a.csv", "purpose": "assistants", "bytes": 3, "mime_type": "text/csv"}
    upload_id = keyed.request("POST", "/v1/uploads", body, ours).json["id"]
    part_id = keyed.request("POST", f"/v1/uploads/{upload_id}/parts", form(b"abc"), {**TYPE, **ours}).json["id"]
    mine = keyed.request("POST", "/v1/uploads", body, theirs).json["id"]
    for path, sent in (
        (f"{upload_id}/complete", {"part_ids": [part_id]}),
        (f"{upload_id}/cancel", None),
    ):
        answer = keyed.request("POST", f"/v1/uploads/{path}", sent, theirs)
        assert (answer.status, answer.error["message"]) == (404, f"No such Upload object: {upload_id}")
    foreign = keyed.request("POST", f"/v1/uploads/{upload_id}/parts", form(b"abc"), {**TYPE, **theirs})
    assert foreign.status == 404
    stolen = keyed.request("POST", f"/v1/uploads/{mine}/complete", {"part_ids": [part_id]}, theirs)
    assert "is no part of the upload" in stolen.error["message"]


# ---- time, and others at the same time


def test_an_upload_expires_after_an_hour_and_its_parts_are_dropped(timed: EdgeServer, clock: HandClock) -> None:
    upload_id = create(timed, 3).json["id"]
    part_id = add(timed, upload_id, b"abc")
    clock.now += 3600
    for answer in (
        timed.request("POST", f"/v1/uploads/{upload_id}/parts", form(b"abc"), TYPE),
        complete(timed, upload_id, part_id),
        cancel(timed, upload_id),
    ):
        assert (answer.status, "'expired'" in answer.error["message"]) == (400, True)
    assert len(timed.blobs()) == 1
    assert timed.do(timed.services.uploads.expire()) == (upload_id,)
    assert timed.blobs() == []
    assert timed.do(timed.services.uploads.expire()) == ()
    assert "'expired'" in cancel(timed, upload_id).error["message"]


def test_the_sweeper_keeps_the_parts_of_pending_uploads(timed: EdgeServer, clock: HandClock) -> None:
    assert timed.do(timed.blob_sweep.sweep()) == ()  # the place is this database's from now on
    assert len(timed.blobs()) == 1
    upload_id = create(timed, 3).json["id"]
    clock.now += 3590
    part_id = add(timed, upload_id, b"abc")
    assert timed.do(timed.blob_sweep.sweep()) == ()
    assert complete(timed, upload_id, part_id).status == 200
    clock.now += 4000
    assert timed.do(timed.blob_sweep.sweep()) == ()
    assert len(timed.blobs()) == 2


def test_an_upload_completed_twice_at_once_becomes_one_file(edge: EdgeServer) -> None:
    before = len(edge.blobs())
    content = random.Random(2).randbytes(4_000_000)
    upload_id = create(edge, len(content)).json["id"]
    with ThreadPoolExecutor(4) as pool:
        parts = list(
            pool.map(lambda at: add(edge, upload_id, content[at : at + 1_000_000]), range(0, 4_000_000, 10**6))
        )
        answers = list(pool.map(lambda _: complete(edge, upload_id, *parts), range(4)))
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400]
    (file_id,) = (answer.json["file"]["id"] for answer in answers if answer.status == 200)
    assert edge.request("GET", f"/v1/files/{file_id}/content").body == content
    wait_until(lambda: len(edge.blobs()) == before + 1)


@dataclass
class Progress:
    """What a client knows of its upload when the server dies."""

    upload_id: str = ""
    part_ids: list[str] = field(default_factory=list)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_kill_at_any_point_leaves_a_whole_file_or_an_upload_that_can_be_completed(tmp_path: Path) -> None:
    """Every commit and every blob is a point: each is tried until an upload passes none of them any more."""
    server = ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": "off"})
    point, died, whole = 0, True, 0
    while died:
        point += 1
        progress = Progress()
        died = _upload_until_it_dies(server, point, progress)
        whole += len(progress.part_ids) == 2
        server.start()
        try:
            _check_what_is_left(server, progress, files=whole)
        finally:
            server.stop()
    assert point > 6  # an upload, two parts with their blobs, a joined blob and its row


def _upload_until_it_dies(server: ServerProcess, point: int, progress: Progress) -> bool:
    """Upload in two parts on a server that dies at this point; whether it did."""
    with suppress(AssertionError):  # it died before it listened
        server.start(LOCUM_CRASH_AT=str(point))
        with suppress(openai.APIConnectionError), server.openai(max_retries=0) as client:
            progress.upload_id = client.uploads.create(
                filename="a.txt", bytes=6, mime_type="text/plain", purpose="assistants"
            ).id
            for content in (b"abc", b"def"):
                progress.part_ids.append(client.uploads.parts.create(progress.upload_id, data=content).id)
            client.uploads.complete(progress.upload_id, part_ids=progress.part_ids)
    if server.is_running:
        with suppress(subprocess.TimeoutExpired):
            server.wait_until_dead(1)
    if not server.is_running:
        return True
    server.stop()
    return False


def _check_what_is_left(server: ServerProcess, progress: Progress, *, files: int) -> None:
    with server.openai(max_retries=0) as client:
        if len(progress.part_ids) == 2:
            with suppress(openai.BadRequestError):  # it was completed just before
                client.uploads.complete(progress.upload_id, part_ids=progress.part_ids)
        every = client.files.list().data
        assert len(every) == files
        for file in every:
            assert client.files.content(file.id).read() == b"abcdef"
    blobs, database = server.data_dir / "blobs", server.data_dir / "locum.db"
    stored = {path.name for path in blobs.glob("??/*")}
    assert len(stored - _notes(database)) == files + _parts(database)


def _parts(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM upload_parts").fetchone()[0])


def _notes(database: Path) -> set[str]:
    """Return the keys that the sweep removes after their grace period."""
    with closing(sqlite3.connect(database)) as connection:
        return {key for (key,) in connection.execute("SELECT key FROM staged_blobs")}


@pytest.mark.long
def test_parts_and_files_may_live_in_postgresql_and_s3(postgres: PostgresServer, tmp_path: Path) -> None:
    content = random.Random(3).randbytes(20_000_000)
    with S3Server() as s3:
        env = {"LOCUM_DATABASE_URL": postgres.create(), "LOCUM_BLOB_URL": f"s3://{BUCKET}/x", "LOCUM_SANDBOX": "off"}
        with ServerProcess(tmp_path / "data", env={**s3.env, **env}) as server, server.azure() as client:
            upload = client.uploads.upload_file_chunked(
                file=content,
                filename="a.bin",
                bytes=len(content),
                mime_type="application/octet-stream",
                purpose="assistants",
                part_size=9_000_000,
            )
            assert upload.file is not None
            assert client.files.content(upload.file.id).read() == content
            expiring = client.files.create(
                file=("b.txt", b"b"), purpose="vision", expires_after={"anchor": "created_at", "seconds": 3600}
            )
            assert [file.id for file in client.files.list(purpose="vision")] == [expiring.id]
            dropped = client.uploads.create(filename="a", bytes=3, mime_type="text/plain", purpose="assistants")
            part = client.uploads.parts.create(dropped.id, data=b"abc")
            client.uploads.cancel(dropped.id)
            with pytest.raises(openai.BadRequestError, match="'cancelled'"):
                client.uploads.complete(dropped.id, part_ids=[part.id])
            kept = {f"x/{file_id.removeprefix('assistant-')}" for file_id in (upload.file.id, expiring.id)}
            assert s3.objects() == {"x/database-id", *kept}
        assert "could not be swept" not in server.output


def test_a_part_may_be_sent_by_any_http_client(edge: EdgeServer) -> None:
    upload_id = create(edge, 3).json["id"]
    url = f"{edge.base_url}/uploads/{upload_id}"
    part = httpx2.post(f"{url}/parts", files={"data": b"abc"}).json()["id"]
    assert httpx2.post(f"{url}/complete", json={"part_ids": [part]}).json()["status"] == "completed"


def test_finished_uploads_are_forgotten_a_day_after_their_hour(timed: EdgeServer, clock: HandClock) -> None:
    finished = [create(timed, 10).json["id"] for _ in range(3)]
    done = complete(timed, finished[0], add(timed, finished[0], b"0123456789")).json
    cancel(timed, finished[1])
    clock.now += 3600
    timed.do(timed.services.uploads.expire())
    clock.now += 24 * 3600 - 1
    pending = create(timed, 10).json["id"]
    assert timed.do(timed.services.uploads.forget()) == 0
    for upload_id in finished:
        assert cancel(timed, upload_id).status == 400
    clock.now += 1
    assert timed.do(timed.services.uploads.forget()) == 3
    for upload_id in finished:
        assert cancel(timed, upload_id).error["message"] == f"No such Upload object: {upload_id}"
    assert timed.request("GET", f"/v1/files/{done['file']['id']}").status == 200
    assert cancel(timed, pending).json["status"] == "cancelled"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_thousands_of_finished_uploads_are_forgotten_in_portions(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres").create() if database == "postgresql" else None
    upload = Upload(id="", created_at=1, expires_at=2, filename="a", purpose="vision", bytes=1, status="cancelled")
    finished = [replace(upload, id=f"upload_{number}") for number in range(1200)]
    with EdgeServer(tmp_path, database_url=url) as edge:
        edge.write(lambda conn: [store.insert(conn, "default", upload) for upload in finished])
        assert edge.write(lambda conn: store.delete_finished(conn, 2)) == 500
        assert edge.do(edge.services.uploads.forget()) == 700
