"""Looks after the derived data: makes again what is missing, moves stores to the embedder of today, and removes what
nobody needs any more.

It is missing after a release with other tables or indexes, a backup without it, or a change of the embedder. A store
whose embedder is another one goes on as it is, by its words where that one cannot be asked any more, until all its
files have vectors of the new one; then it changes over in one transaction. At the start, every hour, and when the
pipeline meets such a store.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from sqlalchemy import Connection

from locum.clock import Clock
from locum.errors import LocumError
from locum.search import derived
from locum.search.indexes import KeywordIndexes
from locum.search.library import Library
from locum.search.parse import Unreadable
from locum.search.units import Unit
from locum.store import vector_store_files as rows
from locum.store import vector_stores as store_rows
from locum.store.database import Database
from locum.store.vector_store_files import Member

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 3600.0
_AGAIN_SECONDS = 60.0
KEPT_SECONDS = 24 * 3600.0
"""What was used lately is kept, whoever has it: a file that is taken out of a store may be put into another one."""


class Upkeep:
    """A task in the background, one store and one file after the other."""

    def __init__(self, db: Database, data: Database, clock: Clock, library: Library, indexes: KeywordIndexes) -> None:
        self._db = db
        self._data = data
        self._clock = clock
        self._library = library
        self._indexes = indexes
        self._woken = asyncio.Event()
        self._tidied: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run_forever(), name="search upkeep")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def wake(self) -> None:
        """Some store is to be looked at."""
        self._woken.set()

    async def _run_forever(self) -> None:
        while True:
            self._woken.clear()
            try:
                is_whole = await self.restore()
                await self.sweep()
            except Exception:  # whatever it was this time, the next may be better
                log.exception("the search data could not be looked after")
                is_whole = False
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS if is_whole else _AGAIN_SECONDS):
                    await self._woken.wait()

    # ---- what is missing

    async def restore(self) -> bool:
        """Make what is missing of every store; whether nothing was in the way of it."""
        is_whole = True
        for resource, store_id in await self._db.read(store_rows.all_ids):
            try:
                await self._restore(resource, store_id)
            except LocumError as error:  # the embedder, as a rule
                log.warning("search data is still missing", store=store_id, reason=error.message)
                is_whole = False
        return is_whole

    async def _restore(self, resource: str, store_id: str) -> None:
        """Until the store has not changed meanwhile."""
        lost: set[str] = set()
        while True:
            generation, members = await self._db.read(lambda conn: _state(conn, resource, store_id))
            missing = [each for each in await self._missing(members) if each.file.id not in lost]
            if missing:
                log.info("search data of a store is made again", store=store_id, files=len(missing))
            for member in missing:
                try:
                    await self._make(resource, store_id, member)
                except Unreadable as error:  # it was readable once, with another release
                    lost.add(member.file.id)
                    log.warning("a file cannot be searched any more", file_id=member.file.id, reason=error.message)
            await self._indexes.cover(store_id, [unit for each in members if (unit := _unit(each))])
            if await self._change_over(resource, store_id, generation):
                return

    async def _missing(self, members: list[Member]) -> list[Member]:
        units = {unit for each in members if (unit := _unit(each)) is not None}
        keys, embedder = {unit.document for unit in units}, self._library.embedder

        def look(conn: Connection) -> tuple[set[Unit], set[str]]:
            there = set(derived.known(conn, keys))
            return derived.cut(conn, units), there if embedder is None else there & derived.embedded(
                conn, keys, embedder
            )

        cut, whole = await self._data.read(look)
        return [each for each in members if (unit := _unit(each)) not in cut or each.file.document not in whole]

    async def _make(self, resource: str, store_id: str, member: Member) -> None:
        file = member.file
        unit, size = await self._library.make(resource, file.id, file.chunking)
        if (unit.document, size) == (file.document, file.usage_bytes):
            return
        async with self._indexes.held(store_id):
            await self._indexes.put(store_id, [unit])
            await self._db.write(
                lambda conn: rows.redo(conn, resource, store_id, file, document=unit.document, usage_bytes=size)
            )

    async def _change_over(self, resource: str, store_id: str, generation: int | None) -> bool:
        """Have the store searched by the embedder of today, unless it is not what it was: then False."""
        embedder = self._library.embedder
        if await self._db.read(lambda conn: store_rows.embedder(conn, resource, store_id)) == embedder:
            return True

        def change(conn: Connection) -> bool:
            now = store_rows.generation(conn, resource, store_id, for_update=True)
            if now == generation:
                store_rows.use_embedder(conn, resource, store_id, embedder)
            return now == generation or now is None

        return await self._db.write(change)

    # ---- what is too much

    async def sweep(self) -> None:
        """Remove documents of no store, indexes of no store, units that are not in their store any more, and vectors of
        embedders that no store has."""
        before = self._clock() - KEPT_SECONDS
        if unused := await self._data.read(lambda conn: derived.unused(conn, before=before)):
            unused -= await self._db.read(rows.documents)
            gone = await self._data.write(lambda conn: derived.forget(conn, unused, before=before))
            if gone:
                log.info("removed search data of no store", documents=len(gone))
        here = await self._indexes.stores()  # first: those that are made meanwhile are not looked for
        stores = {store_id: resource for resource, store_id in await self._db.read(store_rows.all_ids)}
        for store_id in here:
            if store_id in stores:
                await self._tidy(stores[store_id], store_id)
            else:
                await self._indexes.drop(store_id)
        if (embedder := self._library.embedder) is not None:
            used = await self._db.read(store_rows.embedders)
            await self._data.write(lambda conn: derived.forget_vectors(conn, but={embedder, *used}))

    async def _tidy(self, resource: str, store_id: str) -> None:
        generation = await self._db.read(lambda conn: store_rows.generation(conn, resource, store_id))
        if generation is None or self._tidied.get(store_id) == generation:
            return

        async def units() -> set[Unit]:
            members = await self._db.read(lambda conn: rows.searchable(conn, resource, store_id))
            return {unit for each in members if (unit := _unit(each))}

        await self._indexes.tidy(store_id, units)
        self._tidied[store_id] = generation


def _state(conn: Connection, resource: str, store_id: str) -> tuple[int | None, list[Member]]:
    return store_rows.generation(conn, resource, store_id), rows.searchable(conn, resource, store_id)


def _unit(member: Member) -> Unit | None:
    document = member.file.document
    return None if document is None else Unit(document, member.file.chunking)
