"""Run by Alembic: it is handed the connection to migrate."""

from __future__ import annotations

from alembic import context

from locum.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
