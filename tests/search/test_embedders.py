"""Embedders against a real server that is scripted, and a real ONNX model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from locum.errors import StartupError
from locum.ingestion.compute import ComputeProcess
from locum.models.chat import ModelError
from locum.search.embedders.local import LocalEmbedder
from locum.search.embedders.onnx import OnnxModel
from locum.search.embedders.remote import RemoteEmbedder
from tests.search.embedding_server import Cut, EmbeddingServer, Raw, Status, vector_of
from tests.search.model_directory import make_model


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as server:
        yield server


def embed(server: EmbeddingServer, texts: list[str], times: int = 1, **options: Any) -> np.ndarray[Any, Any]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def go() -> np.ndarray[Any, Any]:
        embedder = RemoteEmbedder(**{"base_url": server.base_url, "model": "m", "sleep": sleep, **options})
        try:
            for _ in range(times):
                rows = await embedder.embed(texts, kind="document")
            return rows
        finally:
            await embedder.close()

    rows = asyncio.run(go())
    server.slept = slept  # type: ignore[attr-defined]
    return rows


def expected(texts: list[str]) -> np.ndarray[Any, Any]:
    rows = np.array([vector_of(text) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


TEXTS = [f"text number {number}" for number in range(150)]


@pytest.mark.parametrize("in_base64", [True, False])
@pytest.mark.parametrize("reverses", [True, False])
def test_every_text_gets_its_vector_with_length_1(server: EmbeddingServer, in_base64: bool, reverses: bool) -> None:
    server.in_base64, server.reverses = in_base64, reverses
    rows = embed(server, TEXTS)
    assert rows.dtype == np.float32
    assert np.allclose(rows, expected(TEXTS), atol=1e-6)
    assert len(server.received) == 3


def test_the_key_goes_out_and_the_model_and_dimensions_are_asked_for(server: EmbeddingServer) -> None:
    embed(server, ["one"], api_key="sk-1", dimensions=256)
    (request,) = server.received
    assert request.headers["authorization"] == "Bearer sk-1"
    assert request.body == {"model": "m", "input": ["one"], "encoding_format": "base64", "dimensions": 256}


def test_a_server_that_does_not_know_base64_is_asked_for_it_once(server: EmbeddingServer) -> None:
    server.refuses = lambda body: Status(400, body={"error": "encoding_format?"}) if "encoding_format" in body else None
    rows = embed(server, ["one", "two"], times=3)
    assert np.allclose(rows, expected(["one", "two"]), atol=1e-6)
    assert ["encoding_format" in each.body for each in server.received] == [True, False, False, False]


def test_a_server_that_takes_few_texts_at_a_time_gets_few(server: EmbeddingServer) -> None:
    server.refuses = lambda body: (
        Status(422, body={"error": "batch size > maximum allowed batch size 32"}) if len(body["input"]) > 32 else None
    )
    assert np.allclose(embed(server, TEXTS, times=2), expected(TEXTS), atol=1e-6)
    assert max(len(each.body["input"]) for each in server.received[3:]) == 32


@pytest.mark.parametrize("trouble", [Status(429, {"Retry-After": "7"}), Status(503), Cut(), Cut(after_text="x")])
def test_passing_trouble_is_waited_out(server: EmbeddingServer, trouble: Any) -> None:
    server.trouble.append(trouble)
    assert np.allclose(embed(server, ["one"]), expected(["one"]), atol=1e-6)
    if isinstance(trouble, Status) and trouble.headers:
        assert server.slept == [7.0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("trouble", "kind", "words"),
    [
        (Status(401, body={"error": {"message": "bad key sk-1"}}), "misconfigured", "check LOCUM_EMBEDDING_API_KEY"),
        (Status(404), "misconfigured", "check LOCUM_EMBEDDING_BASE_URL and LOCUM_EMBEDDING_MODEL"),
        (Status(500), "unavailable", "answered 500"),
        (Status(429), "rate_limited", "answered 429"),
        (Raw(b"<html>", "text/html"), "unavailable", "no JSON"),
        (Status(200, body={"data": [{"index": 0, "embedding": [1, 2]}] * 2}), "misconfigured", "2 vectors for 1 texts"),
        (Status(200, body={"data": []}), "misconfigured", "0 vectors for 1 texts"),
        (Status(200, body={"object": "list"}), "misconfigured", "no list of vectors"),
        (Status(200, body=[1]), "misconfigured", "no list of vectors"),
        (Status(200, body={"data": [{"index": 0, "embedding": "###"}]}), "misconfigured", "no list of vectors"),
        (Status(200, body={"data": [{"index": 0, "embedding": []}]}), "misconfigured", "empty"),
        (Status(200, body={"data": [{"index": 0, "embedding": [None, 1]}]}), "misconfigured", "not made of numbers"),
    ],
)
def test_what_is_wrong_is_said_and_never_the_key(server: EmbeddingServer, trouble: Any, kind: str, words: str) -> None:
    server.trouble.extend([trouble] * 5)
    with structlog.testing.capture_logs() as logs, pytest.raises(ModelError) as raised:
        embed(server, ["one"], api_key="sk-1")
    assert raised.value.kind == kind
    assert words in raised.value.message
    assert "sk-1" not in raised.value.message + repr(logs)


def test_the_identity_is_the_model_and_not_its_address() -> None:
    def identity(**options: Any) -> str:
        return RemoteEmbedder(**{"base_url": "http://one/v1", "model": "m", **options}).identity

    assert identity() == identity(base_url="http://two/v1", api_key="k")
    assert len({identity(), identity(model="n"), identity(dimensions=256)}) == 3


def test_an_address_without_a_model_is_refused() -> None:
    with pytest.raises(StartupError, match="LOCUM_EMBEDDING_MODEL"):
        RemoteEmbedder(base_url="http://one/v1", model=None)


def test_a_model_of_a_directory_makes_vectors_of_length_1_whatever_the_batch(tmp_path: Path) -> None:
    model = OnnxModel(make_model(tmp_path / "m"))
    texts = ["apple", "pear the", "engine " * 200, "", "the motor"] * 9
    rows = model.embed(texts, "document")
    assert rows.shape == (45, 8)
    alone = np.concatenate([model.embed([text], "document") for text in texts])
    assert np.allclose(rows, alone, atol=1e-6)
    assert np.allclose(np.linalg.norm(rows, axis=1)[[0, 1, 2, 4]], 1)
    assert np.allclose(rows[3], 0)


def test_the_directory_says_how_a_text_is_read(tmp_path: Path) -> None:
    prompts = {"query": "query: ", "passage": ""}
    first = OnnxModel(make_model(tmp_path / "first", first_token=True, prompts=prompts))
    mean = OnnxModel(make_model(tmp_path / "mean"))
    (by_first,) = first.embed(["apple engine motor"], "document")
    (apple,) = mean.embed(["apple"], "document")
    assert np.allclose(by_first, apple)
    (query,) = first.embed(["apple"], "query")
    (prompt,) = mean.embed(["query:"], "document")
    assert np.allclose(query, prompt)


def test_a_local_model_is_asked_in_a_process_of_its_own(tmp_path: Path) -> None:
    directory = make_model(tmp_path / "model")

    async def go() -> None:
        compute = ComputeProcess()
        embedder = LocalEmbedder(directory, compute)
        try:
            rows = await embedder.embed(["apple", "engine"] * 40, kind="document")
            assert rows.shape == (80, 8)
            (query,) = await embedder.embed(["pear"], kind="query")
            assert query @ rows[0] > 0.9 > query @ rows[1]
            assert compute.pid is not None
            (directory / "model.onnx").write_bytes(b"broken")
            await compute.close()
            with pytest.raises(ModelError, match="cannot be used"):
                await embedder.embed(["apple"], kind="document")
        finally:
            await compute.close()

    asyncio.run(go())


def test_the_identity_of_a_local_model_is_its_content(tmp_path: Path) -> None:
    def identity(directory: Path) -> str:
        return LocalEmbedder(directory, ComputeProcess()).identity

    one, same = make_model(tmp_path / "a" / "m"), make_model(tmp_path / "b" / "m")
    assert identity(one) == identity(same)
    assert identity(make_model(tmp_path / "c" / "m", seed=2)) != identity(one)


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"has no model\.onnx"):
        LocalEmbedder(tmp_path, ComputeProcess())
