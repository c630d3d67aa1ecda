"""Composition root of the server: settings to adapters to services, engine and edge."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from starlette.types import ASGIApp

from locum.access.keys import Keys
from locum.admin.handler import AdminHandler
from locum.admin.server import admin_socket
from locum.api.routes import build
from locum.app.adapters import (
    check_key_length,
    explains_errors,
    is_loopback,
    node_name,
    open_database,
    open_routes,
    open_signals,
)
from locum.app.readiness import DatabaseProbe
from locum.app.search import FileSearch, open_file_search, open_rewriter
from locum.blobs.open import open_blobs
from locum.clock import Clock, system_clock
from locum.domain.image_urls import ImageURLs
from locum.engine.worker import Worker
from locum.errors import StartupError, Unavailable
from locum.metrics import Metrics
from locum.models.routes import Routes
from locum.sandbox.client import Sandbox
from locum.sandbox.limits import Limits
from locum.sandbox.session import Status
from locum.services.blob_sweep import BlobSweep
from locum.services.catalog import Services
from locum.services.tracked_blobs import TrackedBlobs
from locum.settings import Settings
from locum.signals.base import Signals
from locum.store import runs as run_store
from locum.store import usage as usage_store
from locum.store.data_dir import lock_data_dir
from locum.store.database import Database
from locum.streams.hub import Streams
from locum.tools.code_interpreter import CodeInterpreterTool
from locum.tools.file_search import FileSearchTool
from locum.tools.hosted import HostedTools

log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 3600.0
_MIN_FREE_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server, but for its listening socket."""

    app: ASGIApp
    is_keyless: bool
    model_route: str
    file_search: str
    """How files are searched, for people."""
    sandbox_status: Callable[[], Awaitable[Status]]
    end_streams: Callable[[], None]
    """End streams and held requests, for which clients would wait."""


@asynccontextmanager
async def running(
    settings: Settings, clock: Clock = system_clock, *, keep_sessions: bool = False
) -> AsyncIterator[Server]:
    """Start a server, and stop it at the end. Raises StartupError.

    keep_sessions: code interpreter sessions live on for a while, for the next server.
    """
    async with AsyncExitStack() as stack:
        adapters = await _open_adapters(settings, clock, stack)
        code = _open_sandbox(settings, adapters, stack, keep_sessions=keep_sessions)
        search = await stack.enter_async_context(_open_search(settings, adapters))
        services = _build_services(settings, adapters, code, search)
        worker = _start_worker(settings, adapters, code, search, stack)
        if keep_sessions:
            stack.callback(code.sandbox.leave)  # before the worker stops: its cells go on
        blob_sweep = BlobSweep(adapters.db, adapters.blobs, clock)
        sweeping = _sweep_forever(services, blob_sweep, expired_store_days=settings.expired_store_days)
        stack.callback(asyncio.create_task(sweeping, name="blob sweep").cancel)
        admin = AdminHandler(adapters.db, adapters.keys, adapters.routes)
        await stack.enter_async_context(admin_socket(settings.data_dir, admin))
        yield Server(
            app=_build_app(settings, adapters, code, search, services, worker),
            is_keyless=adapters.keys.is_keyless,
            model_route=adapters.routes.describe(),
            file_search=search.description,
            sandbox_status=code.started,
            end_streams=adapters.end_streams,
        )


@dataclass(frozen=True, kw_only=True)
class _Adapters:
    db: Database
    clock: Clock
    keys: Keys
    blobs: TrackedBlobs
    signals: Signals
    streams: Streams
    routes: Routes
    owner: str
    """This node, as an owner of runs and files."""

    def end_streams(self) -> None:
        self.signals.stop()
        self.streams.end_all()


async def _open_adapters(settings: Settings, clock: Clock, stack: AsyncExitStack) -> _Adapters:
    stack.enter_context(lock_data_dir(settings.data_dir))
    db = await open_database(settings, stack)
    keys = await _open_keys(settings, db, clock)
    blob_store = open_blobs(settings.blob_url, settings.data_dir)
    stack.push_async_callback(blob_store.close)
    blobs = TrackedBlobs(db, blob_store, clock, keep_days=settings.blob_keep_days)
    signals = open_signals(settings, stack)
    owner = node_name(settings.data_dir)
    # This process holds the lock on the data directory: an earlier one of this name is gone, and its runs are free.
    await db.write(lambda conn: run_store.release_all(conn, owner))
    routes = open_routes(settings)
    stack.push_async_callback(routes.close)
    return _Adapters(
        db=db, clock=clock, keys=keys, blobs=blobs, signals=signals, streams=Streams(), routes=routes, owner=owner
    )


async def _open_keys(settings: Settings, db: Database, clock: Clock) -> Keys:
    """Return the keys. Raises StartupError where a server without a strong key could be reached from elsewhere."""
    check_key_length(settings)
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
    return keys


class _CodeInterpreter:
    """The sandbox, which starts behind the open port: its zygote takes a second to warm up."""

    def __init__(self, sandbox: Sandbox, db: Database) -> None:
        self.sandbox = sandbox
        self._db = db
        self.starting = asyncio.create_task(sandbox.start(), name="sandbox")

    async def started(self) -> Status:
        """Wait until the sandbox has started."""
        return await asyncio.shield(self.starting)

    def status(self) -> Status:
        return self.sandbox.status if self.starting.done() else Status(tier="off", reason="it is still starting")

    async def delete_session(self, resource: str, thread_id: str) -> None:
        """End a thread's session and record its usage: its last cell may still run, and nobody waits for that."""
        if usage := await self.sandbox.usage(thread_id):
            await self._db.write(lambda conn: usage_store.record(conn, resource, thread_id, usage))
        await self.sandbox.delete(thread_id)


def _open_sandbox(
    settings: Settings, adapters: _Adapters, stack: AsyncExitStack, *, keep_sessions: bool
) -> _CodeInterpreter:
    sandbox = Sandbox(
        settings.data_dir / "sandbox",
        mode=settings.sandbox,
        accepts_weak=adapters.keys.is_keyless,  # then only this machine can reach the server
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
    code = _CodeInterpreter(sandbox, adapters.db)
    stack.callback(code.starting.cancel)
    return code


def _open_search(settings: Settings, adapters: _Adapters) -> AbstractAsyncContextManager[FileSearch]:
    return open_file_search(
        *(settings, adapters.db, adapters.clock, adapters.signals),
        owner=adapters.owner,
        keyless=adapters.keys.is_keyless,
    )


def _build_services(settings: Settings, adapters: _Adapters, code: _CodeInterpreter, search: FileSearch) -> Services:
    return Services.build(
        db=adapters.db,
        clock=adapters.clock,
        signals=adapters.signals,
        streams=adapters.streams,
        blobs=adapters.blobs,
        search=search,
        owner=adapters.owner,
        run_expiry_seconds=settings.run_expiry_seconds,
        wake_ingestion=search.wake,
        delete_session=code.delete_session,
        model_names=adapters.routes.names,
        rewriter=open_rewriter(settings, adapters.routes),
        stores_per_object=settings.vector_stores_per_object,
        image_urls=ImageURLs.parse(settings.image_urls),
    )


def _start_worker(
    settings: Settings, adapters: _Adapters, code: _CodeInterpreter, search: FileSearch, stack: AsyncExitStack
) -> Worker:
    clock, blobs = adapters.clock, adapters.blobs
    tools = HostedTools(
        code_interpreter=CodeInterpreterTool(code.sandbox, blobs, clock, ready=code.started),
        file_search=FileSearchTool(search, clock),
    )
    worker = Worker(
        *(adapters.db, clock, adapters.signals, adapters.streams, adapters.routes, tools, blobs),
        owner=adapters.owner,
        slots=settings.run_slots,
        image_urls=ImageURLs.parse(settings.image_urls),
        explain_errors=explains_errors(settings, keyless=adapters.keys.is_keyless),
    )
    worker.start()
    stack.push_async_callback(worker.stop)
    return worker


def _build_app(
    settings: Settings,
    adapters: _Adapters,
    code: _CodeInterpreter,
    search: FileSearch,
    services: Services,
    worker: Worker,
) -> ASGIApp:
    database = DatabaseProbe(adapters.db)

    async def check_ready() -> Status:
        await database.check()  # first: without the database, the others fail a little later
        if not worker.is_healthy:
            raise Unavailable("The worker that moves runs is not running.")
        if not search.is_healthy:
            raise Unavailable("The process that ingests files is not running.")
        if shutil.disk_usage(settings.data_dir).free < _MIN_FREE_BYTES:
            raise Unavailable(f"There is almost no room left on the disk of {settings.data_dir}.")
        return code.status()

    return build(
        services,
        authenticate=adapters.keys.authenticate,
        watch=adapters.keys.watch,
        guard_hosts=adapters.keys.is_keyless,
        ready=check_ready,
        metrics=Metrics(
            *(adapters.db, adapters.streams, code.status, code.sandbox.stats, search.outcomes),
            rejections=adapters.keys.rejections,
        ),
        strict=settings.strict,
        origins=settings.origins,
    )


async def _sweep_forever(services: Services, blob_sweep: BlobSweep, *, expired_store_days: int) -> None:
    """At start and every hour, remove what has expired, noted bytes without a row and noted rows without a thread."""
    while True:
        try:
            for file_id in await services.files.expire():
                log.info("removed an expired file", file_id=file_id)
            for upload_id in await services.uploads.expire():
                log.info("closed an expired upload", upload_id=upload_id)
            if count := await services.uploads.forget():
                log.info("removed rows of finished uploads", uploads=count)
            for store_id in await services.vector_stores.delete_expired(expired_store_days):
                log.info("removed an expired vector store", vector_store_id=store_id)
            for key in await blob_sweep.sweep():
                log.info("removed a blob without a row", key=key)
            for thread_id in await services.threads.sweep():
                log.info("removed the rows of a thread that does not exist", thread_id=thread_id)
        except Unavailable as error:
            log.warning("the sweep was interrupted; the next hour's goes on", reason=error.message)
        except Exception:  # whatever it was this time, the next hour may be better
            log.exception("files could not be swept")
        await asyncio.sleep(_SWEEP_SECONDS)
