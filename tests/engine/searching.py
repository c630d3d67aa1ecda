"""A whole server in the tests' process whose file search finds words in texts that tests give it."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import openai
import uvicorn
from msgspec.structs import replace
from sqlalchemy import Connection

from locum import ids
from locum.access.keys import Keys
from locum.api.routes import build
from locum.blobs.disk import DiskBlobs
from locum.clock import system_clock
from locum.demo_model import DemoModel
from locum.domain.search import Passage, Query
from locum.domain.tools import FileSearchResources, ToolResources
from locum.domain.vector_stores import VectorStore
from locum.engine.worker import Worker
from locum.metrics import Metrics
from locum.models.chat import ToolCalling
from locum.models.routes import Routes
from locum.sandbox.client import Sandbox
from locum.services.catalog import Services
from locum.services.tracked_blobs import TrackedBlobs
from locum.signals.local import LocalSignals
from locum.store import assistants as assistant_store
from locum.store import threads as thread_store
from locum.store import vector_stores as vector_store_store
from locum.store.database import Database
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLite
from locum.streams.hub import Streams
from locum.tools.code_interpreter import CodeInterpreterTool
from locum.tools.file_search import FileSearchTool
from locum.tools.hosted import HostedTools
from tests.serving import http_client

T = TypeVar("T")

_WORD = re.compile(r"\w+")


class WordSearch:
    """Finds the passages (paragraphs) that share words with a query; the score is the share of the query's words.

    A search stands still while the store it is made in is held; so does the wait for a store that is being read.
    """

    def __init__(self) -> None:
        self._files: dict[str, list[tuple[str, str, str]]] = {}
        self._reading: dict[str, asyncio.Event] = {}
        self._held: dict[str, asyncio.Event] = {}
        self.searches: list[Query] = []
        self.waits: list[tuple[str, float]] = []

    def put(self, store_id: str, files: dict[str, str]) -> dict[str, str]:
        """Add texts to a store: name -> file id."""
        made = {name: ids.new("file-") for name in files}
        self._files.setdefault(store_id, []).extend((made[name], name, text) for name, text in files.items())
        return made

    def begin_reading(self, store_id: str) -> None:
        self._reading[store_id] = asyncio.Event()

    def end_reading(self, store_id: str) -> None:
        self._reading[store_id].set()

    def hold(self, store_id: str) -> None:
        self._held[store_id] = asyncio.Event()

    def release(self, store_id: str) -> None:
        self._held[store_id].set()

    async def search(self, resource: str, store_ids: Sequence[str], query: Query) -> tuple[Passage, ...]:
        self.searches.append(query)
        for store_id in store_ids:
            if store_id in self._held:
                await self._held[store_id].wait()
        found = [passage for store_id in store_ids for passage in self._passages(store_id, query)]
        found.sort(key=lambda passage: -passage.score)
        return tuple(found[: query.limit])

    async def text(self, document: str) -> str | None:
        return None

    async def wait_until_ingested(self, resource: str, store_id: str, *, timeout: float) -> bool:  # noqa: ASYNC109
        self.waits.append((store_id, timeout))
        if store_id in self._reading:
            await self._reading[store_id].wait()
        return True

    def _passages(self, store_id: str, query: Query) -> Iterable[Passage]:
        for file_id, name, text in self._files.get(store_id, ()):
            for paragraph in re.finditer(r"[^\n]+(?:\n[^\n]+)*", text):
                words = set(_WORD.findall(paragraph[0].lower()))
                wanted = [set(_WORD.findall(each.lower())) for each in query.texts]
                score = max(len(each & words) / len(each) for each in wanted)
                if score > 0 and score >= query.score_threshold:
                    yield Passage(
                        vector_store_id=store_id,
                        file_id=file_id,
                        filename=name,
                        score=score,
                        text=paragraph[0],
                        quote=paragraph[0].split("\n")[0],
                        start=paragraph.start(),
                        end=paragraph.end(),
                    )


def _nothing() -> None:
    """Nobody ingests files here: texts are put into the search itself."""


class SearchingServer:
    """Use as a context manager; a second one on the same folder, or database, goes on where the first has stopped.

    The model is the one at `model_base_url`, without it the demo model. There is no sandbox.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model_base_url: str | None = None,
        tool_calling: ToolCalling = "native",
        database_url: str | None = None,
        search: WordSearch,
    ) -> None:
        self._folder = folder
        self._model_base_url = model_base_url
        self._tool_calling = tool_calling
        self._database_url = database_url
        self.search = search
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self.base_url = ""

    def __enter__(self) -> SearchingServer:
        self._thread.start()
        assert self._started.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._let_go)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _let_go(self) -> None:
        self._signals.stop()
        self._streams.end_all()
        self._server.should_exit = True

    @property
    def azure_endpoint(self) -> str:
        return self.base_url.removesuffix("/v1")

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    def openai(self, **options: Any) -> openai.OpenAI:
        defaults = {"base_url": self.base_url, "api_key": "any", "max_retries": 0, "http_client": http_client()}
        return openai.OpenAI(**{**defaults, **options})

    def azure(self, api_version: str = "2024-05-01-preview") -> openai.AzureOpenAI:
        return openai.AzureOpenAI(
            azure_endpoint=self.azure_endpoint,
            api_key="any",
            api_version=api_version,
            max_retries=0,
            http_client=http_client(),
        )

    # ---- what callers do through the API of vector stores

    def add_store(self, files: dict[str, str], **changes: Any) -> tuple[str, dict[str, str]]:
        """A vector store with these texts: its id, and name -> file id."""
        now = int(system_clock())
        store = replace(VectorStore(id=ids.new("vs_"), created_at=now, last_active_at=now), **changes)
        self._write(lambda conn: vector_store_store.insert(conn, "default", store))
        return store.id, self.search.put(store.id, files)

    def delete_store(self, store_id: str) -> None:
        self._write(lambda conn: vector_store_store.delete(conn, "default", store_id))

    def link(self, object_id: str, store_id: str) -> None:
        """Let an assistant or a thread have the store."""
        of: Any = assistant_store if object_id.startswith("asst") else thread_store
        resources = ToolResources(file_search=FileSearchResources(vector_store_ids=(store_id,)))

        def change(conn: Connection) -> None:
            owner = of.get(conn, "default", object_id, for_update=True)
            of.save(conn, "default", replace(owner, tool_resources=resources))

        self._write(change)

    def _write(self, fn: Any) -> None:
        self.do(self._db.write(fn))

    # ---- composition

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._db: Database = (
            await Postgres.open(self._database_url) if self._database_url else SQLite(self._folder / "locum.db")
        )
        self._signals, self._streams = LocalSignals(), Streams()
        keys = Keys(self._db, system_clock, keyless=True)
        routes, blobs = (
            Routes(demo=DemoModel(), base_url=self._model_base_url, tool_calling=self._tool_calling),
            TrackedBlobs(self._db, DiskBlobs(self._folder / "blobs"), system_clock),
        )
        sandbox = Sandbox(self._folder / "sandbox", mode="off")
        tools = HostedTools(
            code_interpreter=CodeInterpreterTool(sandbox, blobs, system_clock, ready=sandbox.start),
            file_search=FileSearchTool(self.search, system_clock),
        )
        shared = (self._db, system_clock, self._signals, self._streams)
        worker = Worker(*shared, routes, tools, blobs, owner="node_test", slots=8)
        app = build(
            self._services(blobs, routes),
            authenticate=keys.authenticate,
            watch=keys.watch,
            guard_hosts=True,
            ready=lambda: sandbox.status,
            metrics=Metrics(self._db, self._streams, lambda: sandbox.status, sandbox.stats, {}, keys.rejections),
            strict=False,
            origins=(),
        )
        listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        worker.start()
        serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:  # noqa: ASYNC110 - uvicorn tells it by this flag only
            await asyncio.sleep(0.01)
        self._started.set()
        await serving
        await worker.stop()
        await routes.close()
        await sandbox.close()
        listener.close()
        await self._db.close()

    def _services(self, blobs: TrackedBlobs, routes: Routes) -> Services:
        async def delete_session(resource: str, thread_id: str) -> None:
            pass

        return Services.build(
            db=self._db,
            clock=system_clock,
            signals=self._signals,
            streams=self._streams,
            blobs=blobs,
            search=self.search,
            owner="node_test",
            run_expiry_seconds=60,
            wake_ingestion=_nothing,
            delete_session=delete_session,
            model_names=routes.names,
        )
