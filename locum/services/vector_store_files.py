"""Files of vector stores: add, retrieve, wait, list, update, delete, content.

A file is only written here, as `in_progress`; the ingestion worker finds the row and ingests it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import UNSET
from msgspec.structs import replace
from sqlalchemy import Connection

from locum.access.principals import Principal
from locum.clock import Clock
from locum.domain import vector_stores as domain
from locum.domain.files import File
from locum.domain.pages import Listing, Page
from locum.domain.search import Texts
from locum.domain.vector_stores import MAX_FILES, Attribute, Chunking, FileError, FileStatus, VectorStoreFile
from locum.errors import InvalidRequest, Unavailable
from locum.services.checks import require_files
from locum.services.idempotency import IdempotencyKey, create_or_find
from locum.services.params import NewVectorStoreFile
from locum.signals.base import Signals
from locum.signals.waiting import until
from locum.store import vector_store_files as store
from locum.store import vector_stores as vector_store_store
from locum.store.database import Database


class VectorStoreFiles:
    """`wake` tells the ingestion worker that there may be files to ingest."""

    def __init__(self, db: Database, clock: Clock, signals: Signals, texts: Texts, wake: Callable[[], None]) -> None:
        self._db = db
        self._clock = clock
        self._signals = signals
        self._texts = texts
        self._wake = wake

    async def create(
        self,
        principal: Principal,
        store_id: str,
        new: NewVectorStoreFile,
        *,
        idempotency_key: IdempotencyKey | None = None,
    ) -> VectorStoreFile:
        """Add a file. One that is there stays as it is, but for attributes that are said; where it failed, was
        cancelled, or is to be cut in another way, it is ingested anew."""
        now, resource = int(self._clock()), principal.resource

        def insert(conn: Connection) -> VectorStoreFile:
            vector_store_store.get(conn, resource, store_id, for_update=True)

            def find(file_id: str) -> VectorStoreFile:
                return store.get(conn, resource, store_id, file_id, now=now)

            def make() -> VectorStoreFile:
                add_files(conn, resource, store_id, (new,), now=now, refuse_at="file_id")
                return find(new.file_id)

            return create_or_find(conn, resource, idempotency_key, make, find, now=now)[0]

        file = await self._db.write(insert)
        self._wake()
        self._signals.changed(store_id)
        return file

    async def retrieve(self, principal: Principal, store_id: str, file_id: str) -> VectorStoreFile:
        now = int(self._clock())

        def get(conn: Connection) -> VectorStoreFile:
            vector_store_store.get(conn, principal.resource, store_id)
            return store.get(conn, principal.resource, store_id, file_id, now=now)

        return await self._db.read(get)

    async def wait(self, principal: Principal, store_id: str, file_id: str, seconds: float) -> VectorStoreFile:
        """The file once it is ingested, or as it is after `seconds`."""

        async def look() -> VectorStoreFile:
            return await self.retrieve(principal, store_id, file_id)

        return await until(self._signals, store_id, look, lambda file: file.status != "in_progress", seconds=seconds)

    async def list(
        self, principal: Principal, store_id: str, page: Page, *, status: FileStatus | None = None
    ) -> Listing[VectorStoreFile]:
        now = int(self._clock())

        def get(conn: Connection) -> Listing[VectorStoreFile]:
            vector_store_store.get(conn, principal.resource, store_id)
            return store.page(conn, principal.resource, store_id, page, now=now, status=status)

        return await self._db.read(get)

    async def update(
        self, principal: Principal, store_id: str, file_id: str, *, attributes: dict[str, Attribute]
    ) -> VectorStoreFile:
        """Replace the attributes; searches that begin from now on filter by these."""

        now = int(self._clock())

        def change(conn: Connection) -> VectorStoreFile:
            vector_store_store.get(conn, principal.resource, store_id, for_update=True)
            store.get(conn, principal.resource, store_id, file_id, now=now)
            return store.set_attributes(conn, principal.resource, store_id, file_id, attributes)

        return await self._db.write(change)

    async def delete(self, principal: Principal, store_id: str, file_id: str) -> None:
        """Take the file out of the store; the file itself stays."""

        now = int(self._clock())

        def remove(conn: Connection) -> None:
            vector_store_store.get(conn, principal.resource, store_id, for_update=True)
            store.get(conn, principal.resource, store_id, file_id, now=now)
            store.delete(conn, principal.resource, store_id, file_id)

        await self._db.write(remove)
        self._signals.changed(store_id)

    async def content(self, principal: Principal, store_id: str, file_id: str) -> str:
        """The text that is searched, as it was taken out of the file."""
        file = await self.retrieve(principal, store_id, file_id)
        if file.status != "completed" or file.document is None:
            raise InvalidRequest(
                f"The file '{file_id}' has the status '{file.status}': only a file that is 'completed' has content."
            )
        text = await self._texts.text(file.document)
        if text is None:
            raise Unavailable(f"The content of the file '{file_id}' is not there right now.")
        return text


def add_files(
    conn: Connection,
    resource: str,
    store_id: str,
    new: Sequence[NewVectorStoreFile],
    *,
    now: int,
    refuse_at: str | None,
    files: Mapping[str, File] | None = None,
) -> list[int]:
    """Put files into a store that the caller has locked; the numbers of their rows.

    refuse_at: the parameter an error names when a file is of no kind that can be searched; with None such a file
    is let in and has failed. files: the files, if the caller has read them for share.
    """
    wanted = {each.file_id: each for each in new}
    if files is None:
        files = {file.id: file for file in require_files(conn, resource, wanted, now=now, for_share=True)}
    wrong = domain.unsupported(files[file_id].filename for file_id in wanted)
    if wrong is not None and refuse_at is not None:
        raise InvalidRequest(wrong, param=refuse_at, code="unsupported_file")
    present = store.find_all(conn, resource, store_id, wanted)
    absent = [each for file_id, each in wanted.items() if file_id not in present]
    if absent and (number := store.count(conn, resource, store_id)) + len(absent) > MAX_FILES:
        raise InvalidRequest(
            f"A vector store may have {MAX_FILES} files at most: '{store_id}' has {number}, and {len(absent)} more "
            "were to be added."
        )
    added = [_file_of(each, files[each.file_id], store_id, now=now) for each in absent]
    anew: dict[int, VectorStoreFile] = {}
    kept: list[int] = []
    changed: dict[int, VectorStoreFile] = {}
    for file_id, (row, had) in present.items():
        again = _completed(wanted[file_id], had)
        if had.status in ("failed", "cancelled") or again.chunking != had.chunking:
            anew[row] = _file_of(again, files[file_id], store_id, now=now)
            continue
        kept.append(row)
        if again.attributes != had.attributes:
            changed[row] = replace(had, attributes=again.attributes)
    store.save(conn, resource, store_id, changed)
    return [*store.insert(conn, resource, added), *store.replace(conn, resource, store_id, anew), *kept]


def _file_of(new: NewVectorStoreFile, file: File, store_id: str, *, now: int) -> VectorStoreFile:
    made = VectorStoreFile(
        id=file.id,
        created_at=now,
        vector_store_id=store_id,
        chunking=new.chunking or Chunking(),
        attributes={} if new.attributes is UNSET else new.attributes,
    )
    wrong = domain.unsupported((file.filename,))
    return made if wrong is None else domain.failed(made, FileError(code="unsupported_file", message=wrong))


def _completed(new: NewVectorStoreFile, had: VectorStoreFile) -> NewVectorStoreFile:
    """What is said of a file that is in the store already, and what is not said as it was."""
    attributes = had.attributes if new.attributes is UNSET else new.attributes
    return replace(new, attributes=attributes, chunking=new.chunking or had.chunking)
