"""Fixtures every test may use: a real server, real clients."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import openai
import pytest

from tests.databases import PostgresServer, shared_postgres_server
from tests.serving import ServerProcess


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of garbage collection: a pass over it takes an eighth of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres(testrun_uid: str) -> Iterator[PostgresServer]:
    """One PostgreSQL server for all tests of all workers; each makes databases of its own on it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how the server's package finds its folders
        with shared_postgres_server(testrun_uid) as server:
            yield server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A keyless server with the demo model, shared by all tests: they may not stop it."""
    with ServerProcess(tmp_path_factory.mktemp("server") / "data") as process:
        yield process


@pytest.fixture
def azure(server: ServerProcess) -> Iterator[openai.AzureOpenAI]:
    """The Azure client against the shared server."""
    with server.azure() as client:
        yield client


@pytest.fixture
def client(server: ServerProcess) -> Iterator[openai.OpenAI]:
    """The OpenAI client against the shared server."""
    with server.openai() as client:
        yield client
