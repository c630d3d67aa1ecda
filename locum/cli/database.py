"""The configured database, looked at without changing it."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from locum.errors import StartupError
from locum.settings import Settings
from locum.store.migrations import current_revision


def name(settings: Settings) -> str:
    """How to call it in front of people: without a password."""
    if settings.database_url is None:
        return f"SQLite in {settings.data_dir / 'locum.db'}"
    try:
        from locum.postgres_url import PostgresURL

        return f"PostgreSQL at {PostgresURL.parse(settings.database_url)}"
    except (ImportError, StartupError):
        return "PostgreSQL"


async def revision(settings: Settings) -> str | None:
    """The revision of its schema, None when it is empty or not there yet. The caller holds the data directory."""
    if settings.database_url is not None:
        return await _postgres_revision(settings.database_url)
    path = settings.data_dir / "locum.db"
    return _sqlite_revision(path) if path.exists() else None


def _sqlite_revision(path: Path) -> str | None:
    from locum.store.sqlite import sqlite_engine

    engine = sqlite_engine(path, read_only=True)
    try:
        with engine.begin() as connection:
            return current_revision(connection)
    except sa.exc.DatabaseError as error:
        raise StartupError(f"The database {path} cannot be used: {error.orig}.") from None
    finally:
        engine.dispose()


async def _postgres_revision(url: str) -> str | None:
    try:
        from locum.postgres_url import PostgresURL
        from locum.store.postgres import create_engine
    except ImportError:
        raise StartupError("LOCUM_DATABASE_URL needs PostgreSQL's client: pip install 'locum[postgres]'.") from None
    address = PostgresURL.parse(url)
    engine = create_engine(address)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(current_revision)
    except (OSError, sa.exc.SQLAlchemyError) as error:
        reason = (str(getattr(error, "orig", None) or error) or type(error).__name__).splitlines()[0]
        raise StartupError(f"The database at {address} cannot be used: {reason}") from None
    finally:
        await engine.dispose()
