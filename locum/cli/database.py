"""The configured database, looked at without changing it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import sqlalchemy as sa

from locum.errors import StartupError
from locum.settings import Settings
from locum.store import identity
from locum.store.migrations import current_revision

T = TypeVar("T")

_CHECK_SECONDS = 60.0
"""More than a start takes: nobody waits for the doctor to answer requests."""


def name(settings: Settings) -> str:
    """How to call it in front of people: without a password."""
    if settings.database_url is None:
        return f"SQLite in {settings.data_dir / 'locum.db'}"
    try:
        from locum.postgres_url import PostgresURL

        return f"PostgreSQL at {PostgresURL.parse(settings.database_url)}"
    except (ImportError, StartupError):
        return "PostgreSQL"


class State(NamedTuple):
    """The revision of the schema, None when the database is empty or not there yet, and the id of the database."""

    revision: str | None = None
    database_id: str | None = None


async def state(settings: Settings) -> State:
    """Return the state of the configured database. The caller holds the data directory."""
    if settings.database_url is not None:
        return await _postgres_state(settings.database_url)
    path = settings.data_dir / "locum.db"
    return _sqlite_state(path) if path.exists() else State()


def _state(connection: sa.Connection) -> State:
    revision = current_revision(connection)
    has_identity = revision is not None and sa.inspect(connection).has_table("database_identity")
    return State(revision, identity.get(connection) if has_identity else None)


def check_search_data(settings: Settings) -> None:
    """Raise StartupError for damaged derived data. The caller holds the data directory."""
    path = settings.data_dir / "search.db"
    if settings.database_url is None and path.exists():
        from locum.store.sqlite import REBUILD

        _read_sqlite(path, lambda _: None, remedy=REBUILD)


def _sqlite_state(path: Path) -> State:
    from locum.store.sqlite import RESTORE, refuse_emptied

    refuse_emptied(path)
    return _read_sqlite(path, _state, remedy=RESTORE)


def _read_sqlite(path: Path, fn: Callable[[sa.Connection], T], *, remedy: str) -> T:
    """Check the integrity of a database and read it, without changing it."""
    from locum.store.sqlite import check_integrity, sqlite_engine, unusable

    engine = sqlite_engine(path, read_only=True)
    try:
        with engine.connect() as connection:
            check_integrity(connection, path, seconds=_CHECK_SECONDS, remedy=remedy)
        with engine.begin() as connection:
            return fn(connection)
    except sa.exc.DatabaseError as error:
        raise unusable(path, error.orig, remedy) from None
    finally:
        engine.dispose()


async def _postgres_state(url: str) -> State:
    try:
        from locum.postgres_url import PostgresURL
        from locum.store.postgres import create_engine
    except ImportError:
        raise StartupError("LOCUM_DATABASE_URL needs PostgreSQL's client: pip install 'locum[postgres]'.") from None
    address = PostgresURL.parse(url)
    engine = create_engine(address)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(_state)
    except (OSError, sa.exc.SQLAlchemyError) as error:
        reason = (str(getattr(error, "orig", None) or error) or type(error).__name__).splitlines()[0]
        raise StartupError(f"The database at {address} cannot be used: {reason}") from None
    finally:
        await engine.dispose()
