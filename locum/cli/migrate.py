"""`locum migrate`: the database, brought to this release, and the stored files that it owns."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from locum.cli import database
from locum.cli.options import DataDir
from locum.settings import Settings
from locum.store.data_dir import lock_data_dir
from locum.store.migrations import HEAD


def migrate(
    data_dir: DataDir = None,
    adopt_blobs: Annotated[
        bool,
        typer.Option(
            "--adopt-blobs", help="Make this database the owner of the stored files, whichever database was so before."
        ),
    ] = False,
) -> None:
    """Bring the configured database to the schema of this release, as a start of the server does.

    Refuses while a server runs on the data directory.
    """
    settings = Settings.load(data_dir=data_dir)
    with lock_data_dir(settings.data_dir):
        before = asyncio.run(_migrate(settings))
        adopted = asyncio.run(_adopt_blobs(settings)) if adopt_blobs else None
    called = database.name(settings)
    if before == HEAD:
        typer.echo(f"{called} is at revision {HEAD} already: nothing to do.")
    else:
        typer.echo(f"{called}: from {'empty' if before is None else f'revision {before}'} to revision {HEAD}.")
    if adopted is not None:
        typer.echo(adopted)


async def _migrate(settings: Settings) -> str | None:
    """The revision it was at."""
    from locum.app.admin import open_admin_handler

    before = (await database.state(settings)).revision
    async with open_admin_handler(settings):  # opening a database brings it up to date
        return before


async def _adopt_blobs(settings: Settings) -> str:
    from locum.app.admin import adopt_blobs

    marker, former = await adopt_blobs(settings)
    return f"{marker} names this database now{f', no longer {former}' if former else ''}."
