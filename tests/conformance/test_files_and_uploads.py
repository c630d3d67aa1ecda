"""Behaviours 128-137: files, and uploads in parts."""

from __future__ import annotations

import hashlib
import re
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from tests.conformance.api import Api
from tests.conformance.behaviours import behaviour
from tests.conformance.conftest import Clocked, Keyed, Servers
from tests.conformance.test_threads_and_messages import PNG
from tests.models.upstream import Call, Text

EVERY_BYTE = bytes(range(256)) * 5
MEGABYTE = 1024 * 1024


@behaviour(
    128, "An uploaded file is processed, has its size and name, and the id its surface gives: file- or assistant-"
)
def test_a_file_is_uploaded(api: Api) -> None:
    made = api.sdk.files.create(file=("data.csv", EVERY_BYTE), purpose="assistants")
    assert (made.object, made.filename, made.bytes, made.purpose) == ("file", "data.csv", 1280, "assistants")
    prefix = "assistant" if api.is_azure else "file"
    assert re.fullmatch(rf"{prefix}-[A-Za-z0-9]{{24}}", made.id)
    assert api.sdk.files.wait_for_processing(made.id, poll_interval=0.01, max_wait_seconds=10).status == "processed"
    assert api.sdk.files.retrieve(made.id).bytes == 1280


@behaviour(129, "A file's id, of whichever prefix, is understood on every surface")
@pytest.mark.parametrize("surface", ["openai", "azure", "azure_v1"])
def test_an_id_of_one_surface_is_understood_on_the_others(api: Api, surface: str) -> None:
    made = api.sdk.files.create(file=("a.txt", b"x"), purpose="assistants").id
    with api.speaking(surface=surface) as other:
        assert other.sdk.files.retrieve(made).id == made
        assert other.sdk.files.content(made).read() == b"x"
        assistant = other.assistant(tool_resources={"code_interpreter": {"file_ids": [made]}})
        assert other.get(f"/assistants/{assistant}")["tool_resources"]["code_interpreter"]["file_ids"] == [made]
        for prefix in ("file", "assistant"):
            error = other.refused("GET", f"/files/{prefix}-{'z' * 24}", status=404)
            assert error["message"] == f"No such File object: {prefix}-{'z' * 24}"


@behaviour(130, "A file needs its bytes and a known purpose; an empty file is no accident of the server's")
def test_a_file_has_bytes_and_a_purpose(api: Api) -> None:
    file = {"file": ("a.txt", b"x")}
    api.refused("POST", "/files", files=file, code="missing_required_parameter", param="purpose")
    api.refused(
        "POST", "/files", files={"purpose": (None, "assistants")}, code="missing_required_parameter", param="file"
    )
    api.refused("POST", "/files", files=file, data={"purpose": "foo"}, param="purpose")
    api.refused("POST", "/files", {"purpose": "assistants"})
    empty = api.call("POST", "/files", files={"file": ("empty.txt", b"")}, data={"purpose": "assistants"})
    assert empty.status_code in (200, 400)
    if empty.status_code == 200:
        assert empty.json()["bytes"] == 0
        assert api.sdk.files.content(empty.json()["id"]).read() == b""


@behaviour(131, "A file is downloaded byte for byte, a generated image as well")
def test_files_are_downloaded_as_they_were(api: Api, tmp_path: Path) -> None:
    made = api.sdk.files.create(file=("data.bin", EVERY_BYTE), purpose="assistants").id
    assert api.sdk.files.content(made).read() == EVERY_BYTE
    assert "attachment" in api.wire.exchanges[-1][1].headers["content-disposition"]
    code = "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.show()\nopen('/mnt/data/out.csv', 'w').write('a,b')"
    said = "Here: [out.csv](sandbox:/mnt/data/out.csv) 한국어"
    assistant = api.assistant(tools=[{"type": "code_interpreter"}])
    run = api.run(Call("code_interpreter", {"code": code}), Text(said), assistant=assistant)
    message = api.get(f"/threads/{run.thread_id}/messages")["data"][0]
    image, text = message["content"]
    assert (image["type"], text["type"], text["text"]["value"]) == ("image_file", "text", said)
    plot = image["image_file"]["file_id"]
    api.sdk.files.content(plot).write_to_file(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG\r\n")
    stored = api.sdk.files.retrieve(plot)
    assert (stored.purpose, stored.bytes) == ("assistants_output", (tmp_path / "plot.png").stat().st_size)
    (link,) = text["text"]["annotations"]
    assert (link["type"], link["text"]) == ("file_path", "sandbox:/mnt/data/out.csv")
    assert said[link["start_index"] : link["end_index"]] == link["text"]
    assert api.sdk.files.content(link["file_path"]["file_id"]).read() == b"a,b"
    assert message["attachments"] == [
        {"file_id": link["file_path"]["file_id"], "tools": [{"type": "code_interpreter"}]},
    ]


@behaviour(132, "Files are listed by purpose, in both orders and in pages; deleting answers object file, deleted true")
def test_files_are_listed_and_deleted(keyed: Keyed, on_openai: Api) -> None:
    key = keyed.new_key()  # there are no other files
    for surface in ("openai", "azure"):
        api = Api(keyed.endpoint, on_openai.wire, on_openai.upstream, surface, key=key)
        made = [api.sdk.files.create(file=(f"{n}.txt", b"x"), purpose="assistants").id for n in range(4)]
        seen = api.sdk.files.create(file=("a.png", PNG), purpose="vision").id
        assert [each.id for each in api.sdk.files.list()] == [seen, *made[::-1]]
        assert [each.id for each in api.sdk.files.list(purpose="vision")] == [seen]
        assert [each.id for each in api.sdk.files.list(purpose="assistants", order="asc", limit=3)] == made
        page = api.get("/files", after=made[3], limit=2)
        assert ([each["id"] for each in page["data"]], page["has_more"]) == (made[2:0:-1], True)
        api.refused("GET", "/files", params={"limit": "10001"}, param="limit")
        for each in [*made, seen]:
            answer = api.call("DELETE", f"/files/{each}").json()
            assert answer == {"id": each, "object": "file", "deleted": True}
            api.refused("GET", f"/files/{each}", status=404)
            api.refused("GET", f"/files/{each}/content", status=404)
            api.refused("DELETE", f"/files/{each}", status=404)
        assert api.get("/files")["data"] == []
        api.close()


@behaviour(133, "A file that is deleted leaves vector stores and code interpreter lists")
def test_a_deleted_file_is_nowhere(api: Api) -> None:
    gone, kept = (api.sdk.files.create(file=(f"{n}.txt", b"words"), purpose="assistants").id for n in range(2))
    both = {"code_interpreter": {"file_ids": [gone, kept]}}
    assistant, thread = api.assistant(tool_resources=both), api.post("/threads", {"tool_resources": both})["id"]
    store = api.sdk.vector_stores.create(file_ids=[gone, kept]).id
    api.sdk.files.delete(gone)
    for path in (f"/assistants/{assistant}", f"/threads/{thread}"):
        assert api.get(path)["tool_resources"] == {"code_interpreter": {"file_ids": [kept]}}
    assert [each["id"] for each in api.get(f"/vector_stores/{store}/files")["data"]] == [kept]
    assert api.get(f"/vector_stores/{store}")["file_counts"]["total"] == 1
    api.refused("GET", f"/vector_stores/{store}/files/{gone}", status=404)


def status_of(endpoint: str, head: str, body: Iterator[bytes]) -> int:
    """The status of a request whose body is sent only as long as the server has not answered."""
    address = urlsplit(endpoint)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head.encode())
        answer = b""
        for block in body:
            view = memoryview(block)
            while view and not answer:
                readable, writable, _ = select.select([connection], [connection], [], 30)
                if readable:
                    answer = connection.recv(65536)
                elif writable:
                    view = view[connection.send(view) :]
                else:
                    raise TimeoutError("the server neither reads nor answers")
            if answer:
                break
        while b"\r\n" not in answer:
            answer += connection.recv(65536)
    return int(answer.split(b" ")[1])


@behaviour(
    134, "A file of more than 512 MB is refused without being taken in; names of any script are kept, paths are not"
)
def test_files_have_a_largest_size_and_safe_names(on_openai: Api, servers: Servers) -> None:
    server = servers.start(LOCUM_SANDBOX="off")  # of its own, as its memory is looked at
    head = '--x\r\ncontent-disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    tail = '\r\n--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--x--\r\n'
    length = len(head) + 513 * MEGABYTE + len(tail)

    def body() -> Iterator[bytes]:
        yield head.encode()
        yield from (b"\0" * MEGABYTE for _ in range(513))
        yield tail.encode()

    request = (
        f"POST /v1/files HTTP/1.1\r\nhost: {urlsplit(server.azure_endpoint).netloc}\r\nauthorization: Bearer any\r\n"
        f"content-type: multipart/form-data; boundary=x\r\ncontent-length: {length}\r\n\r\n"
    )
    assert status_of(server.azure_endpoint, request, body()) in (400, 413)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    assert peak is not None
    assert int(peak[1]) < 400 * 1024
    for name in ("with spaces.txt", "한국어 파일 😀.csv", "a;b=c.txt"):
        assert on_openai.sdk.files.create(file=(name, b"x"), purpose="assistants").filename == name
    for name in ("../../etc/passwd", "/etc/passwd", "..", "a/../b.txt", "C:\\x.txt"):
        answer = on_openai.call("POST", "/files", files={"file": (name, b"x")}, data={"purpose": "assistants"})
        assert answer.status_code in (200, 400)
        assert answer.status_code == 400 or not set("/\\") & set(answer.json()["filename"])


def upload(api: Api, size: int, **options: Any) -> str:
    body = {"filename": "big.txt", "purpose": "assistants", "bytes": size, "mime_type": "text/plain", **options}
    made = api.post("/uploads", body)
    assert (made["status"], made["bytes"], made["filename"], made["file"]) == ("pending", size, "big.txt", None)
    assert made["expires_at"] == made["created_at"] + 3600
    return str(made["id"])


def part(api: Api, upload_id: str, content: bytes) -> str:
    return str(api.post(f"/uploads/{upload_id}/parts", files={"data": ("part", content)})["id"])


@behaviour(
    135, "An upload is put together in the order of its part_ids; its bytes must agree; it expires after an hour"
)
@pytest.mark.parametrize("surface", ["openai", "azure"])
def test_a_file_is_uploaded_in_parts(on_openai: Api, clocked: Clocked, surface: str) -> None:
    api = Api(clocked.endpoint, on_openai.wire, on_openai.upstream, surface)
    made = upload(api, 6)
    second, first = part(api, made, b"def"), part(api, made, b"abc")
    body = {"part_ids": [first, second], "md5": hashlib.md5(b"abcdef").hexdigest()}
    done = api.post(f"/uploads/{made}/complete", body)
    assert (done["status"], done["file"]["bytes"], done["file"]["filename"]) == ("completed", 6, "big.txt")
    assert api.sdk.files.content(done["file"]["id"]).read() == b"abcdef"
    api.refused("POST", f"/uploads/{made}/parts", files={"data": ("part", b"x")})
    api.refused("POST", f"/uploads/{made}/complete", {"part_ids": [first]})
    short = upload(api, 7)
    api.refused("POST", f"/uploads/{short}/complete", {"part_ids": [part(api, short, b"abc")]})
    wrong = upload(api, 3)
    api.refused("POST", f"/uploads/{wrong}/complete", {"part_ids": [part(api, wrong, b"abc")], "md5": "0" * 32})
    other = upload(api, 3)
    api.refused("POST", f"/uploads/{other}/complete", {"part_ids": [first]})
    assert api.post(f"/uploads/{other}/cancel")["status"] == "cancelled"
    api.refused("POST", f"/uploads/{other}/cancel")
    api.refused("POST", f"/uploads/{other}/parts", files={"data": ("part", b"x")})
    for path in ("/complete", "/cancel"):
        api.refused(
            "POST",
            f"/uploads/upload_{'z' * 24}{path}",
            {"part_ids": [first]} if path == "/complete" else None,
            status=404,
        )
    large = upload(api, 65 * MEGABYTE)
    too_much = api.call("POST", f"/uploads/{large}/parts", files={"data": ("part", b"\0" * (64 * MEGABYTE + 1))})
    assert too_much.status_code in (400, 413)
    late = upload(api, 3)
    kept = part(api, late, b"abc")
    with clocked.later(3700):
        api.refused("POST", f"/uploads/{late}/complete", {"part_ids": [kept]})
        assert api.sdk.files.content(done["file"]["id"]).read() == b"abcdef"
    api.close()


@behaviour(136, "A file with expires_after is gone when it has expired; an hour at least, thirty days at most")
def test_files_expire(on_openai: Api, clocked: Clocked) -> None:
    api = Api(clocked.endpoint, on_openai.wire, on_openai.upstream)
    file = {"file": ("a.txt", b"x")}
    for seconds in ("3599", "2592001", "soon"):
        fields = {"purpose": "assistants", "expires_after[anchor]": "created_at", "expires_after[seconds]": seconds}
        api.refused("POST", "/files", files=file, data=fields)
    made = api.sdk.files.create(
        file=("a.txt", b"x"), purpose="assistants", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == made.created_at + 3600
    lasting = api.sdk.files.create(file=("b.txt", b"x"), purpose="assistants").id
    assert api.sdk.files.content(made.id).read() == b"x"
    with clocked.later(3700):
        api.refused("GET", f"/files/{made.id}", status=404)
        api.refused("GET", f"/files/{made.id}/content", status=404)
        listed = [each.id for each in api.sdk.files.list()]
        assert lasting in listed
        assert made.id not in listed
    api.close()


@behaviour(137, "Strict: on OpenAI's surface files of purpose assistants are not downloaded; on Azure's they are")
def test_strict_openai_does_not_hand_out_uploaded_files(strict: str, on_openai: Api) -> None:
    api = Api(strict, on_openai.wire, on_openai.upstream)
    made = api.sdk.files.create(file=("a.txt", b"x"), purpose="assistants").id
    with pytest.raises(openai.BadRequestError) as refused:
        api.sdk.files.content(made)
    assert refused.value.body is not None
    error = api.refused("GET", f"/files/{made}/content")
    assert error["message"] == "Not allowed to download files of purpose: assistants"
    with api.speaking(surface="azure") as azure:
        assert azure.sdk.files.content(made).read() == b"x"
    assert (
        on_openai.sdk.files.content(on_openai.sdk.files.create(file=("a", b"y"), purpose="assistants").id).read()
        == b"y"
    )
    api.close()
