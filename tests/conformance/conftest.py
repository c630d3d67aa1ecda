"""One server for the suite, a scripted model behind it, and a transport that judges every answer."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import said
from tests.conformance.api import SURFACES, Api
from tests.conformance.wire import Wire
from tests.databases import PostgresServer
from tests.models.upstream import ScriptedUpstream
from tests.serving import ServerProcess


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=("sqlite", "postgresql"), default="sqlite", help="of the servers")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "behaviour(number): the behaviour of docs/conformance.md that a test checks")


@pytest.fixture(scope="session")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


class Servers:
    """Starts servers whose model is the scripted one; each is stopped at the end of the suite."""

    def __init__(
        self,
        config: pytest.Config,
        upstream: ScriptedUpstream,
        tmp: pytest.TempPathFactory,
        postgres: PostgresServer | None,
    ) -> None:
        self._selftest: Any = config.pluginmanager.get_plugin("conformance-selftest")
        self._upstream = upstream
        self._postgres = postgres
        self._tmp = tmp
        self._started: list[ServerProcess] = []

    def start(self, **env: str) -> ServerProcess:
        data_dir = self._tmp.mktemp("conformance") / "data"
        database = {"LOCUM_DATABASE_URL": self._postgres.create()} if self._postgres else {}
        server = ServerProcess(data_dir, env={"LOCUM_MODEL_BASE_URL": self._upstream.base_url, **database, **env})
        server.start()
        self._started.append(server)
        return server

    def endpoint(self, server: ServerProcess) -> str:
        """Where clients reach it: itself, or the proxy that falsifies its answers."""
        return self._selftest.in_front_of(server.azure_endpoint) if self._selftest else server.azure_endpoint

    def stop(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ServerProcess.stop, self._started))


@pytest.fixture(scope="session")
def servers(
    request: pytest.FixtureRequest, upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    is_postgresql = request.config.getoption("--database", "sqlite") == "postgresql"
    postgres = request.getfixturevalue("postgres") if is_postgresql else None
    servers = Servers(request.config, upstream, tmp_path_factory, postgres)
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def main_server(servers: Servers) -> ServerProcess:
    """The server of nearly all tests: its settings are the defaults."""
    return servers.start()


@pytest.fixture(scope="session")
def endpoint(servers: Servers, main_server: ServerProcess) -> str:
    """Its address."""
    return servers.endpoint(main_server)


@pytest.fixture(scope="session")
def hasty(servers: Servers) -> str:
    """A server whose runs expire after three seconds."""
    return servers.endpoint(servers.start(LOCUM_RUN_EXPIRY_SECONDS="3", LOCUM_SANDBOX="off"))


@pytest.fixture(scope="session")
def strict(servers: Servers) -> str:
    """A server that refuses what the hosted service refused."""
    return servers.endpoint(servers.start(LOCUM_STRICT="true", LOCUM_SANDBOX="off"))


@dataclass(frozen=True)
class Keyed:
    """A server that asks for keys."""

    endpoint: str
    server: ServerProcess

    def new_key(self, resource: str | None = None) -> str:
        """A key of this resource; without a name of one that has nothing yet."""
        name = resource or f"resource-{secrets.token_hex(4)}"
        data_dir = self.server.data_dir
        return said("keys", "create", "--resource", name, "--data-dir", str(data_dir), cwd=data_dir).strip()


@pytest.fixture(scope="session")
def keyed(servers: Servers) -> Keyed:
    server = servers.start(LOCUM_SANDBOX="off")
    return Keyed(servers.endpoint(server), server)


@pytest.fixture(scope="session")
def key(keyed: Keyed) -> str:
    """A key of that server."""
    return keyed.new_key("first")


@dataclass(frozen=True)
class Clocked:
    """A server whose clock can be put forward."""

    endpoint: str
    ahead: Path

    @contextmanager
    def later(self, seconds: int) -> Iterator[None]:
        self.ahead.write_text(str(seconds))
        try:
            yield
        finally:
            self.ahead.write_text("0")


@pytest.fixture(scope="session")
def clocked(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Clocked:
    ahead = tmp_path_factory.mktemp("clock") / "ahead"
    ahead.write_text("0")
    folder = str(Path(__file__).parent / "later")
    server = servers.start(LOCUM_SANDBOX="off", PYTHONPATH=folder, CLOCK_AHEAD_FILE=str(ahead))
    return Clocked(servers.endpoint(server), ahead)


@pytest.fixture(autouse=True)
def _fresh(wire: Wire, upstream: ScriptedUpstream) -> Iterator[None]:
    """What a test did not use up is not the next one's, and no run of it asks the model any more."""
    upstream.answer = None
    upstream.forget()
    upstream.requests.clear()
    wire.forget()
    yield
    wire.end_runs()


@pytest.fixture(params=SURFACES)
def api(
    request: pytest.FixtureRequest, endpoint: str, wire: Wire, upstream: ScriptedUpstream, _fresh: None
) -> Iterator[Api]:
    """The shared server, on both surfaces."""
    api = Api(endpoint, wire, upstream, request.param)
    yield api
    api.close()


@pytest.fixture
def on_openai(endpoint: str, wire: Wire, upstream: ScriptedUpstream, _fresh: None) -> Iterator[Api]:
    """The shared server on `/v1`, for behaviours of that surface or of none in particular."""
    api = Api(endpoint, wire, upstream, "openai")
    yield api
    api.close()


@pytest.fixture
def on_azure(endpoint: str, wire: Wire, upstream: ScriptedUpstream, _fresh: None) -> Iterator[Api]:
    """The shared server on `/openai?api-version=…`."""
    api = Api(endpoint, wire, upstream, "azure")
    yield api
    api.close()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test passes only if every answer it got was in order, also those it did not look at."""
    result = yield
    wire = pyfuncitem.funcargs.get("wire")
    if isinstance(wire, Wire):
        assert not wire.problems, "\n".join(["answers that break the contract:", *dict.fromkeys(wire.problems)])
    return result
