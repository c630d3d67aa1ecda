"""Alembic migrations; `upgrade` brings a database to the schema of this release."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from locum.errors import StartupError

HEAD = "0008"
"""The newest revision in `versions/` (a test compares): a start on a current database need not import Alembic.
Revisions are numbers in ascending order."""


def current_revision(connection: sa.Connection) -> str | None:
    """The revision a database is at; None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(connection: sa.Connection, *, to: str = HEAD) -> None:
    """Bring the schema to that revision, within the connection's transaction."""
    current = current_revision(connection)
    if current == to:
        return
    if current is not None and current > HEAD:
        raise StartupError(
            "The database was written by a newer version of Locum. Install that version, or a newer one."
        )
    if current is None and to == HEAD:
        _create(connection)
    else:
        migrate(connection, to=to)


def migrate(connection: sa.Connection, *, to: str) -> None:
    """Apply the migrations from the database's revision up to this one."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _create(connection: sa.Connection) -> None:
    """Create the tables of this release in an empty database: the same schema as all migrations give (a test compares),
    without importing Alembic, in a quarter of the time."""
    from locum.store.tables import metadata

    metadata.create_all(connection, checkfirst=False)
    version = sa.Table(
        "alembic_version",
        sa.MetaData(),
        sa.Column("version_num", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),  # Alembic's own name for it
    )
    version.create(connection, checkfirst=False)
    connection.execute(version.insert().values(version_num=HEAD))
