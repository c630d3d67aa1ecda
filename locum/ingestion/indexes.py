"""The keyword indexes of this server, a directory for each store, and what is in them.

An index may hold more than its store (a file that was taken out a moment ago): a search asks for what the store has.
It never holds less: a file gets in before its row says that it is searched. What is in is written beside the index,
after the commit that adds and before the one that removes: a crash between the two has units put in once more, which
changes nothing, or leaves some that nobody asks for. Where several servers share one database, each has indexes of its
own and brings them up to date when they are searched (`cover`).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from pathlib import Path

import msgspec
import structlog
from sqlalchemy import Connection

from locum import crashpoints
from locum.documents import store as document_store
from locum.documents.types import Ranges, Unit
from locum.errors import StorageFull
from locum.ingestion.compute import ComputeError, ComputeProcess
from locum.ingestion.locks import Locks
from locum.store.database import Database

log = structlog.get_logger(__name__)

_CONTENTS = "units.json"
_MOST_BYTES = 8_000_000
"""Of the texts that go into an index with one commit, but for a single one that is longer."""
_UNUSABLE = "IndexUnusable"

_Added = tuple[str, bytes, Ranges]


class KeywordIndexes:
    """place: from a store's id to the directory of its index."""

    def __init__(self, data: Database, compute: ComputeProcess, place: Callable[[str], Path]) -> None:
        self._data = data
        self._compute = compute
        self._place = place
        self._contents: dict[str, frozenset[str]] = {}
        self._locks = Locks()

    def held(self, store_id: str) -> asyncio.Lock:
        """Held, nobody else changes the index of the store."""
        return self._locks.of(store_id)

    async def cover(self, store_id: str, units: Collection[Unit], *, anew: bool = False) -> None:
        """Have at least these in the index: nothing to do where this server has ingested them itself. anew: the index
        has turned out to be spoiled."""
        if not anew and {unit.key for unit in units} <= await self._in(store_id):
            return
        async with self.held(store_id):
            if anew:
                await self._remove(store_id)
            await self.put(store_id, units)

    async def put(self, store_id: str, units: Collection[Unit]) -> None:
        """Those of the units that are not in the index are, when this returns. The caller holds it."""
        have = await self._in(store_id)
        missing = [unit for unit in units if unit.key not in have]
        try:
            async for some in self._portions(missing):
                await self._apply(store_id, add=some)
        except ComputeError as error:
            if error.kind == StorageFull.__name__:
                raise StorageFull("There is no room left on the disk for the search index.") from error
            if error.kind != _UNUSABLE:
                raise
            log.warning("a keyword index is spoiled and is built again", store=store_id, reason=str(error))
            have = await self._in(store_id)
            await self._remove(store_id)
            async for some in self._portions([*map(Unit.of_key, have), *missing]):
                await self._apply(store_id, add=some)

    async def tidy(self, store_id: str, keep: Callable[[], Awaitable[Collection[Unit]]]) -> None:
        """Take out what the store does not have any more. `keep` is asked when nobody changes the index."""
        async with self.held(store_id):
            superfluous = await self._in(store_id) - {unit.key for unit in await keep()}
            if superfluous:
                await self._apply(store_id, remove=superfluous)

    async def stores(self) -> set[str]:
        """Ids of the stores that have an index here."""
        return set(await asyncio.to_thread(_folders, self._place("any").parent))

    async def drop(self, store_id: str) -> None:
        """Remove the index of a store that is no more."""
        async with self.held(store_id):
            await self._remove(store_id)

    async def _in(self, store_id: str) -> frozenset[str]:
        """The units in the index."""
        found = self._contents.get(store_id)
        if found is None:
            found = await asyncio.to_thread(_read, self._place(store_id))
            found = self._contents.setdefault(store_id, found)
        return found

    async def _apply(self, store_id: str, *, remove: Iterable[str] = (), add: Iterable[_Added] = ()) -> None:
        remove, add = list(remove), list(add)
        directory = self._place(store_id)
        stays = await self._in(store_id) - frozenset(remove)
        await asyncio.to_thread(_clear_unknown, directory)
        if remove:
            await self._note(store_id, stays)
        await self._compute.index(directory, remove=remove, add=add)
        crashpoints.reach("keyword index written")
        if add:
            await self._note(store_id, stays | {key for key, _, _ in add})

    async def _note(self, store_id: str, contents: frozenset[str]) -> None:
        await asyncio.to_thread(_write, self._place(store_id), contents)
        self._contents[store_id] = contents

    async def _remove(self, store_id: str) -> None:
        self._contents.pop(store_id, None)
        await asyncio.to_thread(shutil.rmtree, self._place(store_id), ignore_errors=True)

    async def _portions(self, units: Iterable[Unit]) -> AsyncIterator[list[_Added]]:
        """The units with their texts, not too much at a time. Those that are not there are left out."""
        waiting = list(units)
        while waiting:
            portion, count = await self._data.read(lambda conn: _portion(conn, waiting))
            del waiting[:count]
            if portion:
                yield portion


def _portion(conn: Connection, units: list[Unit]) -> tuple[list[_Added], int]:
    """The first of the units, and how many these are."""
    portion: list[_Added] = []
    size = 0
    for number, unit in enumerate(units):
        ranges = document_store.chunks(conn, unit)
        if ranges is None:
            continue
        text = document_store.text_in_utf8(conn, unit.document)
        if portion and size + len(text) > _MOST_BYTES:
            return portion, number
        portion.append((unit.key, text, ranges))
        size += len(text)
    return portion, len(units)


def _folders(root: Path) -> list[str]:
    return [each.name for each in root.iterdir() if each.is_dir()] if root.is_dir() else []


def _clear_unknown(directory: Path) -> None:
    """Remove an index that was begun and whose contents have not been written down."""
    if directory.is_dir() and not (directory / _CONTENTS).exists():
        shutil.rmtree(directory)


def _read(directory: Path) -> frozenset[str]:
    try:
        return frozenset(msgspec.json.decode((directory / _CONTENTS).read_bytes(), type=list[str]))
    except (OSError, msgspec.DecodeError):
        return frozenset()


def _write(directory: Path, contents: frozenset[str]) -> None:
    draft = directory / f"{_CONTENTS}.new"
    draft.write_bytes(msgspec.json.encode(sorted(contents)))
    draft.replace(directory / _CONTENTS)
