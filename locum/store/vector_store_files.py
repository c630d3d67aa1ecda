"""Rows of the files of vector stores, and the hands they are in while they are ingested.

What is searched changes with the transaction that changes a row: it moves the store's generation, and a row that
becomes or is searchable keeps the generation since which it is what it is.

`now` is in seconds since the epoch: a file whose time has come is not shown, even before it is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import takewhile

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain import vector_stores as domain
from locum.domain.pages import Listing, Page
from locum.domain.vector_stores import FileCounts, FileError, FileStatus, VectorStoreFile
from locum.errors import NotFound
from locum.store import files as file_rows
from locum.store import vector_stores as store_rows
from locum.store.rows import decode, encode, page_of
from locum.store.tables import file_batch_files as members
from locum.store.tables import vector_store_files as table


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a worker's hands. seq: the row's, which no other row ever has; attempts: claims, this one included."""

    seq: int
    resource: str
    file: VectorStoreFile
    attempts: int


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has made of a claimed file. document: the key of its text; usage_bytes: what all of it takes."""

    claim: Claim
    document: str
    usage_bytes: int


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is searched."""

    file: VectorStoreFile
    generation: int


_INSERT = sa.insert(table).returning(table.c.seq, sort_by_parameter_order=True)
_AT = sa.and_(
    table.c.vector_store_id == sa.bindparam("store"),
    table.c.id == sa.bindparam("file"),
    table.c.resource == sa.bindparam("of"),
)
_GET = sa.select(table.c.seq, table.c.doc).where(_AT)
_LOCK = _GET.with_for_update()
_SHOW = _GET.where(table.c.id.not_in(file_rows.ids_of_expired(sa.bindparam("of"), sa.bindparam("now"))))
_IS_OPEN = table.c.status == "in_progress"
_IS_FREE = sa.or_(
    table.c.owner.is_(None), table.c.owner == sa.bindparam("worker"), table.c.lease_until <= sa.bindparam("now")
)
_CLAIMABLE = (
    sa.select(table.c.seq, table.c.resource, table.c.doc, table.c.attempts)
    .where(_IS_OPEN, _IS_FREE)
    .order_by(table.c.seq)
    .with_for_update(skip_locked=True)
)
_CLAIM = (
    sa.update(table)
    .where(table.c.seq == sa.bindparam("at"))
    .values(
        owner=sa.bindparam("worker"),
        lease_until=sa.bindparam("until"),
        attempts=table.c.attempts + 1,
    )
)
_MOVE = sa.update(members).where(members.c.file_seq == sa.bindparam("old")).values(file_seq=sa.bindparam("new"))
_SAVE = (
    sa.update(table)
    .where(table.c.seq == sa.bindparam("at"), table.c.resource == sa.bindparam("of"))
    .values({name: sa.bindparam(name) for name in ("status", "usage_bytes", "generation", "doc")})
)


def insert(conn: Connection, resource: str, added: Collection[VectorStoreFile]) -> list[int]:
    """Add files to a store that does not have them; the numbers of their rows, in their order."""
    return list(conn.execute(_INSERT, [_row(resource, file) for file in added]).scalars()) if added else []


def _row(resource: str, file: VectorStoreFile) -> dict[str, object]:
    row = {"id": file.id, "resource": resource, "vector_store_id": file.vector_store_id, "doc": encode(file)}
    return {**row, "status": file.status, "usage_bytes": file.usage_bytes}


def get(conn: Connection, resource: str, store_id: str, file_id: str, *, now: int) -> VectorStoreFile:
    found = conn.execute(_SHOW, {"store": store_id, "file": file_id, "of": resource, "now": now}).one_or_none()
    if found is None:
        raise NotFound(f"No file found with id '{file_id}' in vector store '{store_id}'.")
    return decode(found.doc, VectorStoreFile)


def find(
    conn: Connection, resource: str, store_id: str, file_id: str, *, for_update: bool = False
) -> tuple[int, VectorStoreFile] | None:
    """The number of its row, and the file; None where the store does not have it."""
    row = {"store": store_id, "file": file_id, "of": resource}
    found = conn.execute(_LOCK if for_update else _GET, row).one_or_none()
    return None if found is None else (found.seq, decode(found.doc, VectorStoreFile))


def find_all(
    conn: Connection, resource: str, store_id: str, file_ids: Collection[str]
) -> dict[str, tuple[int, VectorStoreFile]]:
    """File id -> the number of its row, and the file; without those that the store does not have."""
    where = sa.and_(table.c.vector_store_id == store_id, table.c.resource == resource, table.c.id.in_(file_ids))
    rows = conn.execute(sa.select(table.c.id, table.c.seq, table.c.doc).where(where))
    return {row.id: (row.seq, decode(row.doc, VectorStoreFile)) for row in rows}


def set_attributes(
    conn: Connection, resource: str, store_id: str, file_id: str, attributes: dict[str, domain.Attribute]
) -> VectorStoreFile:
    """From now on searches filter it by these."""
    store_rows.lock(conn, resource, store_id)
    found = find(conn, resource, store_id, file_id, for_update=True)
    if found is None:
        raise NotFound(f"No file found with id '{file_id}' in vector store '{store_id}'.")
    seq, file = found
    file = msgspec.structs.replace(file, attributes=attributes)
    save(conn, resource, store_id, {seq: file})
    return file


def delete(conn: Connection, resource: str, store_id: str, file_id: str) -> None:
    """Take the file out of the store: no search that begins after this transaction finds it."""
    store_rows.lock(conn, resource, store_id)
    found = find(conn, resource, store_id, file_id, for_update=True)
    if found is None:
        return
    conn.execute(sa.delete(members).where(members.c.file_seq == found[0]))
    conn.execute(sa.delete(table).where(table.c.seq == found[0], table.c.resource == resource))
    store_rows.next_generation(conn, resource, store_id)


def replace(conn: Connection, resource: str, store_id: str, replaced: dict[int, VectorStoreFile]) -> list[int]:
    """Put files in the place of rows of a store, to be ingested from the beginning; the numbers of their new rows.

    They stay in the batches they came with, and who still works on an old row cannot write the new one.
    """
    if not replaced:
        return []
    conn.execute(sa.delete(table).where(table.c.seq.in_(replaced), table.c.resource == resource))
    added = insert(conn, resource, replaced.values())
    conn.execute(_MOVE, [{"old": old, "new": new} for old, new in zip(replaced, added, strict=True)])
    store_rows.next_generation(conn, resource, store_id)
    return added


def save(conn: Connection, resource: str, store_id: str, changed: dict[int, VectorStoreFile]) -> None:
    """Write files of a store, by the numbers of their rows."""
    if not changed:
        return
    generation = store_rows.next_generation(conn, resource, store_id) or 0
    conn.execute(
        _SAVE,
        [
            {
                "at": seq,
                "of": resource,
                "status": file.status,
                "usage_bytes": file.usage_bytes,
                "generation": generation,
                "doc": encode(file),
            }
            for seq, file in changed.items()
        ],
    )


def stores_of(conn: Connection, resource: str, file_id: str) -> list[str]:
    """Ids of the stores that have the file, in the order in which they are to be locked."""
    query = sa.select(table.c.vector_store_id).where(table.c.id == file_id, table.c.resource == resource)
    return sorted(conn.execute(query).scalars())


def page(
    conn: Connection,
    resource: str,
    store_id: str,
    page: Page,
    *,
    now: int,
    status: FileStatus | None = None,
    batch_id: str | None = None,
) -> Listing[VectorStoreFile]:
    where = sa.and_(table.c.vector_store_id == store_id, table.c.resource == resource, _is_shown(resource, now))
    if status is not None:
        where = sa.and_(where, table.c.status == status)
    if batch_id is not None:
        where = sa.and_(where, table.c.seq.in_(_of_batch(batch_id)))
    return page_of(conn, VectorStoreFile, table, where, page, noun="file")


def counts_of_batch(conn: Connection, resource: str, batch_id: str, *, now: int) -> FileCounts:
    """The states of a batch's files; one that was taken out of the store is not counted any more."""
    query = (
        sa.select(table.c.status, sa.func.count())
        .where(table.c.seq.in_(_of_batch(batch_id)), table.c.resource == resource, _is_shown(resource, now))
        .group_by(table.c.status)
    )
    numbers: dict[str, int] = {status: number for status, number in conn.execute(query)}  # noqa: C416  (rows are no pairs)
    return FileCounts(**numbers)


def cancel_batch(conn: Connection, resource: str, store_id: str, batch_id: str) -> int:
    """Cancel those files of a batch that are not done; how many these were."""
    where = sa.and_(table.c.seq.in_(_of_batch(batch_id)), table.c.resource == resource, _IS_OPEN)
    rows = conn.execute(sa.select(table.c.seq, table.c.doc).where(where).with_for_update()).all()
    for row in rows:
        file = domain.cancelled(decode(row.doc, VectorStoreFile))
        conn.execute(sa.update(table).where(table.c.seq == row.seq).values(status=file.status, doc=encode(file)))
    return len(rows)


def count(conn: Connection, resource: str, store_id: str) -> int:
    """How many files the store has, in whatever state."""
    query = sa.select(sa.func.count()).where(table.c.vector_store_id == store_id, table.c.resource == resource)
    return conn.execute(query).scalar_one()


def is_settled(conn: Connection, resource: str, store_id: str) -> bool:
    """Whether no file of the store is being ingested or waits for it."""
    query = sa.select(table.c.seq).where(table.c.vector_store_id == store_id, table.c.resource == resource, _IS_OPEN)
    return conn.execute(query.limit(1)).first() is None


def searchable(conn: Connection, resource: str, store_id: str, *, since: int = -1) -> list[Member]:
    """The files that are searched, which have been what they are for a generation after `since`."""
    rows = conn.execute(
        sa.select(table.c.doc, table.c.generation).where(_is_searched(resource, store_id), table.c.generation > since)
    )
    return [Member(file=decode(row.doc, VectorStoreFile), generation=row.generation) for row in rows]


def has_searchable(conn: Connection, resource: str, store_id: str) -> bool:
    """Whether any file of the store is searched."""
    return conn.execute(sa.select(table.c.seq).where(_is_searched(resource, store_id)).limit(1)).first() is not None


def searchable_ids(conn: Connection, resource: str, store_id: str) -> list[str]:
    """Ids of all files that are searched."""
    return list(conn.execute(sa.select(table.c.id).where(_is_searched(resource, store_id))).scalars())


def documents(conn: Connection) -> set[str]:
    """Keys of the documents of all files of all resources: what is kept of the derived data."""
    docs = conn.execute(sa.select(table.c.doc).where(table.c.status == "completed")).scalars()
    return {document for doc in docs if (document := decode(doc, VectorStoreFile).document) is not None}


def claim(
    conn: Connection, worker: str, *, now: float, until: float, limit: int, but: Collection[int] = ()
) -> list[Claim]:
    """Take up to `limit` files that wait, or whose worker is gone, oldest first. but: rows in the worker's hands.

    One that was claimed before may be what its worker died of: it is taken alone, when nothing else is in hand.
    """
    query = _CLAIMABLE.where(table.c.seq.not_in(but)).limit(limit) if but else _CLAIMABLE.limit(limit)
    found = conn.execute(query, {"worker": worker, "now": now}).all()
    rows = list(takewhile(lambda row: row.attempts == 0, found)) or ([] if but else found[:1])
    if rows:
        conn.execute(_CLAIM, [{"at": row.seq, "worker": worker, "until": until} for row in rows])
    return [
        Claim(
            seq=row.seq,
            resource=row.resource,
            file=decode(row.doc, VectorStoreFile),
            attempts=row.attempts + 1,
        )
        for row in rows
    ]


def any_claimable(conn: Connection, worker: str, *, now: float, but: Collection[int] = ()) -> bool:
    """Whether `claim` would find something."""
    query = sa.select(table.c.seq).where(_IS_OPEN, _IS_FREE).limit(1)
    if but:
        query = query.where(table.c.seq.not_in(but))
    return conn.execute(query, {"worker": worker, "now": now}).first() is not None


def renew(conn: Connection, worker: str, rows: Iterable[int], *, until: float) -> set[int]:
    """Heartbeat: those of the rows that are still the worker's to ingest."""
    mine = sa.and_(table.c.seq.in_(list(rows)), table.c.owner == worker, _IS_OPEN)
    return set(conn.execute(sa.update(table).where(mine).values(lease_until=until).returning(table.c.seq)).scalars())


def release(conn: Connection, worker: str, *, rows: Iterable[int] | None = None, keep_attempts: bool = False) -> None:
    """Give back what a worker has in hand: these rows, or all. keep_attempts: it was the file's fault, maybe."""
    mine = sa.and_(table.c.owner == worker, _IS_OPEN)
    if rows is not None:
        mine = sa.and_(mine, table.c.seq.in_(list(rows)))
    attempts = {} if keep_attempts else {"attempts": 0}
    conn.execute(sa.update(table).where(mine).values(owner=None, lease_until=None, **attempts))


def complete(conn: Connection, worker: str, resource: str, store_id: str, ingested: Collection[Ingested]) -> int:
    """Searches find these files of one store from now on; of how many that is true: not of those that were cancelled,
    removed, or are another worker's by now."""

    def change(file: VectorStoreFile, seq: int) -> VectorStoreFile:
        made = of[seq]
        return domain.completed(file, document=made.document, usage_bytes=made.usage_bytes)

    of = {each.claim.seq: each for each in ingested}
    return _settle(conn, worker, resource, store_id, of, change)


def fail(conn: Connection, worker: str, claim: Claim, error: FileError) -> bool:
    """The file cannot be searched; False where it was cancelled, removed, or is another worker's by now."""
    at = (claim.resource, claim.file.vector_store_id, [claim.seq])
    return _settle(conn, worker, *at, lambda file, _: domain.failed(file, error)) == 1


def redo(
    conn: Connection, resource: str, store_id: str, old: VectorStoreFile, *, document: str, usage_bytes: int
) -> bool:
    """The file's text has been made anew, under another key maybe; False where the file is not what it was."""
    store_rows.lock(conn, resource, store_id)
    found = find(conn, resource, store_id, old.id, for_update=True)
    if found is None or (found[1].status, found[1].document) != ("completed", old.document):
        return False
    save(conn, resource, store_id, {found[0]: domain.completed(found[1], document=document, usage_bytes=usage_bytes)})
    return True


def count_open(conn: Connection) -> int:
    """How many files of all resources wait or are being ingested."""
    return conn.execute(sa.select(sa.func.count()).where(_IS_OPEN)).scalar_one()


def _settle(
    conn: Connection,
    worker: str,
    resource: str,
    store_id: str,
    seqs: Collection[int],
    change: Callable[[VectorStoreFile, int], VectorStoreFile],
) -> int:
    store_rows.lock(conn, resource, store_id)
    mine = sa.and_(table.c.seq.in_(seqs), table.c.owner == worker, _IS_OPEN)
    rows = conn.execute(sa.select(table.c.seq, table.c.doc).where(mine).with_for_update()).all()
    changed = {row.seq: change(decode(row.doc, VectorStoreFile), row.seq) for row in rows}
    save(conn, resource, store_id, changed)
    return len(rows)


def _is_shown(resource: str, now: int) -> sa.ColumnElement[bool]:
    return table.c.id.not_in(file_rows.ids_of_expired(resource, now))


def _is_searched(resource: str, store_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.vector_store_id == store_id, table.c.resource == resource, table.c.status == "completed")


def _of_batch(batch_id: str) -> sa.Select[tuple[int]]:
    return sa.select(members.c.file_seq).where(members.c.batch_id == batch_id)
