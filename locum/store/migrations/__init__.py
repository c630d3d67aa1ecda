"""Alembic migrations; `upgrade` brings a database to the schema of this release."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

HEAD = "0001"
"""The newest revision in `versions/` (a test compares): a start on a current database need not import Alembic."""


def upgrade(engine: sa.Engine) -> None:
    """Apply the migrations that are missing, each in a transaction."""
    with engine.connect() as connection:
        current = None
        if sa.inspect(connection).has_table("alembic_version"):
            current = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        connection.rollback()
        if current == HEAD:
            return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
