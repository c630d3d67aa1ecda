"""File batches: create, retrieve, wait, cancel, and the files of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import Connection

from locum import ids
from locum.access.principals import Principal
from locum.clock import Clock
from locum.domain.pages import Listing, Page
from locum.domain.vector_stores import BatchStatus, FileBatch, FileCounts, FileStatus, VectorStoreFile
from locum.services.idempotency import IdempotencyKey, create_or_find
from locum.services.params import NewVectorStoreFile
from locum.services.vector_store_files import add_files
from locum.signals.base import Signals
from locum.signals.waiting import until
from locum.store import file_batches as store
from locum.store import vector_store_files as file_store
from locum.store import vector_stores as vector_store_store
from locum.store.database import Database


class BatchState(msgspec.Struct, frozen=True, kw_only=True):
    """A batch, and how far its files are."""

    batch: FileBatch
    counts: FileCounts

    @property
    def status(self) -> BatchStatus:
        return self.batch.status(self.counts)


class FileBatches:
    """`wake` tells the ingestion worker that there may be files to ingest."""

    def __init__(self, db: Database, clock: Clock, signals: Signals, wake: Callable[[], None]) -> None:
        self._db = db
        self._clock = clock
        self._signals = signals
        self._wake = wake

    async def create(
        self,
        principal: Principal,
        store_id: str,
        files: Sequence[NewVectorStoreFile],
        *,
        idempotency_key: IdempotencyKey | None = None,
    ) -> BatchState:
        """Add files, as one by one, but that a file of a kind which cannot be searched fails alone."""
        now, resource = int(self._clock()), principal.resource

        def insert(conn: Connection) -> BatchState:
            vector_store_store.get(conn, resource, store_id, for_update=True)

            def make() -> FileBatch:
                batch = FileBatch(id=ids.new("vsfb_"), created_at=now, vector_store_id=store_id)
                rows = add_files(conn, resource, store_id, files, now=now, refuse_at=None)
                store.insert(conn, resource, batch, rows)
                return batch

            def find(batch_id: str) -> FileBatch:
                return store.get(conn, resource, store_id, batch_id)

            batch, _ = create_or_find(conn, resource, idempotency_key, make, find, now=now)
            return _with_counts(conn, resource, batch, now=now)

        state = await self._db.write(insert)
        self._wake()
        self._signals.changed(store_id)
        return state

    async def retrieve(self, principal: Principal, store_id: str, batch_id: str) -> BatchState:
        now = int(self._clock())
        return await self._db.read(lambda conn: _state(conn, principal.resource, store_id, batch_id, now=now))

    async def wait(self, principal: Principal, store_id: str, batch_id: str, seconds: float) -> BatchState:
        """The batch once none of its files is being ingested, or as it is after `seconds`."""

        async def look() -> BatchState:
            return await self.retrieve(principal, store_id, batch_id)

        return await until(self._signals, store_id, look, lambda state: state.status != "in_progress", seconds=seconds)

    async def cancel(self, principal: Principal, store_id: str, batch_id: str) -> BatchState:
        """Cancel those of its files that are not done yet. A batch that is done stays what it is."""
        now, resource = int(self._clock()), principal.resource

        def change(conn: Connection) -> BatchState:
            vector_store_store.get(conn, resource, store_id, for_update=True)
            batch = store.get(conn, resource, store_id, batch_id, for_update=True)
            if file_store.cancel_batch(conn, resource, store_id, batch_id):
                batch = msgspec.structs.replace(batch, is_cancelled=True)
                store.save(conn, resource, batch)
            return _with_counts(conn, resource, batch, now=now)

        state = await self._db.write(change)
        self._signals.changed(store_id)
        return state

    async def files(
        self, principal: Principal, store_id: str, batch_id: str, page: Page, *, status: FileStatus | None = None
    ) -> Listing[VectorStoreFile]:
        """A page of its files."""

        def get(conn: Connection) -> Listing[VectorStoreFile]:
            now = int(self._clock())
            _state(conn, principal.resource, store_id, batch_id, now=now)
            return file_store.page(conn, principal.resource, store_id, page, now=now, status=status, batch_id=batch_id)

        return await self._db.read(get)


def _state(conn: Connection, resource: str, store_id: str, batch_id: str, *, now: int) -> BatchState:
    vector_store_store.get(conn, resource, store_id)
    return _with_counts(conn, resource, store.get(conn, resource, store_id, batch_id), now=now)


def _with_counts(conn: Connection, resource: str, batch: FileBatch, *, now: int) -> BatchState:
    return BatchState(batch=batch, counts=file_store.counts_of_batch(conn, resource, batch.id, now=now))
