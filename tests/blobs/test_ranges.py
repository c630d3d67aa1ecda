"""Parts of a file over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import openai
import pytest

from locum.api.files import byte_range
from tests.api.edge import Answer, EdgeServer

CONTENT = bytes(range(256)) * 4000
SIZE = len(CONTENT)
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    with EdgeServer(tmp_path_factory.mktemp("ranges")) as server:
        yield server


@pytest.fixture(scope="module")
def file_id(edge: EdgeServer) -> str:
    with openai.OpenAI(base_url=edge.base_url, api_key="any", max_retries=0) as sdk:
        return sdk.files.create(file=("data.csv", CONTENT), purpose="assistants").id


def get(edge: EdgeServer, file_id: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return edge.request("GET", f"/v1/files/{file_id}/content", headers=named)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, SIZE),
        ("bytes=1000-1999", 1000, 2000),
        (f"bytes=5-{SIZE * 9}", 5, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        (f"bytes=-{SIZE * 9}", 0, SIZE),
        ("BYTES= 7-8 ", 7, 9),
    ],
)
def test_a_range_is_a_206_of_that_part(edge: EdgeServer, file_id: str, asked: str, start: int, end: int) -> None:
    answer = get(edge, file_id, range=asked)
    assert answer.status == 206
    assert answer.body == CONTENT[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["content-type"] == "application/csv"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0", f"bytes={10**17}-"])
def test_a_range_beyond_the_end_is_a_416_that_says_the_size(edge: EdgeServer, file_id: str, asked: str) -> None:
    answer = get(edge, file_id, range=asked)
    assert answer.status == 416
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert answer.error["code"] == "invalid_range"
    assert str(SIZE) in answer.error["message"]


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-4",
        "bytes=0-1,5-6",
        "bytes=a-b",
        "bytes=1",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=٠-١".encode().decode("latin-1"),
        "items=0-1",
        "bytes=0x1-2",
        "bytes=" + "9" * 5000 + "-",
    ],
)
def test_a_range_that_says_nothing_clear_gives_the_whole_file(edge: EdgeServer, file_id: str, asked: str) -> None:
    answer = get(edge, file_id, range=asked)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert "content-range" not in answer.headers


def test_a_download_says_that_parts_may_be_asked_for_and_of_what(edge: EdgeServer, file_id: str) -> None:
    answer = get(edge, file_id)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == ETAG


@pytest.mark.parametrize(("held", "status"), [(ETAG, 206), ('"another"', 200), (f"W/{ETAG}", 200)])
def test_a_download_goes_on_only_from_a_part_of_the_same_file(
    edge: EdgeServer, file_id: str, held: str, status: int
) -> None:
    answer = get(edge, file_id, range="bytes=500-", if_range=held)
    assert answer.status == status
    assert answer.body == (CONTENT[500:] if status == 206 else CONTENT)


@pytest.mark.parametrize(
    ("held", "status"), [(ETAG, 304), (f'"x", W/{ETAG}', 304), ("*", 304), ('"x"', 200), ("", 200)]
)
def test_what_a_client_has_is_not_sent_again(edge: EdgeServer, file_id: str, held: str, status: int) -> None:
    answer = get(edge, file_id, if_none_match=held)
    assert answer.status == status
    assert answer.body == (b"" if status == 304 else CONTENT)
    assert answer.headers["etag"] == ETAG


@pytest.mark.parametrize("headers", [{"range": "bytes=0-1"}, {"if_none_match": "*"}])
def test_a_file_that_is_not_there_is_a_404_whatever_part_is_asked_for(
    edge: EdgeServer, headers: dict[str, str]
) -> None:
    assert get(edge, "file-unknown", **headers).status == 404


def test_no_part_of_an_empty_file_can_be_had() -> None:
    for header in ("bytes=0-", "bytes=0-0", "bytes=-5"):
        asked = byte_range(header, 0)
        assert asked is not None
        assert asked[0] >= asked[1]


def test_the_sdk_reads_a_part(edge: EdgeServer, file_id: str) -> None:
    with openai.OpenAI(base_url=edge.base_url, api_key="any", max_retries=0) as sdk:
        assert sdk.files.content(file_id, extra_headers={"range": "bytes=10-19"}).read() == CONTENT[10:20]
