"""Fixtures every test may use: a real server, real clients."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import openai
import pytest

from tests.databases import PostgresServer, postgres_server
from tests.serving import ServerProcess


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for all tests; each makes databases of its own on it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how the server's package finds its folders
        with postgres_server() as server:
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
