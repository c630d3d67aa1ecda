"""Answers the requests of commands: in the running server, or in the command itself when none runs."""

from __future__ import annotations

import os
from typing import assert_never

from locum import __version__
from locum.access.keys import Keys
from locum.admin.protocol import (
    Check,
    CreatedKey,
    CreateKey,
    Failure,
    Health,
    KeyList,
    ListKeys,
    ListModels,
    ModelList,
    ModelName,
    Reply,
    Request,
    RevokedKey,
    RevokeKey,
    SumUsage,
    UsageSums,
)
from locum.errors import InvalidRequest, LocumError
from locum.models.routes import Routes
from locum.store import identity
from locum.store import usage as usage_store
from locum.store.database import Database
from locum.store.migrations import current_revision

_MOST_SUMS = 50_000
"""Lines that go into one reply; a person reads fewer."""


class AdminHandler:
    """Answer every request; a `Failure` says why something cannot be done."""

    def __init__(self, db: Database, keys: Keys, routes: Routes) -> None:
        self._db = db
        self._keys = keys
        self._routes = routes

    async def answer(self, request: Request) -> Reply:
        try:
            return await self._answer(request)
        except LocumError as error:
            return Failure(error.message)

    async def _answer(self, request: Request) -> Reply:
        match request:
            case CreateKey(resource, name, permissions):
                return CreatedKey(*await self._keys.create(resource, name, permissions))
            case ListKeys():
                return KeyList(await self._keys.every())
            case RevokeKey(key_id):
                return RevokedKey(await self._keys.revoke(key_id))
            case ListModels():
                return await list_models(self._routes)
            case SumUsage():
                return await self._sum_usage(request)
            case Check():
                revision, database_id = await self._db.read(lambda conn: (current_revision(conn), identity.get(conn)))
                return Health(version=__version__, process=os.getpid(), revision=revision, database_id=database_id)
            case _:
                assert_never(request)

    async def _sum_usage(self, request: SumUsage) -> UsageSums:
        by, resource, since = request.by, request.resource, request.since
        rows = await self._db.read(
            lambda conn: usage_store.sums(conn, by=by, resource=resource, since=since, limit=_MOST_SUMS + 1)
        )
        if len(rows) > _MOST_SUMS:
            raise InvalidRequest(f"There are more than {_MOST_SUMS} lines: ask for fewer with --resource or --since.")
        return UsageSums(rows)


async def list_models(routes: Routes) -> ModelList:
    """The names on offer, and where each leads."""
    return ModelList(
        summary=routes.describe(),
        names=[ModelName(name, await _leads_to(routes, name)) for name in await routes.names()],
    )


async def _leads_to(routes: Routes, name: str) -> str:
    try:
        route = await routes.resolve(name)
    except LocumError as error:
        return f"nowhere: {error.message}"
    if route.backend is not None:
        return f"{route.upstream_name} at {route.backend.base_url}"
    return "the built-in demo model"
