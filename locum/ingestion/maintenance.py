"""Looks after the derived data: makes again what is missing, moves stores to the embedder of today, and removes what
nobody needs any more.

It is missing after a release with other tables or indexes, a backup without it, or a change of the embedder. A store
whose embedder is another one goes on as it is, by its words where that one cannot be asked any more, until all its
files have vectors of the new one; then it changes over in one transaction. At the start, every hour, and when the
worker meets such a store.

Where several servers share the database, each follows what the others ingest with the keyword indexes it has. A search
that sees more than the index here has it brought up to date first (`cover`), so that what any server has ingested, all
of them find; of a large store that none has searched here yet, the first searches find a part, or nothing by words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
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

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 3600.0
FOLLOW_SECONDS = 2.0
_AGAIN_SECONDS = 60.0
_FORGOTTEN_AT_ONCE = 100
"""Documents: who else writes does not wait long."""
KEPT_SECONDS = 24 * 3600.0
"""What was used lately is kept, whoever has it: a file that is taken out of a store may be put into another one."""


class Maintenance:
    """In the background, one store and one file after the other. is_shared: other servers are on this database."""

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
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._begin(self._run_forever(), "search maintenance")
        if self._is_shared:
            self._begin(self._follow_forever(), "following other servers")

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def wake(self) -> None:
        """Some store is to be looked at."""
        self._woken.set()

    def rebuild(self, resource: str, store_id: str) -> None:
        """The keyword index of the store is missing or spoiled: build it again, without anybody waiting for it."""
        name = _index_of(store_id)
        if all(task.get_name() != name for task in self._tasks):
            self._begin(self._build(resource, store_id), name)

    async def cover(self, resource: str, store_id: str) -> None:
        """Have what other servers have ingested in the index here. Goes on when nobody waits for it any more."""
        await asyncio.wait([self._begin(self._cover(resource, store_id), _index_of(store_id))])

    def _begin(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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
            await self._indexes.cover(store_id, _units(members))
            if await self._change_over(resource, store_id, generation):
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
        return [each for each in members if _unit(each) not in cut or each.file.document not in whole]

    async def _make(self, resource: str, store_id: str, member: Member) -> None:
        file = member.file
        unit, size = await self._builder.make(resource, file.id, file.chunking)
        if (unit.document, size) == (file.document, file.usage_bytes):
            return
        async with self._indexes.held(store_id):
            await self._indexes.put(store_id, [unit])
            await self._db.write(
                RedoFile(resource=resource, store_id=store_id, file=file, document=unit.document, usage_bytes=size)
            )

    async def _change_over(self, resource: str, store_id: str, generation: int | None) -> bool:
        """Have the store searched by the embedder of today, unless it is not what it was: then False."""
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
        except Exception:  # the next search tells us again
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
        """Put what others have ingested into the indexes there are here."""
        here = await self._indexes.stores()
        for resource, store_id, generation in await self._db.read(store_rows.generations):
            since = self._followed.get(store_id, -1)
            if store_id in here and generation != since:
                members = await self._db.read(
                    lambda conn, at=(resource, store_id), since=since: rows.searchable(conn, *at, since=since)  # type: ignore[misc]
                )
                await self._indexes.cover(store_id, _units(members))
                self._followed[store_id] = generation

    # ---- what is too much

    async def sweep(self) -> None:
        """Remove documents of no store, indexes of no store, units that are not in their store any more, and vectors of
        embedders that no store has."""
        before = self._clock() - KEPT_SECONDS
        if unused := await self._data.read(lambda conn: document_store.unused(conn, before=before)):
            await self._forget(unused - await self._db.read(rows.documents), before)
        here = await self._indexes.stores()  # first: those that are made meanwhile are not looked for
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
            log.info("removed search data of no store", documents=count)

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
    """The name of the tasks that write the index of a store."""
    return f"index of {store_id}"


def _state(conn: Connection, resource: str, store_id: str) -> tuple[int | None, list[Member]]:
    return store_rows.generation(conn, resource, store_id), rows.searchable(conn, resource, store_id)


def _unit(member: Member) -> Unit | None:
    document = member.file.document
    return None if document is None else Unit(document, member.file.chunking)


def _units(members: Iterable[Member]) -> set[Unit]:
    return {unit for each in members if (unit := _unit(each)) is not None}
