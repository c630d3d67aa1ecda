"""Rows of vector stores, and what is counted from their files.

`now` is in seconds since the epoch: a file whose time has come does not count, even before it is removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.pages import Listing, Page
from locum.domain.vector_stores import FileCounts, Held, VectorStore
from locum.errors import NotFound
from locum.store import files as file_rows
from locum.store.rows import decode, delete_row, encode, page_of, select_doc, update_doc
from locum.store.tables import assistants, file_batch_files, file_batches, threads
from locum.store.tables import vector_store_files as files
from locum.store.tables import vector_stores as table

_INSERT = sa.insert(table)
_GET = select_doc(table, table.c.id)
_LOCK = _GET.with_for_update()
_SAVE = update_doc(table)
_DELETE = delete_row(table)
_AT = sa.and_(table.c.id == sa.bindparam("at"), table.c.resource == sa.bindparam("of"))
_GENERATION = sa.select(table.c.generation).where(_AT)
_GENERATION_LOCK = _GENERATION.with_for_update()
_STATE = sa.select(table.c.doc, table.c.generation).where(_AT)
_MADE_FOR = (
    sa.select(table.c.id)
    .where(table.c.made_for == sa.bindparam("owner"), table.c.resource == sa.bindparam("of"))
    .order_by(table.c.seq)
    .with_for_update()
)
_HAND_OVER = sa.update(table).where(_AT).values(made_for=sa.bindparam("to"))
_NEXT_GENERATION = sa.update(table).where(_AT).values(generation=table.c.generation + 1).returning(table.c.generation)


Owners = Literal["assistants", "threads"]
_OWNERS = {"assistants": assistants, "threads": threads}
_ID = re.compile(r'"(vs_[^"]+)"')
_OWNERS_AT_ONCE = 2000


def insert(conn: Connection, resource: str, store: VectorStore, *, made_for: str | None = None) -> None:
    """Insert a store. made_for: the thread or assistant that it is deleted with."""
    conn.execute(_INSERT, {"id": store.id, "resource": resource, "doc": encode(store), "made_for": made_for})


def get(conn: Connection, resource: str, store_id: str, *, for_update: bool = False) -> VectorStore:
    """The store. With `for_update` whoever else changes it or its files waits until the transaction ends."""
    row = {"id": store_id, "resource": resource}
    doc = conn.execute(_LOCK if for_update else _GET, row).scalar_one_or_none()
    if doc is None:
        raise _not_found(store_id)
    return decode(doc, VectorStore)


def state(conn: Connection, resource: str, store_id: str) -> tuple[VectorStore, int]:
    """The store, and how often what is searched in it has changed."""
    row = conn.execute(_STATE, {"at": store_id, "of": resource}).one_or_none()
    if row is None:
        raise _not_found(store_id)
    return decode(row.doc, VectorStore), row.generation


def _not_found(store_id: str) -> NotFound:
    return NotFound(f"No vector store found with id '{store_id}'.")


def lock(conn: Connection, resource: str, store_id: str) -> None:
    """Whoever changes a store's files has the store's row first: two who change the same never wait for each other."""
    conn.execute(_LOCK, {"id": store_id, "resource": resource})


def existing(conn: Connection, resource: str, store_ids: Iterable[str]) -> list[VectorStore]:
    """Those of the stores that (still) exist."""
    wanted = table.c.id.in_(list(dict.fromkeys(store_ids)))
    docs = conn.execute(sa.select(table.c.doc).where(table.c.resource == resource, wanted)).scalars()
    return [decode(doc, VectorStore) for doc in docs]


def save(conn: Connection, resource: str, store: VectorStore) -> None:
    conn.execute(_SAVE, {"at": store.id, "of": resource, "doc": encode(store)})


def delete(conn: Connection, resource: str, store_id: str) -> None:
    """The store and what it knows of its files; the files themselves stay."""
    batches = sa.select(file_batches.c.id).where(
        file_batches.c.vector_store_id == store_id, file_batches.c.resource == resource
    )
    conn.execute(sa.delete(file_batch_files).where(file_batch_files.c.batch_id.in_(batches)))
    for each in (file_batches, files):
        conn.execute(sa.delete(each).where(each.c.vector_store_id == store_id, each.c.resource == resource))
    conn.execute(_DELETE, {"at": store_id, "of": resource})


def expired_by(conn: Connection, time: int) -> list[tuple[str, str]]:
    """Return (resource, id) of the stores of every resource that had expired by then."""
    rows = conn.execute(sa.select(table.c.resource, table.c.doc))
    stores = [(resource, decode(doc, VectorStore)) for resource, doc in rows]
    return [(resource, store.id) for resource, store in stores if store.is_expired(time)]


def named_by(conn: Connection, resource: str, owners: Owners, *, after: int) -> tuple[set[str], int | None]:
    """Return the ids of stores that some assistants or threads name, and the `after` of the next ones, None at the end.

    An id in their metadata counts as well.
    """
    rows = _OWNERS[owners].c
    query = sa.select(rows.seq, rows.doc).where(rows.resource == resource, rows.seq > after)
    portion = conn.execute(query.order_by(rows.seq).limit(_OWNERS_AT_ONCE)).all()
    named = {store_id for _, doc in portion for store_id in _ID.findall(doc)}
    return named, portion[-1][0] if len(portion) == _OWNERS_AT_ONCE else None


def made_for(conn: Connection, resource: str, object_id: str) -> list[str]:
    """Return the ids of the stores that were made for a thread or assistant, and lock them."""
    return list(conn.execute(_MADE_FOR, {"owner": object_id, "of": resource}).scalars())


def hand_over(conn: Connection, resource: str, store_id: str, *, to: str | None) -> None:
    """Change the thread that a store is deleted with; None for a store that is deleted by its caller only."""
    conn.execute(_HAND_OVER, {"at": store_id, "of": resource, "to": to})


def page(conn: Connection, resource: str, page: Page) -> Listing[VectorStore]:
    return page_of(conn, VectorStore, table, table.c.resource == resource, page, noun="vector store")


def held(conn: Connection, resource: str, store_ids: Iterable[str], *, now: int) -> dict[str, Held]:
    """Store id -> what it holds, for all of them."""
    counts: dict[str, dict[str, int]] = {store_id: {} for store_id in store_ids}
    usage = dict.fromkeys(counts, 0)
    query = (
        sa.select(files.c.vector_store_id, files.c.status, sa.func.count(), sa.func.sum(files.c.usage_bytes))
        .where(
            files.c.vector_store_id.in_(list(counts)),
            files.c.resource == resource,
            files.c.id.not_in(file_rows.ids_of_expired(resource, now)),
        )
        .group_by(files.c.vector_store_id, files.c.status)
    )
    for store_id, status, number, size in conn.execute(query):
        counts[store_id][status] = number
        usage[store_id] += int(size)
    return {
        store_id: Held(counts=FileCounts(**numbers), usage_bytes=usage[store_id])
        for store_id, numbers in counts.items()
    }


def generation(conn: Connection, resource: str, store_id: str, *, for_update: bool = False) -> int | None:
    """How often what is searched in the store has changed; None when there is no such store (any more)."""
    query = _GENERATION_LOCK if for_update else _GENERATION
    return conn.execute(query, {"at": store_id, "of": resource}).scalar_one_or_none()


def next_generation(conn: Connection, resource: str, store_id: str) -> int | None:
    """Say that what is searched in the store changes with this transaction; None when there is no such store."""
    return conn.execute(_NEXT_GENERATION, {"at": store_id, "of": resource}).scalar_one_or_none()


def use_embedder(conn: Connection, resource: str, store_id: str, embedder: str | None) -> None:
    """From now on the store is searched by the vectors of this one."""
    row = {"id": store_id, "resource": resource}
    doc = conn.execute(_LOCK, row).scalar_one_or_none()
    if doc is None:
        return
    save(conn, resource, msgspec.structs.replace(decode(doc, VectorStore), embedder=embedder))
    next_generation(conn, resource, store_id)


def embedder(conn: Connection, resource: str, store_id: str) -> str | None:
    """By whose vectors the store is searched; None as well when there is no such store."""
    doc = conn.execute(_GET, {"id": store_id, "resource": resource}).scalar_one_or_none()
    return None if doc is None else decode(doc, VectorStore).embedder


def is_any(conn: Connection) -> bool:
    """Whether there is a store of any resource."""
    return conn.execute(sa.select(table.c.id).limit(1)).first() is not None


def all_ids(conn: Connection) -> list[tuple[str, str]]:
    """(resource, id) of every store of every resource: what the keeper of derived data keeps."""
    return [(resource, store_id) for resource, store_id in conn.execute(sa.select(table.c.resource, table.c.id))]


def embedders(conn: Connection) -> set[str]:
    """By whose vectors the stores of all resources are searched."""
    docs = conn.execute(sa.select(table.c.doc)).scalars()
    return {embedder for doc in docs if (embedder := decode(doc, VectorStore).embedder) is not None}


def generations(conn: Connection) -> list[tuple[str, str, int]]:
    """(resource, id, generation) of every store of every resource."""
    return [tuple(row) for row in conn.execute(sa.select(table.c.resource, table.c.id, table.c.generation))]
