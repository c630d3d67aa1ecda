"""`locum migrate`: the database, brought to this release."""

from __future__ import annotations

import asyncio

import typer

from locum.cli import database
from locum.cli.options import DataDir
from locum.settings import Settings
from locum.store.data_dir import lock_data_dir
from locum.store.migrations import HEAD


def migrate(data_dir: DataDir = None) -> None:
    """Bring the configured database to the schema of this release, as a start of the server does.

    Refuses while a server runs on the data directory.
    """
    settings = Settings.load(data_dir=data_dir)
    with lock_data_dir(settings.data_dir):
        before = asyncio.run(_migrate(settings))
    called = database.name(settings)
    if before == HEAD:
        typer.echo(f"{called} is at revision {HEAD} already: nothing to do.")
    else:
        typer.echo(f"{called}: from {'empty' if before is None else f'revision {before}'} to revision {HEAD}.")


async def _migrate(settings: Settings) -> str | None:
    """The revision it was at."""
    from locum.app.admin import open_admin_handler

    before = await database.revision(settings)
    async with open_admin_handler(settings):  # opening a database brings it up to date
        return before
