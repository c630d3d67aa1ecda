"""The composition root: settings to adapters to services, engine and edge; only here are concrete adapters named."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from starlette.types import ASGIApp

from locum import ids
from locum.access.keys import Keys
from locum.admin.desk import Desk
from locum.admin.server import admin_socket
from locum.api.routes import build
from locum.blobs.open import open_blobs
from locum.clock import Clock, system_clock
from locum.engine.worker import Worker
from locum.errors import StartupError, Unavailable
from locum.file_search import file_search, open_rewriter
from locum.metrics import Metrics
from locum.models.routes import MappedModel, Routes
from locum.sandbox.client import Sandbox
from locum.sandbox.limits import Limits
from locum.sandbox.session import Status
from locum.services.assistants import Assistants
from locum.services.catalog import Services
from locum.services.file_batches import FileBatches
from locum.services.files import Files
from locum.services.messages import Messages
from locum.services.models import Models
from locum.services.queue import ThreadQueue
from locum.services.runs import Runs
from locum.services.steps import Steps
from locum.services.threads import Threads
from locum.services.uploads import Uploads
from locum.services.vector_store_files import VectorStoreFiles
from locum.services.vector_stores import VectorStores
from locum.settings import Settings
from locum.signals.local import LocalSignals
from locum.store import runs as run_store
from locum.store import usage as usage_store
from locum.store.data_dir import lock_data_dir
from locum.store.database import Database
from locum.store.sqlite import SQLite
from locum.streams.hub import Streams
from locum.tools.code_interpreter import CodeInterpreterTool
from locum.tools.file_search import FileSearchTool
from locum.tools.hosted import HostedTools

log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 3600.0
_LEAST_FREE_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that is running, but for its listening socket."""

    app: ASGIApp
    is_keyless: bool
    model_route: str
    file_search: str
    """How files are searched, in words."""
    sandbox_status: Callable[[], Awaitable[Status]]
    let_go: Callable[[], None]
    """End what clients wait for: streams and held requests."""


@asynccontextmanager
async def running(
    settings: Settings, clock: Clock = system_clock, *, keep_sessions: bool = False
) -> AsyncIterator[Server]:
    """Start everything a server needs and stop it at the end; StartupError says what keeps it from starting.

    keep_sessions: the code interpreter's live on for a while, for the next server.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(lock_data_dir(settings.data_dir))
        db = await _open_database(settings, stack)
        keys = Keys(db, clock, keyless=settings.api_key is None)
        await keys.apply_setting(settings.api_key)
        if keys.is_keyless and not is_loopback(settings.host):
            raise StartupError(
                f"Listening on {settings.host} needs a key: set LOCUM_API_KEY, or make one with `locum keys create` "
                "(without a key, only 127.0.0.1 is served)."
            )
        if keys.is_keyless and "*" in settings.origins:
            raise StartupError(
                "LOCUM_CORS_ORIGINS=* needs a key: without one, every web page could use this server. Name the "
                "origins, or set LOCUM_API_KEY, or make a key with `locum keys create`."
            )
        blobs = open_blobs(settings.blob_url, settings.data_dir)
        stack.push_async_callback(blobs.close)
        signals, streams = _open_signals(settings, stack), Streams()
        owner = _node_name(settings.data_dir)
        # This process holds the lock on the data directory: what an earlier one was at work on is free.
        await db.write(lambda conn: run_store.release_all(conn, owner))

        routes = routes_of(settings)
        stack.push_async_callback(routes.close)
        sandbox = Sandbox(
            settings.data_dir / "sandbox",
            mode=settings.sandbox,
            accepts_weak=keys.is_keyless,  # only this machine gets in then
            limits=Limits(
                idle_seconds=settings.sandbox_session_seconds,
                cell_seconds=settings.sandbox_cell_seconds,
                memory_bytes=settings.sandbox_memory_bytes,
                disk_bytes=settings.sandbox_disk_bytes,
                processes=settings.sandbox_processes,
                cpus=settings.sandbox_cpus,
                max_sessions=settings.sandbox_max_sessions,
            ),
            python=settings.sandbox_python,
        )
        stack.push_async_callback(sandbox.hang_up if keep_sessions else sandbox.close)
        # The zygote warms up behind the open port.
        sandbox_start = asyncio.create_task(sandbox.start(), name="sandbox")
        stack.callback(sandbox_start.cancel)

        async def forget_session(resource: str, thread_id: str) -> None:
            if usage := await sandbox.usage(thread_id):  # its last cell may still run, and nobody waits for that
                await db.write(lambda conn: usage_store.record(conn, resource, thread_id, usage))
            await sandbox.delete(thread_id)

        search = await stack.enter_async_context(
            file_search(settings, db, clock, signals, owner=owner, keyless=keys.is_keyless)
        )
        queue, wake = ThreadQueue(signals), search.wake
        services = Services(
            assistants=Assistants(db, clock, wake),
            threads=Threads(db, clock, signals, streams, forget_session, wake),
            messages=Messages(db, clock, queue, wake),
            runs=Runs(
                db,
                clock,
                signals,
                streams,
                owner=owner,
                expiry_seconds=settings.run_expiry_seconds,
                queue=queue,
                wake_pipeline=wake,
            ),
            steps=Steps(db),
            files=Files(db, blobs, clock),
            uploads=Uploads(db, blobs, clock),
            vector_stores=VectorStores(
                db,
                clock,
                signals,
                search,
                wake,
                rewriter=open_rewriter(settings, routes),
                per_object=settings.vector_stores_per_object,
            ),
            vector_store_files=VectorStoreFiles(db, clock, signals, search, wake),
            file_batches=FileBatches(db, clock, signals, wake),
            models=Models(routes.names),
        )
        worker = Worker(
            db,
            clock,
            signals,
            streams,
            routes,
            HostedTools(
                code_interpreter=CodeInterpreterTool(
                    sandbox, blobs, clock, ready=lambda: asyncio.shield(sandbox_start)
                ),
                file_search=FileSearchTool(search, clock),
            ),
            blobs,
            owner=owner,
            slots=settings.run_slots,
        )
        worker.start()
        stack.push_async_callback(worker.stop)
        if keep_sessions:
            stack.callback(sandbox.leave)  # before the worker stops: its cells go on
        sweeping = _sweep_forever(services.files, services.uploads, clock, shared=settings.blob_url is not None)
        sweep = asyncio.create_task(sweeping, name="blob sweep")
        stack.callback(sweep.cancel)

        await stack.enter_async_context(admin_socket(settings.data_dir, Desk(db, keys, routes)))

        def let_go() -> None:
            signals.stop()
            streams.end_all()

        def sandbox_now() -> Status:
            return sandbox.status if sandbox_start.done() else Status(tier="off", reason="it is still starting")

        def ready() -> Status:
            if not worker.is_healthy:
                raise Unavailable("The worker that moves runs is not running.")
            if not search.is_healthy:
                raise Unavailable("The process that ingests files is not running.")
            if shutil.disk_usage(settings.data_dir).free < _LEAST_FREE_BYTES:
                raise Unavailable(f"There is almost no room left on the disk of {settings.data_dir}.")
            return sandbox_now()

        yield Server(
            app=build(
                services,
                authenticate=keys.authenticate,
                guard_hosts=keys.is_keyless,
                ready=ready,
                metrics=Metrics(db, streams, sandbox_now, sandbox.tally, search.outcomes),
                strict=settings.strict,
                origins=settings.origins,
            ),
            is_keyless=keys.is_keyless,
            model_route=routes.describe(),
            file_search=search.description,
            sandbox_status=lambda: asyncio.shield(sandbox_start),
            let_go=let_go,
        )


@asynccontextmanager
async def front_desk(settings: Settings, clock: Clock = system_clock) -> AsyncIterator[Desk]:
    """Who answers commands while no server runs; the caller holds the data directory."""
    async with AsyncExitStack() as stack:
        db = await _open_database(settings, stack)
        routes = routes_of(settings)
        stack.push_async_callback(routes.close)
        yield Desk(db, Keys(db, clock, keyless=False), routes)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


async def _open_database(settings: Settings, stack: AsyncExitStack) -> Database:
    if settings.database_url is not None:
        try:
            from locum.store.postgres import Postgres
        except ImportError:
            raise StartupError("LOCUM_DATABASE_URL needs PostgreSQL's client: pip install 'locum[postgres]'.") from None
        postgres = await Postgres.open(settings.database_url)
        stack.push_async_callback(postgres.close)
        return postgres
    db = SQLite(settings.data_dir / "locum.db")
    stack.push_async_callback(db.close)
    return db


def _node_name(data_dir: Path) -> str:
    """This server's name as a worker, the same after a restart."""
    file, draft = data_dir / "node", data_dir / "node.new"
    if not file.exists():
        draft.write_text(ids.new("node_"))
        draft.replace(file)
    return file.read_text()


def _open_signals(settings: Settings, stack: AsyncExitStack) -> LocalSignals:
    if settings.database_url is None:
        return LocalSignals()
    from locum.signals.postgres import PostgresSignals

    signals = PostgresSignals(settings.database_url)
    signals.start()
    stack.push_async_callback(signals.close)
    return signals


def routes_of(settings: Settings) -> Routes:
    return Routes(
        base_url=settings.model_base_url,
        api_key=settings.model_api_key,
        default_model=settings.model,
        context_window=settings.model_context_window,
        max_output_tokens=settings.model_max_output_tokens,
        tool_calling=settings.model_tool_calling,
        max_tokens_parameter=settings.model_max_tokens_parameter,
        mapped={
            name: MappedModel(
                base_url=table.base_url,
                model=table.model,
                api_key=os.environ.get(table.api_key_env) if table.api_key_env else None,
                context_window=table.context_window,
                max_output_tokens=table.max_output_tokens,
                tool_calling=table.tool_calling,
                max_tokens_parameter=table.max_tokens_parameter,
            )
            for name, table in settings.models.items()
        },
    )


async def _sweep_forever(files: Files, uploads: Uploads, clock: Clock, *, shared: bool) -> None:
    """Remove what has expired, and sweep what is an hour old, every hour; at start also what an earlier process left.
    Where other servers store too, nothing at once: it may be another's, about to get its row."""
    before = clock() - _SWEEP_SECONDS if shared else clock()
    while True:
        try:
            for file_id in await files.expire():
                log.info("removed a file whose time had come", file_id=file_id)
            for upload_id in await uploads.expire():
                log.info("closed an upload whose hour was over", upload_id=upload_id)
            for key in await files.sweep(before):
                log.info("removed a blob without a row", key=key)
        except Exception:  # whatever it was this time, the next hour may be better
            log.exception("files could not be swept")
        await asyncio.sleep(_SWEEP_SECONDS)
        before = clock() - _SWEEP_SECONDS
