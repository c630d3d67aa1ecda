"""Writes of ingestion to the rows, as values that can be sent between processes.

With SQLite the server's process alone writes: the ingestion worker sends a write, the server executes it and returns
the result. Each is a callable for `Database.write`, so `await db.write(ClaimFiles(…))`
is the same code on both databases.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection

from locum.domain.vector_stores import FileError, VectorStoreFile
from locum.store import vector_store_files as rows
from locum.store import vector_stores as store_rows
from locum.store.vector_store_files import Claim, Ingested


class ClaimFiles(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Take up to `limit` files that wait, or whose worker is gone."""

    worker: str
    now: float
    until: float
    limit: int
    but: tuple[int, ...]

    def __call__(self, conn: Connection) -> list[Claim]:
        return rows.claim(conn, self.worker, now=self.now, until=self.until, limit=self.limit, but=self.but)


class RenewLeases(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Heartbeat: those of the rows that are still the worker's."""

    worker: str
    rows: tuple[int, ...]
    until: float

    def __call__(self, conn: Connection) -> set[int]:
        return rows.renew(conn, self.worker, self.rows, until=self.until)


class ReleaseFiles(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Give back these rows of a worker, or all that it has in hand."""

    worker: str
    rows: tuple[int, ...] | None = None
    keep_attempts: bool = False

    def __call__(self, conn: Connection) -> None:
        rows.release(conn, self.worker, rows=self.rows, keep_attempts=self.keep_attempts)


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """count: of the files that are found from now on. is_other: the store is searched by other vectors than theirs."""

    count: int
    is_other: bool


class CompleteFiles(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Searches find these files of one store from now on. embedder: whose vectors they have; a store that had nothing
    to be searched is searched by those from now on."""

    worker: str
    resource: str
    store_id: str
    ingested: list[Ingested]
    embedder: str | None

    def __call__(self, conn: Connection) -> Completed:
        at = (self.resource, self.store_id)
        store_rows.lock(conn, *at)  # whoever else changes it waits
        was_empty = not rows.has_searchable(conn, *at)
        count = rows.complete(conn, self.worker, *at, self.ingested)
        is_other = count > 0 and store_rows.embedder(conn, *at) != self.embedder
        if is_other and was_empty:
            store_rows.use_embedder(conn, *at, self.embedder)
        return Completed(count=count, is_other=is_other and not was_empty)


class FailFile(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The file cannot be searched; False where it is not the worker's any more."""

    worker: str
    claim: Claim
    error: FileError

    def __call__(self, conn: Connection) -> bool:
        return rows.fail(conn, self.worker, self.claim, self.error)


class RedoFile(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The text of a file that is searched has been made anew; False where the file is not what it was."""

    resource: str
    store_id: str
    file: VectorStoreFile
    document: str
    usage_bytes: int

    def __call__(self, conn: Connection) -> bool:
        return rows.redo(
            *(conn, self.resource, self.store_id, self.file), document=self.document, usage_bytes=self.usage_bytes
        )


class ChangeEmbedder(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Have the store searched by the vectors of this one, unless it is not what it was: then False."""

    resource: str
    store_id: str
    generation: int | None
    embedder: str | None

    def __call__(self, conn: Connection) -> bool:
        now = store_rows.generation(conn, self.resource, self.store_id, for_update=True)
        if now == self.generation:
            store_rows.use_embedder(conn, self.resource, self.store_id, self.embedder)
        return now == self.generation or now is None


Write = ClaimFiles | RenewLeases | ReleaseFiles | CompleteFiles | FailFile | RedoFile | ChangeEmbedder

RESULTS: dict[type[Write], Any] = {
    ClaimFiles: list[Claim],
    RenewLeases: set[int],
    ReleaseFiles: None,
    CompleteFiles: Completed,
    FailFile: bool,
    RedoFile: bool,
    ChangeEmbedder: bool,
}
"""Type of each write's result."""
