"""Fixtures of the edge's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.api.edge import EdgeServer, HandClock
from tests.api.here import OWNER, Here


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    """A keyless server, shared by all tests of the edge."""
    with EdgeServer(tmp_path_factory.mktemp("edge")) as server:
        yield server


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    """A server that asks for the key `sk-right-key-of-this-test`."""
    with EdgeServer(tmp_path_factory.mktemp("keyed"), key="sk-right-key-of-this-test") as server:
        yield server


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def timed(tmp_path: Path, clock: HandClock) -> Iterator[EdgeServer]:
    """A keyless server that lives by `clock`."""
    with EdgeServer(tmp_path, clock=clock) as server:
        yield server


@pytest.fixture(scope="session")
def sdk(edge: EdgeServer) -> Iterator[openai.OpenAI]:
    """The unmodified OpenAI client."""
    with openai.OpenAI(base_url=edge.base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def azure_sdk(edge: EdgeServer) -> Iterator[openai.AzureOpenAI]:
    """The unmodified Azure client."""
    with openai.AzureOpenAI(
        azure_endpoint=edge.azure_endpoint, api_key="any", api_version="2024-05-01-preview", max_retries=0
    ) as client:
        yield client


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[EdgeServer, HandClock]]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres").create()
    clock = HandClock()
    with EdgeServer(tmp_path_factory.mktemp("stores"), key=OWNER, clock=clock, database_url=url) as server:
        yield server, clock


@pytest.fixture
def here(served: tuple[EdgeServer, HandClock]) -> Iterator[Here]:
    here = Here(*served)
    yield here
    here.ingest()  # what is left is not the next one's
    here.sdk.close()
