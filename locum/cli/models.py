"""`locum models`: the model names on offer."""

from __future__ import annotations

import asyncio

import typer

from locum.admin import client, protocol
from locum.cli.options import DataDir, printable
from locum.cli.tables import table
from locum.errors import StartupError
from locum.settings import Settings


def models(data_dir: DataDir = None) -> None:
    """List the model names the server offers and where each leads."""
    reply = asyncio.run(_list(Settings.load(data_dir=data_dir)))
    typer.echo(reply.summary)
    if not reply.names:
        typer.echo("The model server gives no list of names now; `locum doctor` says why.", err=True)
        return
    typer.echo(table([(printable(model.name), printable(model.leads_to)) for model in reply.names], indent=2))


async def _list(settings: Settings) -> protocol.ModelList:
    """By the settings the server was started with, if one runs; otherwise by those in force here."""
    reply = await client.ask(settings.data_dir, protocol.ListModels())
    if isinstance(reply, protocol.Failure):
        raise StartupError(reply.message)
    if reply is None:
        from locum.admin.handler import list_models
        from locum.app.adapters import open_routes

        routes = open_routes(settings)
        try:
            return await list_models(routes)
        finally:
            await routes.close()
    assert isinstance(reply, protocol.ModelList)
    return reply
