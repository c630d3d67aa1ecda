"""The edge over real services, in a thread of the tests' process. Nothing moves the runs there: tests do."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
import uvicorn

from locum.access.keys import Keys
from locum.api.connections import RESPONSE_HEADERS
from locum.api.routes import build
from locum.blobs.disk import DiskBlobs
from locum.clock import Clock, system_clock
from locum.domain.events import Event
from locum.errors import Unavailable
from locum.sandbox.session import Status
from locum.services.blob_sweep import BlobSweep
from locum.services.catalog import Services
from locum.services.tracked_blobs import TrackedBlobs
from locum.signals.local import LocalSignals
from locum.store import runs as run_store
from locum.store.database import Database
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLite
from locum.streams.hub import Streams
from tests.api.words import WordSearch

T = TypeVar("T")

V2 = {"openai-beta": "assistants=v2"}


class Answer:
    """A response that has been read."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class HandClock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now


class EdgeServer:
    """Use as a context manager. `key` None makes it keyless, with the Host and Origin guard."""

    def __init__(
        self,
        directory: Path,
        *,
        key: str | None = None,
        strict: bool = False,
        origins: tuple[str, ...] = (),
        clock: Clock = system_clock,
        database_url: str | None = None,
        stores_per_object: int = 1,
    ) -> None:
        self._directory = directory
        self._key = key
        self._strict = strict
        self._origins = origins
        self._clock = clock
        self._database_url = database_url
        self._stores_per_object = stores_per_object
        self.wakes = 0
        """How often the ingestion worker has been told of files."""
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self.streams = Streams()
        self.signals = LocalSignals()
        self.is_ready = True
        self.port = 0

    def __enter__(self) -> EdgeServer:
        self._thread.start()
        assert self._started.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self.streams.end_all)
        self._server.should_exit = True
        self._thread.join(20)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def azure_endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, *, beta: bool = True
    ) -> Answer:
        """One request; a dict or list is sent as JSON. The beta header goes with it unless `beta` is False."""
        payload = body if isinstance(body, bytes | type(None)) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, payload, {**(V2 if beta else {}), **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def publish(self, run_id: str, *events: Event) -> None:
        """What the engine would do."""
        self._loop.call_soon_threadsafe(self.streams.publish, run_id, *events)

    def change_run(self, run_id: str, *, thread_id: str, **changes: Any) -> None:
        """Move a run, as the engine would."""

        async def write() -> None:
            def save(conn: Any) -> None:
                run = run_store.get(conn, "default", thread_id, run_id)
                run_store.save(conn, "default", msgspec.structs.replace(run, **changes))

            await self._db.write(save)
            self.signals.changed(run_id)

        self.do(write())

    def write(self, fn: Callable[[sa.Connection], T]) -> T:
        """Change rows, as the ingestion worker would."""
        return self.do(self._db.write(fn))

    def tell(self, object_id: str) -> None:
        """Say that it has changed."""
        self._loop.call_soon_threadsafe(self.signals.changed, object_id)

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        """What a service does when nobody asks for it over HTTP: `server.do(server.services.files.expire())`."""
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    def is_watched(self, object_id: str) -> bool:
        """Whether somebody waits for a change of it."""
        return object_id in self.signals._watchers

    def is_read(self, run_id: str) -> bool:
        return self.streams.is_read(run_id)

    def blobs(self) -> list[Path]:
        """Return everything that takes room and is not in the trash."""
        folder = self._directory / "blobs"
        return [path for path in folder.rglob("*") if path.is_file() and folder / "deleted" not in path.parents]

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        url = self._database_url
        db: Database = await Postgres.open(url) if url else SQLite(self._directory / "locum.db")
        self._db = db
        self.keys = keys = Keys(db, system_clock, keyless=self._key is None)
        await keys.apply_setting(self._key)
        self.services = self._services(db)
        app = build(
            self.services,
            authenticate=keys.authenticate,
            watch=keys.watch,
            guard_hosts=self._key is None,
            ready=self._check_ready,
            metrics=self._figures,
            strict=self._strict,
            origins=self._origins,
        )
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", lifespan="off", headers=RESPONSE_HEADERS)
        )
        serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:  # noqa: ASYNC110 - uvicorn tells it by this flag only
            await asyncio.sleep(0.01)
        self._started.set()
        await serving
        listener.close()
        await db.close()

    def _services(self, db: Database) -> Services:
        def wake() -> None:
            self.wakes += 1

        async def delete_session(resource: str, thread_id: str) -> None:
            pass

        async def names() -> list[str]:
            return ["demo", "team/model"]

        blobs = TrackedBlobs(db, DiskBlobs(self._directory / "blobs"), self._clock)
        self.blob_sweep = BlobSweep(db, blobs, self._clock)
        return Services.build(
            db=db,
            clock=self._clock,
            signals=self.signals,
            streams=self.streams,
            blobs=blobs,
            search=WordSearch(db, blobs, self._clock),
            owner="test",
            run_expiry_seconds=600,
            wake_ingestion=wake,
            delete_session=delete_session,
            model_names=names,
            stores_per_object=self._stores_per_object,
        )

    async def _figures(self) -> bytes:
        return b"locum_streams 0.0\n"

    def _check_ready(self) -> Status:
        if not self.is_ready:
            raise Unavailable("The worker that moves runs is not running.")
        return Status(tier="off", reason="there is none here", fix="make one")


def wait_until(condition: Any, seconds: float = 10) -> None:
    """Until it holds, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
