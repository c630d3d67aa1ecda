"""Send a command's request to the running server, or answer it on the database when none runs."""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractContextManager, nullcontext

from locum.admin import client, protocol
from locum.errors import StartupError
from locum.settings import Settings
from locum.store.data_dir import lock_data_dir

_TRIES = 50
_PAUSE_SECONDS = 0.1


async def ask(settings: Settings, request: protocol.Request) -> protocol.Reply:
    """The reply; StartupError in the words of a `Failure`."""
    reply = await client.ask(settings.data_dir, request)
    if reply is None:
        reply = await _answer_here(settings, request)
    if isinstance(reply, protocol.Failure):
        raise StartupError(reply.message)
    return reply


async def _answer_here(settings: Settings, request: protocol.Request) -> protocol.Reply:
    tries = 0
    while True:
        try:
            holding = hold(settings)
            break
        except StartupError:
            # A server that is starting or stopping holds the data directory, and is not to be spoken to.
            tries += 1
            if tries == _TRIES or not os.access(settings.data_dir / "lock", os.W_OK):
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
            if (reply := await client.ask(settings.data_dir, request)) is not None:
                return reply
    from locum.app.admin import open_admin_handler

    with holding:
        async with open_admin_handler(settings) as handler:
            return await handler.answer(request)


def hold(settings: Settings) -> AbstractContextManager[object]:
    """Keep servers from the data directory. A database that several servers share needs no such thing."""
    return nullcontext() if settings.database_url else lock_data_dir(settings.data_dir)


def must_exist(settings: Settings) -> None:
    """A directory that was named wrongly is not made just to find nothing in it."""
    if settings.database_url is None and not (settings.data_dir / "locum.db").exists():
        raise StartupError(
            f"There is no database in {settings.data_dir}. Name another directory with --data-dir, "
            "or start the server: that makes one."
        )
