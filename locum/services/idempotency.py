"""Idempotency keys: a repeated request returns the object it created the first time, even after a crash.

The key is written in the transaction that creates the object: neither exists without the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec
from sqlalchemy import Connection

from locum.errors import InvalidRequest
from locum.store import idempotency as store


class _Object(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Object)


class IdempotencyKey(msgspec.Struct, frozen=True):
    """The key of a request that runs at most once, and the digest of its method, path and body."""

    key: str
    fingerprint: str


def create_or_find(
    conn: Connection,
    resource: str,
    idempotency_key: IdempotencyKey | None,
    create: Callable[[], T],
    find: Callable[[str], T],
    *,
    now: float,
) -> tuple[T, bool]:
    """Return a new object and True; or, if the key has created one before, `find` of its id and False.

    InvalidRequest if the key was used for another request.
    """
    if idempotency_key is None:
        return create(), True
    key, fingerprint = idempotency_key.key, idempotency_key.fingerprint
    earlier = store.begin(conn, resource, key, fingerprint, now=int(now))
    if earlier is None:
        new = create()
        store.finish(conn, resource, key, new.id)
        return new, True
    if earlier.fingerprint != fingerprint:
        raise InvalidRequest(
            f"Keys for idempotent requests can only be used for the same request they were first used for: "
            f"'{key}' came with another method, path or body before. Use another key for another request.",
            param="Idempotency-Key",
            code="idempotency_error",
        )
    return find(earlier.object_id), False
