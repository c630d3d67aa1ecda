"""Maintain derived data: rebuild missing parts, migrate stores to the current embedder, garbage-collect the rest.

Parts are missing after a release with other tables or indexes, a restored backup, or a change of the embedder. A store
of another embedder is searched as before, by words alone where that embedder is gone, until all its files have vectors
of the current one; then it is switched in one transaction. This runs at the start, every hour, and when the worker
meets such a store.

Where several servers share the database, each updates the keyword indexes it has with the files that others ingest. A
search of a newer generation than the index here updates it first (`cover`), so that all servers find the files of all.
The first searches of a large store on a server may find a part of it by words, or nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

import structlog
from sqlalchemy import Connection

from locum.clock import Clock
from locum.documents import store as document_store
from locum.documents.types import Unit
from locum.errors import LocumError
from locum.ingestion.document_builder import DocumentBuilder
from locum.ingestion.extract.parser import Unreadable
from locum.ingestion.indexes import KeywordIndexes
from locum.ingestion.writes import ChangeEmbedder, RedoFile
from locum.store import vector_store_files as rows
from locum.store import vector_stores as store_rows
from locum.store.database import Database
from locum.store.vector_store_files import Member
from locum.tasks import TaskSet

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 3600.0
FOLLOW_SECONDS = 2.0
_AGAIN_SECONDS = 60.0
_FORGOTTEN_AT_ONCE = 100
"""Documents per transaction, so that other writers do not wait long."""
KEPT_SECONDS = 24 * 3600.0
"""Documents used later are kept: a file removed from a store may be added to another."""


class Maintenance:
    """Background work on one store and one file after the other. is_shared: other servers use this database."""

    def __init__(
        self,
        db: Database,
        data: Database,
        clock: Clock,
        builder: DocumentBuilder,
        indexes: KeywordIndexes,
        *,
        is_shared: bool = False,
    ) -> None:
        self._db = db
        self._data = data
        self._clock = clock
        self._builder = builder
        self._indexes = indexes
        self._woken = asyncio.Event()
        self._is_shared = is_shared
        self._tidied: dict[str, int] = {}
        self._followed: dict[str, int] = {}
        self._tasks = TaskSet()

    def start(self) -> None:
        self._tasks.start(self._run_forever(), name="search maintenance")
        if self._is_shared:
            self._tasks.start(self._follow_forever(), name="following other servers")

    async def stop(self) -> None:
        await self._tasks.cancel()

    def wake(self) -> None:
        """Restore all stores now."""
        self._woken.set()

    def rebuild(self, resource: str, store_id: str) -> None:
        """Rebuild a missing or damaged keyword index in the background."""
        name = _index_of(store_id)
        if all(task.get_name() != name for task in self._tasks):
            self._tasks.start(self._build(resource, store_id), name=name)

    async def cover(self, resource: str, store_id: str) -> None:
        """Update the index here with the files of other servers. Goes on when the caller is cancelled."""
        await asyncio.wait([self._tasks.start(self._cover(resource, store_id), name=_index_of(store_id))])

    async def _run_forever(self) -> None:
        while True:
            self._woken.clear()
            try:
                is_whole = await self.restore()
                await self.sweep()
            except Exception:  # whatever it was this time, the next may be better
                log.exception("maintenance of derived data failed")
                is_whole = False
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS if is_whole else _AGAIN_SECONDS):
                    await self._woken.wait()

    # ---- rebuild

    async def restore(self) -> bool:
        """Rebuild the missing parts of every store; return whether all of them could be."""
        is_whole = True
        for resource, store_id in await self._db.read(store_rows.all_ids):
            try:
                await self._restore(resource, store_id)
            except LocumError as error:  # the embedder, as a rule
                log.warning("derived data is still missing", store=store_id, reason=error.message)
                is_whole = False
        return is_whole

    async def _restore(self, resource: str, store_id: str) -> None:
        """Rebuild until the store has not changed meanwhile."""
        lost: set[str] = set()
        while True:
            generation, members = await self._db.read(lambda conn: _state(conn, resource, store_id))
            missing = [member for member in await self._missing(members) if member.file.id not in lost]
            if missing:
                log.info("derived data of a store is rebuilt", store=store_id, files=len(missing))
            for member in missing:
                try:
                    await self._rebuild_file(resource, store_id, member)
                except Unreadable as error:  # it was readable once, with another release
                    lost.add(member.file.id)
                    log.warning("a file cannot be searched any more", file_id=member.file.id, reason=error.message)
            await self._indexes.cover(store_id, _units(members))
            if await self._switch_embedder(resource, store_id, generation):
                return

    async def _missing(self, members: list[Member]) -> list[Member]:
        units = _units(members)
        keys, embedder = {unit.document for unit in units}, self._builder.embedder

        def look(conn: Connection) -> tuple[set[Unit], set[str]]:
            there = set(document_store.known(conn, keys))
            return document_store.cut(conn, units), there if embedder is None else there & document_store.embedded(
                conn, keys, embedder
            )

        cut, whole = await self._data.read(look)
        return [member for member in members if _unit(member) not in cut or member.file.document not in whole]

    async def _rebuild_file(self, resource: str, store_id: str, member: Member) -> None:
        file = member.file
        unit, size = await self._builder.build(resource, file.id, file.chunking)
        if (unit.document, size) == (file.document, file.usage_bytes):
            return
        async with self._indexes.held(store_id):
            await self._indexes.put(store_id, [unit])
            await self._db.write(
                RedoFile(resource=resource, store_id=store_id, file=file, document=unit.document, usage_bytes=size)
            )

    async def _switch_embedder(self, resource: str, store_id: str, generation: int | None) -> bool:
        """Switch the store to the current embedder; return False if the store has changed since `generation`."""
        embedder = self._builder.embedder
        if await self._db.read(lambda conn: store_rows.embedder(conn, resource, store_id)) == embedder:
            return True
        return await self._db.write(
            ChangeEmbedder(resource=resource, store_id=store_id, generation=generation, embedder=embedder)
        )

    # ---- keyword indexes

    async def _build(self, resource: str, store_id: str) -> None:
        try:
            await self._index(resource, store_id, anew=True)
        except Exception:  # the next search requests it again
            log.exception("a keyword index could not be built", store=store_id)

    async def _cover(self, resource: str, store_id: str) -> None:
        try:
            await self._index(resource, store_id)
        except Exception:  # the index is followed in any case
            log.exception("a keyword index could not be brought up to date", store=store_id)

    async def _index(self, resource: str, store_id: str, *, anew: bool = False) -> None:
        members = await self._db.read(lambda conn: rows.searchable(conn, resource, store_id))
        await self._indexes.cover(store_id, _units(members), anew=anew)

    async def _follow_forever(self) -> None:
        while True:
            try:
                await self.follow()
            except LocumError as error:
                log.warning("cannot follow what other servers ingest", reason=error.message)
            except Exception:
                log.exception("cannot follow what other servers ingest")
            await asyncio.sleep(FOLLOW_SECONDS)

    async def follow(self) -> None:
        """Update the indexes here with the files that other servers have ingested."""
        here = await self._indexes.stores()
        for resource, store_id, generation in await self._db.read(store_rows.generations):
            since = self._followed.get(store_id, -1)
            if store_id in here and generation != since:
                members = await self._db.read(
                    lambda conn, at=(resource, store_id), since=since: rows.searchable(conn, *at, since=since)  # type: ignore[misc]
                )
                await self._indexes.cover(store_id, _units(members))
                self._followed[store_id] = generation

    # ---- garbage-collect

    async def sweep(self) -> None:
        """Garbage-collect: documents and indexes of no store, index entries of removed files, and vectors of embedders
        that no store uses."""
        before = self._clock() - KEPT_SECONDS
        if unused := await self._data.read(lambda conn: document_store.unused(conn, before=before)):
            await self._forget(unused - await self._db.read(rows.documents), before)
        here = await self._indexes.stores()  # first: indexes that are created meanwhile are not examined
        stores = {store_id: resource for resource, store_id in await self._db.read(store_rows.all_ids)}
        for store_id in here:
            if store_id in stores:
                await self._tidy(stores[store_id], store_id)
            else:
                await self._indexes.drop(store_id)
        if (embedder := self._builder.embedder) is not None:
            used = await self._db.read(store_rows.embedders)
            await self._data.write(lambda conn: document_store.forget_vectors(conn, but={embedder, *used}))

    async def _forget(self, unused: set[str], before: float) -> None:
        count = 0
        for some in document_store.portions(unused, _FORGOTTEN_AT_ONCE):
            count += len(await self._data.write(partial(document_store.forget, keys=some, before=before)))
        if count:
            log.info("removed derived data of no store", documents=count)

    async def _tidy(self, resource: str, store_id: str) -> None:
        generation = await self._db.read(lambda conn: store_rows.generation(conn, resource, store_id))
        if generation is None or self._tidied.get(store_id) == generation:
            return

        async def units() -> set[Unit]:
            members = await self._db.read(lambda conn: rows.searchable(conn, resource, store_id))
            return _units(members)

        await self._indexes.tidy(store_id, units)
        self._tidied[store_id] = generation


def _index_of(store_id: str) -> str:
    """Return the name of the tasks that write the index of a store."""
    return f"index of {store_id}"


def _state(conn: Connection, resource: str, store_id: str) -> tuple[int | None, list[Member]]:
    return store_rows.generation(conn, resource, store_id), rows.searchable(conn, resource, store_id)


def _unit(member: Member) -> Unit | None:
    document = member.file.document
    return None if document is None else Unit(document, member.file.chunking)


def _units(members: Iterable[Member]) -> set[Unit]:
    return {unit for member in members if (unit := _unit(member)) is not None}
