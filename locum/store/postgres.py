"""PostgreSQL through asyncpg: the same store functions, run on SQLAlchemy's async engine by `run_sync`.

Several servers may share one database: what must not race locks the row it is about (`with_for_update` in the
store's functions), and runs are claimed with SKIP LOCKED. A database that is away gives `Unavailable`; the next call
tries again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from locum import crashpoints
from locum.errors import OutcomeUnknown, StartupError, Unavailable
from locum.postgres_url import PostgresURL
from locum.store.migrations import upgrade

T = TypeVar("T")

_POOL_SECONDS = 15
_CONNECTIONS = 20
_MIGRATION_LOCK = 0x10C07
_TRIES = 3
_TRY_AGAIN = ("40001", "40P01")
"""Serialization failure, deadlock."""
_AWAY = (OSError, TimeoutError, sa.exc.InterfaceError, sa.exc.OperationalError)


def create_engine(address: PostgresURL, **options: Any) -> AsyncEngine:
    """Return an engine whose connections are opened by the address."""
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=address.connect,
        hide_parameters=True,  # they are people's words, and errors end up in logs
        **options,
    )


class Postgres:
    """A `Database` on a server. Use `open`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._writer = engine
        self._writing: set[asyncio.Future[Any]] = set()
        self._reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @classmethod
    async def open(cls, url: str, *, connections: int = _CONNECTIONS) -> Postgres:
        """Connect and bring the schema to this release; StartupError when the database cannot be reached."""
        address = PostgresURL.parse(url)
        engine = create_engine(
            address,
            pool_size=connections,
            max_overflow=0,  # a connection beyond the pool would be closed after its use, and all it has prepared
            pool_timeout=_POOL_SECONDS,
        )
        try:
            async with engine.begin() as connection:
                # Servers that start together migrate one after the other.
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
                await connection.run_sync(upgrade)
        except (*_AWAY, sa.exc.DBAPIError) as error:
            await engine.dispose()
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise StartupError(f"The database at {address} cannot be used: {reason}") from None
        return cls(engine)

    async def write(self, fn: Callable[[Connection], T]) -> T:
        # As with SQLite: a transaction that was begun runs to its end, also when its caller is cancelled.
        writing = asyncio.ensure_future(self._write(fn))
        self._writing.add(writing)
        writing.add_done_callback(self._written)
        result = await asyncio.shield(writing)
        crashpoints.reach("commit")
        return result

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await self._run(self._reader, fn)

    async def _write(self, fn: Callable[[Connection], T]) -> T:
        for _ in range(_TRIES):
            try:
                return await self._run(self._writer, fn)
            except sa.exc.DBAPIError as error:  # two transactions in each other's way: one of them is to begin again
                if getattr(error.orig, "sqlstate", None) not in _TRY_AGAIN:
                    raise
        raise Unavailable("The database is too busy.")

    async def close(self) -> None:
        if self._writing:
            await asyncio.wait(self._writing)
        await self._writer.dispose()

    def _written(self, writing: asyncio.Future[Any]) -> None:
        self._writing.discard(writing)
        if not writing.cancelled():
            writing.exception()  # seen, whoever else waits for it

    async def _run(self, engine: AsyncEngine, fn: Callable[[Connection], T]) -> T:
        """In a transaction. A pooled connection may have been closed by the other side while it was idle: what had not
        come to its commit is begun once more, on a fresh one."""
        for is_last in (False, True):
            is_done = False

            def run(connection: Connection) -> T:
                nonlocal is_done
                result = fn(connection)
                is_done = True
                return result

            try:
                async with engine.begin() as connection:
                    return await connection.run_sync(run)
            except (*_AWAY, sa.exc.DBAPIError) as error:
                was_lost = isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
                if was_lost and not is_done and not is_last:
                    continue
                if was_lost or isinstance(error, _AWAY):
                    refusal = OutcomeUnknown if is_done else Unavailable
                    raise refusal("The database cannot be reached.") from error
                raise
        raise AssertionError("unreachable")
