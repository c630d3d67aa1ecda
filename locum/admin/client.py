"""A command's way to the running server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from locum.admin import protocol
from locum.errors import StartupError

_REPLY_SECONDS = 60.0


async def ask(directory: Path, request: protocol.Request) -> protocol.Reply | None:
    """The running server's reply; None when no server listens in that data directory."""
    if sys.platform == "win32":
        return None
    try:
        with protocol.socket_path(directory) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=protocol.MAX_LINE)
    except OSError:
        return None
    try:
        writer.write(protocol.line(request))
        async with asyncio.timeout(_REPLY_SECONDS):
            said = await reader.readline()
        if not said:
            raise StartupError("The server stopped before it answered. Try again.")
        return protocol.reply(said)
    except (OSError, TimeoutError):
        raise StartupError("The running server does not answer. Its log may say why.") from None
    except msgspec.DecodeError:
        raise StartupError("The running server is another version of Locum. Restart it with this one.") from None
    finally:
        writer.close()
