"""Composition root of commands that find no running server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from locum.access.keys import Keys
from locum.admin.handler import AdminHandler
from locum.app.adapters import open_database, open_routes
from locum.blobs.open import open_blobs
from locum.clock import Clock, system_clock
from locum.errors import LocumError, StartupError
from locum.services.blob_sweep import adopt
from locum.settings import Settings


@asynccontextmanager
async def open_admin_handler(settings: Settings, clock: Clock = system_clock) -> AsyncIterator[AdminHandler]:
    """Answer a command's requests in its own process; the caller holds the data directory."""
    async with AsyncExitStack() as stack:
        db = await open_database(settings, stack)
        routes = open_routes(settings)
        stack.push_async_callback(routes.close)
        yield AdminHandler(db, Keys(db, clock, keyless=False), routes)


async def adopt_blobs(settings: Settings) -> tuple[str, str | None]:
    """Make the configured database the owner of the stored files. Return the marker and the id of the former owner. The
    caller holds the data directory."""
    async with AsyncExitStack() as stack:
        db = await open_database(settings, stack)
        store = open_blobs(settings.blob_url, settings.data_dir)
        stack.push_async_callback(store.close)
        try:
            return store.marker, await adopt(db, store)
        except LocumError as error:
            raise StartupError(f"The marker {store.marker} cannot be written: {error.message}") from None
