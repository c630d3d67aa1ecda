"""Vector stores: create, retrieve, list, update, delete, search; and those that are made for assistants and threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import msgspec
from sqlalchemy import Connection

from locum import ids
from locum.access.principals import Principal
from locum.clock import Clock
from locum.domain import vector_stores as domain
from locum.domain.files import File
from locum.domain.pages import Listing, Page
from locum.domain.search import Passage, Query, Rewriter, Search
from locum.domain.vector_stores import SECONDS_PER_DAY, Held, StoreStatus, VectorStore
from locum.errors import NotFound
from locum.services.idempotency import IdempotencyKey, create_or_find
from locum.services.params import NewVectorStore, VectorStoreChanges, said
from locum.services.vector_store_files import add_files
from locum.signals.base import Signals
from locum.store import file_uses
from locum.store import vector_stores as store
from locum.store.database import Database


class StoreState(msgspec.Struct, frozen=True, kw_only=True):
    """A store, what it holds, and what that makes of it."""

    store: VectorStore
    held: Held
    status: StoreStatus


class VectorStores:
    """`wake` tells the ingestion worker that there may be files to ingest. rewriter: without one, queries are searched
    as they are asked. per_object: how many stores an assistant or a thread may have."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        signals: Signals,
        search: Search,
        wake: Callable[[], None],
        *,
        rewriter: Rewriter | None = None,
        per_object: int = 1,
    ) -> None:
        self._db = db
        self._clock = clock
        self._signals = signals
        self._search = search
        self._wake = wake
        self._rewriter = rewriter
        self.per_object = per_object

    async def create(
        self, principal: Principal, new: NewVectorStore, *, idempotency_key: IdempotencyKey | None = None
    ) -> StoreState:
        """A new store with its files; none at all when one of them cannot be searched."""
        now, resource = int(self._clock()), principal.resource

        def insert(conn: Connection) -> StoreState:
            def make() -> VectorStore:
                return insert_store(conn, resource, new, now=now, refuse_at="file_ids")

            def find(store_id: str) -> VectorStore:
                return store.get(conn, resource, store_id)

            made = create_or_find(conn, resource, idempotency_key, make, find, now=now)[0]
            return _states(conn, resource, (made,), now=now)[0]

        state = await self._db.write(insert)
        self._wake()
        return state

    async def retrieve(self, principal: Principal, store_id: str) -> StoreState:
        return await self._db.read(lambda conn: self._state(conn, principal.resource, store_id))

    async def list(self, principal: Principal, page: Page) -> Listing[StoreState]:
        def get(conn: Connection) -> Listing[StoreState]:
            found = store.page(conn, principal.resource, page)
            states = _states(conn, principal.resource, found.data, now=int(self._clock()))
            return Listing(data=states, has_more=found.has_more)

        return await self._db.read(get)

    async def update(self, principal: Principal, store_id: str, changes: VectorStoreChanges) -> StoreState:
        """Change what is said. A store that has expired lives again when its new terms let it."""

        def change(conn: Connection) -> StoreState:
            before = store.get(conn, principal.resource, store_id, for_update=True)
            store.save(conn, principal.resource, msgspec.structs.replace(before, **said(changes)))
            return self._state(conn, principal.resource, store_id)

        return await self._db.write(change)

    async def delete(self, principal: Principal, store_id: str) -> None:
        """Remove the store. Its files stay, and so do the ids of it in assistants and threads, as on the hosted API:
        they find nothing from now on."""

        def remove(conn: Connection) -> None:
            store.get(conn, principal.resource, store_id, for_update=True)
            store.delete(conn, principal.resource, store_id)

        await self._db.write(remove)
        self._signals.changed(store_id)

    async def delete_expired(self, keep_days: int) -> tuple[str, ...]:
        """Delete the stores that expired so many days ago and that no assistant or thread names; return their ids."""
        time = int(self._clock()) - keep_days * SECONDS_PER_DAY
        by_resource: dict[str, set[str]] = {}
        for resource, store_id in await self._db.read(lambda conn: store.expired_by(conn, time)):
            by_resource.setdefault(resource, set()).add(store_id)
        deleted = []
        for resource, store_ids in by_resource.items():
            for store_id in sorted(store_ids - await self._named(resource)):
                if await self._db.write(partial(_delete_expired, resource=resource, store_id=store_id, time=time)):
                    self._signals.changed(store_id)
                    deleted.append(store_id)
        return tuple(deleted)

    async def _named(self, resource: str) -> set[str]:
        """Return the ids of the stores that any assistant or thread of the resource names."""
        named: set[str] = set()
        kinds: tuple[store.Owners, ...] = ("assistants", "threads")
        for owners in kinds:
            after: int | None = 0
            while after is not None:
                look = partial(store.named_by, resource=resource, owners=owners, after=after)
                portion, after = await self._db.read(look)
                named |= portion
        return named

    async def search(self, principal: Principal, store_id: str, query: Query) -> tuple[Query, tuple[Passage, ...]]:
        """The passages that answer best, best first, and the query that found them: in other words, where it may be."""
        await self._db.read(lambda conn: store.get(conn, principal.resource, store_id))
        if query.rewrite and self._rewriter is not None:
            query = msgspec.structs.replace(query, texts=await self._rewriter.rewrite(query.texts))
        return query, await self._search.search(principal.resource, (store_id,), query)

    def _state(self, conn: Connection, resource: str, store_id: str) -> StoreState:
        return _states(conn, resource, (store.get(conn, resource, store_id),), now=int(self._clock()))[0]


def _delete_expired(conn: Connection, resource: str, store_id: str, time: int) -> bool:
    """Delete the store, unless it was deleted or brought back meanwhile; return whether it was."""
    try:
        expired = store.get(conn, resource, store_id, for_update=True)
    except NotFound:
        return False
    if not expired.is_expired(time):
        return False
    store.delete(conn, resource, store_id)
    return True


def _states(conn: Connection, resource: str, stores: Iterable[VectorStore], *, now: int) -> tuple[StoreState, ...]:
    every = tuple(stores)
    held = store.held(conn, resource, (each.id for each in every), now=now) if every else {}
    return tuple(
        StoreState(store=each, held=held[each.id], status=domain.status_of(each, held[each.id], now=now))
        for each in every
    )


def insert_store(
    conn: Connection,
    resource: str,
    new: NewVectorStore,
    *,
    now: int,
    refuse_at: str,
    files: Mapping[str, File] | None = None,
    made_for: str | None = None,
) -> VectorStore:
    """Insert a store with its files. refuse_at, files: as for `add_files`. made_for: as for `delete_made_for`."""
    made = VectorStore(
        id=ids.new("vs_"),
        created_at=now,
        last_active_at=now,
        name=new.name,
        description=new.description,
        expires_after=new.expires_after,
        metadata=new.metadata,
    )
    store.insert(conn, resource, made, made_for=made_for)
    if new.files:
        add_files(conn, resource, made.id, new.files, now=now, refuse_at=refuse_at, files=files)
    return made


def delete_made_for(conn: Connection, resource: str, object_id: str) -> list[str]:
    """Delete the stores that were made for a thread or assistant which is deleted; return their ids.

    A store that others use by now stays: with the next thread, or for good where only assistants use it.
    """
    deleted = []
    for store_id in store.made_for(conn, resource, object_id):
        users = file_uses.users(conn, resource, store_id)
        if users:
            threads = sorted(user for user in users if user.startswith("thread_"))
            store.hand_over(conn, resource, store_id, to=threads[0] if threads else None)
        else:
            store.delete(conn, resource, store_id)
            deleted.append(store_id)
    return deleted
