"""Choice of the adapters by the settings: database, signals, model routes."""

from __future__ import annotations

import ipaddress
import os
from contextlib import AsyncExitStack
from pathlib import Path

from locum import ids
from locum.demo_model import DemoModel
from locum.errors import StartupError
from locum.models.routes import MappedModel, Routes
from locum.settings import Settings
from locum.signals.base import Signals
from locum.signals.local import LocalSignals
from locum.store.database import Database
from locum.store.sqlite import SQLite, refuse_emptied

_MIN_KEY_LENGTH = 16


async def open_database(settings: Settings, stack: AsyncExitStack) -> Database:
    """Open PostgreSQL where an address is set, else SQLite in the data directory; closed with the stack."""
    if settings.database_url is None:
        path = settings.data_dir / "locum.db"
        refuse_emptied(path)
        db = SQLite(path)
        stack.push_async_callback(db.close)
        return db
    try:
        from locum.store.postgres import Postgres
    except ImportError:
        raise StartupError("LOCUM_DATABASE_URL needs PostgreSQL's client: pip install 'locum[postgres]'.") from None
    postgres = await Postgres.open(settings.database_url)
    stack.push_async_callback(postgres.close)
    return postgres


def open_signals(settings: Settings, stack: AsyncExitStack) -> Signals:
    """Open signals between servers on PostgreSQL, else those within this process; closed with the stack."""
    if settings.database_url is None:
        return LocalSignals()
    from locum.signals.postgres import PostgresSignals

    signals = PostgresSignals(settings.database_url)
    signals.start()
    stack.push_async_callback(signals.close)
    return signals


def open_routes(settings: Settings) -> Routes:
    """Return the routes from model names to backends; the caller closes them. Raises StartupError."""
    return Routes(
        demo=DemoModel(),
        base_url=settings.model_base_url,
        api_key=settings.model_api_key,
        default_model=settings.model,
        context_window=settings.model_context_window,
        max_output_tokens=settings.model_max_output_tokens,
        tool_calling=settings.model_tool_calling,
        max_tokens_parameter=settings.model_max_tokens_parameter,
        mapped={
            name: MappedModel(
                base_url=table.base_url,
                model=table.model,
                api_key=os.environ.get(table.api_key_env) if table.api_key_env else None,
                context_window=table.context_window,
                max_output_tokens=table.max_output_tokens,
                tool_calling=table.tool_calling,
                max_tokens_parameter=table.max_tokens_parameter,
            )
            for name, table in settings.models.items()
        },
    )


def node_name(data_dir: Path) -> str:
    """Return this server's name as an owner of runs and files; it survives restarts."""
    file, draft = data_dir / "node", data_dir / "node.new"
    if not file.exists():
        draft.write_text(ids.new("node_"))
        draft.replace(file)
    return file.read_text()


def check_key_length(settings: Settings) -> None:
    """Raise StartupError for a short LOCUM_API_KEY on an address that other machines can reach."""
    key = settings.api_key
    if key is not None and len(key) < _MIN_KEY_LENGTH and not is_loopback(settings.host):
        raise StartupError(
            f"LOCUM_API_KEY has {len(key)} characters, and other machines can reach {settings.host}. Set one of at "
            f"least {_MIN_KEY_LENGTH}, for instance the output of `openssl rand -hex 24`."
        )


def explains_errors(settings: Settings, *, keyless: bool) -> bool:
    """Return whether callers may read model servers' addresses and words; unset, only where all are at this machine."""
    if settings.explain_errors is None:
        return keyless and is_loopback(settings.host)
    return settings.explain_errors


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
