"""Rows of runs, and the protocol by which a worker owns one: claim, lease, fence.

Claiming a run raises its fence; every later write of the worker goes through `fenced`, which finds no row once another
claim, an expiry or a deletion has raised the fence again. A worker that was away too long can therefore harm nothing.
`claim`, `renew`, `release_all`, `to_end` and `count_active` work across resources: they belong to the engine and to the
server's owner, not to a caller.
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
from locum.store.rows import decode, encode, page_of, select_doc, update_doc
from locum.store.tables import runs as table

# As literals: a list of parameters would be expanded anew at every call.
_is_active = table.c.status.in_([sa.literal_column(f"'{status}'") for status in domain.ACTIVE])
_now, _owner = sa.bindparam("now", type_=sa.Float), sa.bindparam("worker", type_=sa.String)
_is_free = sa.or_(table.c.owner.is_(None), table.c.lease_until < _now)
_is_claimable = sa.and_(
    _is_active,
    table.c.status.in_([sa.literal_column("'queued'"), sa.literal_column("'in_progress'")]),
    sa.or_(table.c.expires_at.is_(None), table.c.expires_at > _now),
    sa.or_(_is_free, sa.and_(table.c.status == "queued", table.c.owner == _owner)),
)
_is_to_end = sa.and_(
    _is_active,
    sa.or_(
        table.c.expires_at <= _now, sa.and_(table.c.status == "cancelling", sa.or_(_is_free, table.c.owner == _owner))
    ),
)

_INSERT = sa.insert(table)
_GET = select_doc(table, table.c.id, table.c.thread_id)
_LOCK = _GET.with_for_update()
_ACTIVE = select_doc(table, table.c.thread_id).where(_is_active)
_SAVE = update_doc(table, "status", "expires_at")
_FENCED = select_doc(table, table.c.id, table.c.fence).where(_is_active)
_FENCED_LOCK = _FENCED.with_for_update()
_CLAIM = update_doc(table, "status", "owner", "lease_until", "fence", "attempts")
_CLAIMABLE = (
    sa.select(table.c.id, table.c.resource, table.c.thread_id, table.c.fence, table.c.attempts, table.c.doc)
    .where(_is_claimable)
    .order_by(table.c.seq)
    .with_for_update(skip_locked=True)
)
_ANY_CLAIMABLE = sa.select(table.c.seq).where(_is_claimable).limit(1)
_TO_END = sa.select(table.c.resource, table.c.doc).where(_is_to_end).limit(100)
_COUNT = sa.select(table.c.status, sa.func.count()).where(_is_active).group_by(table.c.status)
_PROGRESSED = (
    sa.update(table)
    .where(table.c.id == sa.bindparam("at"), table.c.resource == sa.bindparam("of"), table.c.attempts != 0)
    .values(attempts=0)
)

_HAND_OVER = (
    sa.update(table)
    .where(table.c.id == sa.bindparam("at"), table.c.resource == sa.bindparam("of"))
    .values(owner=sa.bindparam("to"), lease_until=sa.bindparam("until"), attempts=0)
)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A run in a worker's hands, as it stood when it was claimed. `attempts` counts the claims without progress."""

    resource: str
    run: Run
    fence: int
    attempts: int

    @property
    def run_id(self) -> str:
        return self.run.id

    @property
    def thread_id(self) -> str:
        return self.run.thread_id


def insert(
    conn: Connection, resource: str, run: Run, *, owner: str | None = None, lease_until: float | None = None
) -> None:
    """A new run; with `owner`, kept for that worker until `lease_until` (its client streams from that process).

    Raises InvalidRequest in the hosted API's words when the thread has an active run.
    """
    if busy := active(conn, resource, run.thread_id):
        raise InvalidRequest(f"Thread {run.thread_id} already has an active run {busy.id}.")
    row = {"id": run.id, "resource": resource, "thread_id": run.thread_id, "doc": encode(run)}
    state = {"status": run.status, "expires_at": run.expires_at, "fence": 0, "attempts": 0}
    conn.execute(_INSERT, {**row, **state, "owner": owner, "lease_until": lease_until})


def get(conn: Connection, resource: str, thread_id: str, run_id: str, *, for_update: bool = False) -> Run:
    row = {"id": run_id, "thread_id": thread_id, "resource": resource}
    doc = conn.execute(_LOCK if for_update else _GET, row).scalar_one_or_none()
    if doc is None:
        raise NotFound(f"No run found with id '{run_id}'.")
    return decode(doc, Run)


def active(conn: Connection, resource: str, thread_id: str) -> Run | None:
    """The run that keeps the thread busy, if any."""
    doc = conn.execute(_ACTIVE, {"thread_id": thread_id, "resource": resource}).scalar_one_or_none()
    return decode(doc, Run) if doc is not None else None


def save(conn: Connection, resource: str, run: Run) -> None:
    state = {"status": run.status, "expires_at": run.expires_at, "doc": encode(run)}
    conn.execute(_SAVE, {"at": run.id, "of": resource, **state})


def page(conn: Connection, resource: str, thread_id: str, page: Page) -> Listing[Run]:
    where = sa.and_(table.c.thread_id == thread_id, table.c.resource == resource)
    return page_of(conn, Run, table, where, page, noun="run")


def claim(
    conn: Connection, owner: str, *, now: float, lease_until: float, limit: int, but: Collection[str] = ()
) -> list[Claim]:
    """Take up to `limit` runs that wait for a worker or whose worker is gone, oldest first.

    but: ids of the runs the worker has in hand already (after a long pause of the process their leases have lapsed).
    """
    query = _CLAIMABLE.where(table.c.id.not_in(but)).limit(limit) if but else _CLAIMABLE.limit(limit)
    claims = []
    for row in conn.execute(query, {"now": now, "worker": owner}).all():
        run = domain.start(decode(row.doc, Run), now=int(now))
        claim = Claim(resource=row.resource, run=run, fence=row.fence + 1, attempts=row.attempts + 1)
        state = {"status": run.status, "doc": encode(run), "owner": owner, "lease_until": lease_until}
        counts = {"fence": claim.fence, "attempts": claim.attempts}
        conn.execute(_CLAIM, {"at": run.id, "of": row.resource, **state, **counts})
        claims.append(claim)
    return claims


def any_claimable(conn: Connection, owner: str, *, now: float) -> bool:
    """Whether `claim` would find something."""
    return conn.execute(_ANY_CLAIMABLE, {"now": now, "worker": owner}).first() is not None


def fenced(conn: Connection, claim: Claim, *, for_update: bool = True) -> Run:
    """The run as it is now, locked for a transaction that writes; LeaseLost when the claim no longer holds."""
    row = {"id": claim.run_id, "resource": claim.resource, "fence": claim.fence}
    doc = conn.execute(_FENCED_LOCK if for_update else _FENCED, row).scalar_one_or_none()
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


def hand_over(
    conn: Connection, resource: str, run_id: str, *, owner: str | None = None, lease_until: float | None = None
) -> None:
    """Nobody works on the run now; with `owner` it is kept for that worker until `lease_until`."""
    row = {"at": run_id, "of": resource, "to": owner, "until": lease_until}
    conn.execute(_HAND_OVER, row)


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
    conn.execute(_PROGRESSED, {"at": run_id, "of": resource})


def release_all(conn: Connection, owner: str) -> None:
    """Void the leases of a worker that has gone: it is that worker's successor who calls."""
    conn.execute(sa.update(table).where(_is_active, table.c.owner == owner).values(owner=None, lease_until=None))


def to_end(conn: Connection, owner: str, *, now: float) -> list[tuple[str, Run]]:
    """(resource, run) of active runs whose time is over, and of cancelled ones that nobody but `owner` has in hand."""
    rows = conn.execute(_TO_END, {"now": now, "worker": owner})
    return [(row.resource, decode(row.doc, Run)) for row in rows]


def count_active(conn: Connection) -> dict[str, int]:
    """How many runs there are in each of the states that are not over."""
    return {row[0]: row[1] for row in conn.execute(_COUNT)}


def still_active(conn: Connection, resource: str, run_id: str) -> Run | None:
    """The run, locked for this transaction, or None where it is over by now."""
    doc = conn.execute(
        sa.select(table.c.doc).where(table.c.id == run_id, table.c.resource == resource, _is_active).with_for_update()
    ).scalar_one_or_none()
    return decode(doc, Run) if doc is not None else None
