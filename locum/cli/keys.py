"""`locum keys`: make, list and revoke the keys of the server's callers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from locum.access.principals import PERMISSIONS
from locum.admin import protocol
from locum.cli.options import DataDir
from locum.cli.requests import ask, must_exist
from locum.cli.tables import table
from locum.settings import Settings

keys = typer.Typer(help="Make, list and revoke API keys, in a running server or without one.", no_args_is_help=True)


@keys.command()
def create(
    resource: Annotated[str, typer.Option(help="Whose key it is. Resources see nothing of each other.")] = "default",
    name: Annotated[str | None, typer.Option(help="A word for it, to tell it from others.")] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="PERMISSION", help=f"What it may do beyond the hosted API: {', '.join(PERMISSIONS)}."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it: this once, for only its digest is stored.

    A server with a key asks every caller for one, also where LOCUM_API_KEY is not set.
    """
    reply = asyncio.run(ask(Settings.load(data_dir=data_dir), protocol.CreateKey(resource, name, tuple(allow or ()))))
    assert isinstance(reply, protocol.CreatedKey)
    typer.echo(reply.key)
    # Beside the key, not with it: KEY=$(locum keys create) gets the key alone.
    typer.echo(f"Key {reply.row.id} of the resource {reply.row.resource}. It is not shown again.", err=True)


@keys.command("list")
def list_(data_dir: DataDir = None) -> None:
    """List the keys; of the keys themselves nothing is known."""
    settings = Settings.load(data_dir=data_dir)
    must_exist(settings)
    reply = asyncio.run(ask(settings, protocol.ListKeys()))
    assert isinstance(reply, protocol.KeyList)
    if not reply.rows:
        typer.echo("There is no key. `locum keys create` makes one.", err=True)
        return
    rows = [("ID", "RESOURCE", "CREATED", "ALLOWED", "NAME")]
    rows += [
        (row.id, row.resource, _moment(row.created_at), ",".join(row.permissions), row.name or "") for row in reply.rows
    ]
    typer.echo(table(rows))


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `locum keys list` shows it.")],
    data_dir: DataDir = None,
) -> None:
    """Revoke a key: it stops working at once."""
    settings = Settings.load(data_dir=data_dir)
    must_exist(settings)
    reply = asyncio.run(ask(settings, protocol.RevokeKey(key_id)))
    assert isinstance(reply, protocol.RevokedKey)
    typer.echo(f"Revoked {key_id}.")
    if not reply.left:
        typer.echo(
            "That was the last key: a server that is running answers nobody until there is another. "
            "Started anew, it serves this machine only, without a key.",
            err=True,
        )


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
