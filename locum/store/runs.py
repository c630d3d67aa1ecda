"""Rows of runs, and the protocol by which a worker owns one: claim, lease, fence.

Claiming a run raises its fence; every later write of the worker goes through `fenced`, which finds no row once another
claim, an expiry or a deletion has raised the fence again. A worker that was away too long can therefore harm nothing.
`claim`, `renew`, `release_all` and `to_end` work across resources: they belong to the engine, not to a caller.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain import runs as domain
from locum.domain.pages import Listing, Page
from locum.domain.runs import Run
from locum.errors import InvalidRequest, LeaseLost, NotFound
from locum.store.rows import decode, encode, page_of
from locum.store.tables import runs as table

_is_active = table.c.status.in_(domain.ACTIVE)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A run in a worker's hands. `attempts` counts the claims so far, this one included."""

    resource: str
    run_id: str
    thread_id: str
    fence: int
    attempts: int


def insert(
    conn: Connection, resource: str, run: Run, *, owner: str | None = None, lease_until: float | None = None
) -> None:
    """A new run; with `owner`, kept for that worker until `lease_until` (its client streams from that process).

    Raises InvalidRequest in the hosted API's words when the thread has an active run.
    """
    if busy := active(conn, resource, run.thread_id):
        raise InvalidRequest(f"Thread {run.thread_id} already has an active run {busy.id}.")
    conn.execute(
        sa.insert(table).values(
            id=run.id,
            resource=resource,
            thread_id=run.thread_id,
            status=run.status,
            expires_at=run.expires_at,
            owner=owner,
            lease_until=lease_until,
            fence=0,
            attempts=0,
            doc=encode(run),
        )
    )


def get(conn: Connection, resource: str, thread_id: str, run_id: str, *, for_update: bool = False) -> Run:
    query = sa.select(table.c.doc).where(
        table.c.id == run_id, table.c.thread_id == thread_id, table.c.resource == resource
    )
    doc = conn.execute(query.with_for_update() if for_update else query).scalar_one_or_none()
    if doc is None:
        raise NotFound(f"No run found with id '{run_id}'.")
    return decode(doc, Run)


def active(conn: Connection, resource: str, thread_id: str) -> Run | None:
    """The run that keeps the thread busy, if any."""
    doc = conn.execute(
        sa.select(table.c.doc).where(table.c.thread_id == thread_id, table.c.resource == resource, _is_active)
    ).scalar_one_or_none()
    return decode(doc, Run) if doc is not None else None


def save(conn: Connection, resource: str, run: Run) -> None:
    conn.execute(
        sa.update(table)
        .where(table.c.id == run.id, table.c.resource == resource)
        .values(status=run.status, expires_at=run.expires_at, doc=encode(run))
    )


def page(conn: Connection, resource: str, thread_id: str, page: Page) -> Listing[Run]:
    where = sa.and_(table.c.thread_id == thread_id, table.c.resource == resource)
    return page_of(conn, Run, table, where, page, noun="run")


def claim(
    conn: Connection, owner: str, *, now: float, lease_until: float, limit: int, but: Collection[str] = ()
) -> list[Claim]:
    """Take up to `limit` runs that wait for a worker or whose worker is gone, oldest first.

    but: ids of the runs the worker has in hand already (after a long pause of the process their leases have lapsed).
    """
    rows = conn.execute(
        sa.select(table.c.id, table.c.resource, table.c.thread_id, table.c.fence, table.c.attempts, table.c.doc)
        .where(_claimable(owner, now), table.c.id.not_in(but))
        .order_by(table.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    claims = []
    for row in rows:
        run = domain.start(decode(row.doc, Run), now=int(now))
        conn.execute(
            sa.update(table)
            .where(table.c.id == row.id)
            .values(
                status=run.status,
                doc=encode(run),
                owner=owner,
                lease_until=lease_until,
                fence=row.fence + 1,
                attempts=row.attempts + 1,
            )
        )
        claims.append(
            Claim(
                resource=row.resource,
                run_id=row.id,
                thread_id=row.thread_id,
                fence=row.fence + 1,
                attempts=row.attempts + 1,
            )
        )
    return claims


def any_claimable(conn: Connection, owner: str, *, now: float) -> bool:
    """Whether `claim` would find something."""
    return conn.execute(sa.select(table.c.seq).where(_claimable(owner, now)).limit(1)).first() is not None


def _claimable(owner: str, now: float) -> sa.ColumnElement[bool]:
    kept_for_me = sa.and_(table.c.status == "queued", table.c.owner == owner)
    in_time = sa.or_(table.c.expires_at.is_(None), table.c.expires_at > now)
    waiting = table.c.status.in_(("queued", "in_progress"))
    return sa.and_(_is_active, waiting, in_time, sa.or_(_is_free(now), kept_for_me))


def _is_free(now: float) -> sa.ColumnElement[bool]:
    return sa.or_(table.c.owner.is_(None), table.c.lease_until < now)


def fenced(conn: Connection, claim: Claim, *, for_update: bool = True) -> Run:
    """The run as it is now, locked for a transaction that writes; LeaseLost when the claim no longer holds."""
    query = sa.select(table.c.doc).where(
        table.c.id == claim.run_id, table.c.resource == claim.resource, table.c.fence == claim.fence, _is_active
    )
    doc = conn.execute(query.with_for_update() if for_update else query).scalar_one_or_none()
    if doc is None:
        raise LeaseLost(f"{claim.run_id} is no longer claimed with fence {claim.fence}.")
    return decode(doc, Run)


def take_away(conn: Connection, resource: str, run_id: str) -> None:
    """Raise the fence: whatever its worker still writes touches no row."""
    conn.execute(
        sa.update(table)
        .where(table.c.id == run_id, table.c.resource == resource)
        .values(fence=table.c.fence + 1, owner=None, lease_until=None)
    )


def renew(conn: Connection, claims: list[Claim], *, lease_until: float) -> dict[str, str]:
    """Heartbeat: run id -> status of those claims that still hold; the others are lost."""
    held = {}
    for claim in claims:
        row = conn.execute(
            sa.update(table)
            .where(table.c.id == claim.run_id, table.c.fence == claim.fence, _is_active)
            .values(lease_until=lease_until)
            .returning(table.c.status)
        ).one_or_none()
        if row is not None:
            held[claim.run_id] = row.status
    return held


def release(conn: Connection, claim: Claim) -> None:
    """Give a claim back before its lease is over."""
    conn.execute(
        sa.update(table)
        .where(table.c.id == claim.run_id, table.c.fence == claim.fence)
        .values(owner=None, lease_until=None, attempts=0)
    )


def progressed(conn: Connection, resource: str, run_id: str) -> None:
    """A turn is done: what is counted as attempts is claims without any progress."""
    conn.execute(sa.update(table).where(table.c.id == run_id, table.c.resource == resource).values(attempts=0))


def release_all(conn: Connection, owner: str) -> None:
    """Void the leases of a worker that has gone: it is that worker's successor who calls."""
    conn.execute(sa.update(table).where(_is_active, table.c.owner == owner).values(owner=None, lease_until=None))


def to_end(conn: Connection, owner: str, *, now: float) -> list[tuple[str, Run]]:
    """(resource, run) of active runs whose time is over, and of cancelled ones that nobody but `owner` has in hand."""
    is_due = table.c.expires_at <= now
    is_let_go = sa.and_(table.c.status == "cancelling", sa.or_(_is_free(now), table.c.owner == owner))
    rows = conn.execute(
        sa.select(table.c.resource, table.c.doc).where(_is_active, sa.or_(is_due, is_let_go)).limit(100)
    )
    return [(row.resource, decode(row.doc, Run)) for row in rows]


def still_active(conn: Connection, resource: str, run_id: str) -> Run | None:
    """The run, locked for this transaction, or None where it is over by now."""
    doc = conn.execute(
        sa.select(table.c.doc).where(table.c.id == run_id, table.c.resource == resource, _is_active).with_for_update()
    ).scalar_one_or_none()
    return decode(doc, Run) if doc is not None else None
