"""Assistants: create, retrieve, list, update, delete."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from sqlalchemy import Connection

from locum import ids
from locum.access.principals import Principal
from locum.clock import Clock
from locum.domain.assistants import Assistant
from locum.domain.pages import Listing, Page
from locum.domain.tools import ToolResources
from locum.services import tool_resources
from locum.services.idempotency import IdempotencyKey, create_or_find
from locum.services.params import AssistantParams, said
from locum.services.shared_files import share
from locum.services.vector_stores import delete_made_for
from locum.store import assistants as store
from locum.store.database import Database


class Assistants:
    """`wake` tells the ingestion worker that there may be files to ingest."""

    def __init__(self, db: Database, clock: Clock, wake: Callable[[], None]) -> None:
        self._db = db
        self._clock = clock
        self._wake = wake

    async def create(
        self, principal: Principal, params: AssistantParams, *, idempotency_key: IdempotencyKey | None = None
    ) -> Assistant:
        """A new assistant; NotFound when one of its files or vector stores does not exist."""
        resource = principal.resource
        new = Assistant(id=ids.new("asst_"), created_at=int(self._clock()), **said(params))

        def insert(conn: Connection) -> Assistant:
            assistant = _with_resources(conn, resource, new, params, had=ToolResources(), now=new.created_at)
            store.insert(conn, resource, assistant)
            return assistant

        def make_or_find(conn: Connection) -> Assistant:
            def find(assistant_id: str) -> Assistant:
                return store.get(conn, resource, assistant_id)

            return create_or_find(conn, resource, idempotency_key, lambda: insert(conn), find, now=new.created_at)[0]

        assistant = await self._db.write(make_or_find)
        self._wake()
        return assistant

    async def retrieve(self, principal: Principal, assistant_id: str) -> Assistant:
        return await self._db.read(lambda conn: store.get(conn, principal.resource, assistant_id))

    async def list(self, principal: Principal, page: Page) -> Listing[Assistant]:
        return await self._db.read(lambda conn: store.page(conn, principal.resource, page))

    async def update(self, principal: Principal, assistant_id: str, params: AssistantParams) -> Assistant:
        """Change what `params` says; runs that exist keep the assistant as it was."""
        return await self._change(
            principal, assistant_id, params, lambda before: msgspec.structs.replace(before, **said(params))
        )

    async def update_resources(
        self, principal: Principal, assistant_id: str, change: Callable[[ToolResources], ToolResources]
    ) -> Assistant:
        """v1: change the tool resources as they are at that moment: of two callers none undoes what the other did."""
        return await self._change(
            principal,
            assistant_id,
            AssistantParams(shares_files=True),
            lambda before: msgspec.structs.replace(before, tool_resources=change(before.tool_resources)),
        )

    async def _change(
        self, principal: Principal, assistant_id: str, params: AssistantParams, change: Callable[[Assistant], Assistant]
    ) -> Assistant:
        def save(conn: Connection) -> Assistant:
            resource = principal.resource
            before = store.get(conn, resource, assistant_id, for_update=True)
            had, now = before.tool_resources, int(self._clock())
            after = _with_resources(conn, resource, change(before), params, had=had, now=now)
            store.save(conn, resource, after)
            return after

        assistant = await self._db.write(save)
        self._wake()
        return assistant

    async def delete(self, principal: Principal, assistant_id: str) -> None:
        """Delete the assistant, and a vector store that v1 made for it. Threads, runs and other stores stay."""

        def remove(conn: Connection) -> None:
            store.get(conn, principal.resource, assistant_id, for_update=True)
            store.delete(conn, principal.resource, assistant_id)
            delete_made_for(conn, principal.resource, assistant_id)

        await self._db.write(remove)


def _with_resources(
    conn: Connection, resource: str, assistant: Assistant, params: AssistantParams, *, had: ToolResources, now: int
) -> Assistant:
    """The assistant with its tool resources as they are to be; `had`: as they were."""
    resources = assistant.tool_resources
    if params.shares_files:  # v1 does not know of vector stores, and says nothing of them
        resources = msgspec.structs.replace(resources, file_search=had.file_search)
    resources = tool_resources.resolve(conn, resource, resources, params.new_stores, current=had, now=now)
    if params.shares_files:
        resources = share(conn, resource, resources, assistant.tools, had=had, assistant_id=assistant.id, now=now)
    return msgspec.structs.replace(assistant, tool_resources=resources)
