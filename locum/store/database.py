"""Where store functions run.

A store function is synchronous, takes a connection and knows nothing of threads or tasks: `await db.write(lambda conn:
…)`. The same functions serve SQLite (`sqlite.py`) and PostgreSQL (`postgres.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


class Reader(Protocol):
    """What those see of a database who do not write it."""

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn`, which only reads, on one consistent snapshot."""
        ...

    async def close(self) -> None:
        """Finish what was asked for, then let go of the database."""
        ...


class Database(Reader, Protocol):
    """What the rest of Locum sees of a database."""

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in a transaction of its own; returns once it is committed, raises what `fn` raises."""
        ...
