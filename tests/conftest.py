"""Fixtures every test may use: a real server, real clients."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.databases import PostgresServer, shared_postgres_server
from tests.serving import ServerProcess

LONGEST_FIRST = (
    "sandbox/test_daemon.py",
    "ingestion/test_worker.py",
    "engine/test_code_interpreter.py",
    "test_examples.py",
    "ingestion/test_parser.py",
    "cli/test_demo.py",
    "cli/test_doctor.py",
    "ingestion/test_supervisor.py",
    "api/test_fuzz.py",
    "cli/test_serve.py",
    "api/test_vector_stores.py",
    "sandbox/test_tiers.py",
    "engine/test_lifecycle.py",
    "sandbox/test_probe.py",
    "api/test_additions.py",
)
"""Files whose tests take longest. Workers take whole files: a long one at the end would keep a single worker busy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    ranks = {tests / name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


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
