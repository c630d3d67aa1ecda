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
from locum.services.checks import require_files
from locum.services.once import Once, make_once
from locum.services.params import AssistantParams, said
from locum.store import assistants as store
from locum.store.database import Database


class Assistants:
    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def create(self, principal: Principal, params: AssistantParams, *, once: Once | None = None) -> Assistant:
        """A new assistant; NotFound when one of its files does not exist."""
        resource = principal.resource
        assistant = Assistant(id=ids.new("asst_"), created_at=int(self._clock()), **said(params))

        def insert(conn: Connection) -> Assistant:
            require_files(conn, resource, assistant.tool_resources.code_interpreter_file_ids, now=assistant.created_at)
            store.insert(conn, resource, assistant)
            return assistant

        def make_or_find(conn: Connection) -> Assistant:
            def find(assistant_id: str) -> Assistant:
                return store.get(conn, resource, assistant_id)

            return make_once(conn, resource, once, lambda: insert(conn), find, now=assistant.created_at)[0]

        return await self._db.write(make_or_find)

    async def retrieve(self, principal: Principal, assistant_id: str) -> Assistant:
        return await self._db.read(lambda conn: store.get(conn, principal.resource, assistant_id))

    async def list(self, principal: Principal, page: Page) -> Listing[Assistant]:
        return await self._db.read(lambda conn: store.page(conn, principal.resource, page))

    async def update(self, principal: Principal, assistant_id: str, params: AssistantParams) -> Assistant:
        """Change what `params` says; runs that exist keep the assistant as it was."""

        def change(conn: Connection) -> Assistant:
            before = store.get(conn, principal.resource, assistant_id, for_update=True)
            after = msgspec.structs.replace(before, **said(params))
            require_files(conn, principal.resource, _added_files(before, after), now=int(self._clock()))
            store.save(conn, principal.resource, after)
            return after

        return await self._db.write(change)

    async def update_resources(
        self, principal: Principal, assistant_id: str, change: Callable[[ToolResources], ToolResources]
    ) -> Assistant:
        """Change the tool resources as they are at that moment: of two callers none undoes what the other did."""

        def save(conn: Connection) -> Assistant:
            before = store.get(conn, principal.resource, assistant_id, for_update=True)
            after = msgspec.structs.replace(before, tool_resources=change(before.tool_resources))
            require_files(conn, principal.resource, _added_files(before, after), now=int(self._clock()))
            store.save(conn, principal.resource, after)
            return after

        return await self._db.write(save)

    async def delete(self, principal: Principal, assistant_id: str) -> None:
        """Remove the assistant; its threads and runs stay."""

        def remove(conn: Connection) -> None:
            store.get(conn, principal.resource, assistant_id)
            store.delete(conn, principal.resource, assistant_id)

        await self._db.write(remove)


def _added_files(before: Assistant, after: Assistant) -> tuple[str, ...]:
    had = before.tool_resources.code_interpreter_file_ids
    return tuple(each for each in after.tool_resources.code_interpreter_file_ids if each not in had)
