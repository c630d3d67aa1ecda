"""Run steps: retrieve, list. Only the engine writes them."""

from __future__ import annotations

from sqlalchemy import Connection

from locum.access.principals import Principal
from locum.domain.pages import Listing, Page
from locum.domain.steps import Step
from locum.store import runs as run_store
from locum.store import steps as store
from locum.store import threads as thread_store
from locum.store.database import Database


class Steps:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def retrieve(self, principal: Principal, thread_id: str, run_id: str, step_id: str) -> Step:
        def get(conn: Connection) -> Step:
            thread_store.get(conn, principal.resource, thread_id)
            run_store.get(conn, principal.resource, thread_id, run_id)
            return store.get(conn, principal.resource, run_id, step_id)

        return await self._db.read(get)

    async def list(self, principal: Principal, thread_id: str, run_id: str, page: Page) -> Listing[Step]:
        def get(conn: Connection) -> Listing[Step]:
            thread_store.get(conn, principal.resource, thread_id)
            run_store.get(conn, principal.resource, thread_id, run_id)
            return store.page(conn, principal.resource, run_id, page)

        return await self._db.read(get)
