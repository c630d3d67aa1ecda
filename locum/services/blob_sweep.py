"""Removal of noted garbage and of old trash, only in a blob store that belongs to this database."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Literal

import structlog
from sqlalchemy import Connection

from locum import ids
from locum.blobs.base import BlobStore
from locum.clock import Clock
from locum.domain.files import blob_key
from locum.domain.uploads import part_blob_key
from locum.services.tracked_blobs import GRACE_SECONDS, TrackedBlobs
from locum.store import files as file_store
from locum.store import identity, staged_blobs
from locum.store import uploads as upload_store
from locum.store.database import Database, Reader

log = structlog.get_logger(__name__)

_BATCH = 100
_DRAFT_SECONDS = 24 * 3600.0
"""A draft is written in pieces of 1 MiB: one that a slow client sends may be untouched for hours."""

REMEDY = (
    "Nothing is swept there. Set LOCUM_DATABASE_URL, LOCUM_DATA_DIR and LOCUM_BLOB_URL as they belong together. If "
    "this database is the right one, stop the server and run `locum migrate --adopt-blobs`"
)

Ownership = Literal["ours", "foreign", "unmarked"]


class BlobSweep:
    """Sweeps the blobs of one database."""

    def __init__(self, db: Database, blobs: TrackedBlobs, clock: Clock) -> None:
        self._db = db
        self._blobs = blobs
        self._store = blobs.store
        self._clock = clock

    async def sweep(self) -> tuple[str, ...]:
        """Remove garbage, keys staged for longer than the grace period, and trash that is over; return the keys. Remove
        nothing unless the blobs belong to this database."""
        ownership = await claim(self._db, self._store)
        if ownership != "ours":
            log.error(explain(ownership), marker=self._store.marker, remedy=REMEDY)
            return ()
        removed = await self._sweep_notes()
        await self._store.purge(deleted_before=self._first_kept_day(), drafts_before=self._clock() - _DRAFT_SECONDS)
        return removed

    async def _sweep_notes(self) -> tuple[str, ...]:
        before = self._clock() - GRACE_SECONDS
        if await self._db.read(lambda conn: staged_blobs.is_any_overdue(conn, before=before)):
            await self._db.write(lambda conn: staged_blobs.mark_overdue(conn, before=before))
        removed: list[str] = []
        while keys := await self._db.read(lambda conn: staged_blobs.garbage(conn, limit=_BATCH)):
            done = await self._blobs.discard(keys)
            removed += done
            if len(done) < len(keys):
                break  # the next hour may be better
        return tuple(removed)

    def _first_kept_day(self) -> str:
        now = datetime.fromtimestamp(self._clock(), UTC)
        return (now.date() - timedelta(days=self._blobs.keep_days)).isoformat()


async def claim(db: Database, store: BlobStore) -> Ownership:
    """Return the owner of the blobs, after claiming a store without an owner if its blobs are this database's."""
    database_id = await _identify(db)
    if (owner := await store.owner()) is not None:
        return "ours" if owner == database_id else "foreign"
    if not await _knows_blobs(db, store):
        return "unmarked"
    await store.set_owner(database_id)
    return "ours"


async def adopt(db: Database, store: BlobStore) -> str | None:
    """Make this database the owner of the blobs; return the id of the former one."""
    database_id = await _identify(db)
    former = await store.owner()
    await store.set_owner(database_id)
    return former if former != database_id else None


def explain(ownership: Ownership) -> str:
    """Return a sentence about blobs that are not ours."""
    if ownership == "foreign":
        return "The stored files belong to another database"
    return "There are stored files that this database does not know, and no marker that names their database"


def may_claim(
    stored: AbstractSet[str], rows: AbstractSet[str], notes: AbstractSet[str], lost: AbstractSet[str]
) -> bool:
    """Return whether blobs without an owner are evidently a database's: it knows all of them, or its rows lack no bytes
    and are more than the blobs it does not know (bytes that an earlier release left behind).

    stored: keys of the blobs; rows, notes: keys in the database; lost: keys in rows whose bytes are not stored.
    """
    strangers = stored - rows - notes
    return not strangers or (not lost and len(strangers) < len(rows))


async def _identify(db: Database) -> str:
    """Return the id of the database, after giving it one if it has none."""
    if (database_id := await db.read(identity.get)) is not None:
        return database_id
    return await db.write(lambda conn: identity.ensure(conn, ids.new("db_")))


async def _knows_blobs(db: Reader, store: BlobStore) -> bool:
    rows_before = await db.read(_row_keys)
    stored = await store.keys()
    rows, notes = await db.read(lambda conn: (_row_keys(conn), staged_blobs.every(conn)))
    lost = (rows_before & rows) - stored  # rows that came or went meanwhile prove nothing
    return may_claim(stored, rows_before | rows, notes, lost)


def _row_keys(conn: Connection) -> set[str]:
    """Return the keys of all files and parts."""
    return {*map(blob_key, file_store.known_ids(conn)), *map(part_blob_key, upload_store.known_part_ids(conn))}
