"""Idempotency keys: the same request made again finds what it has made, also over a crash of the server.

The key is written in the transaction that makes the object: there is never one without the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec
from sqlalchemy import Connection

from locum.errors import InvalidRequest
from locum.store import once as store


class _Object(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Object)


class Once(msgspec.Struct, frozen=True):
    """A request that is to be carried out once: its key, and the digest of what it asks for."""

    key: str
    fingerprint: str


def make_once(
    conn: Connection,
    resource: str,
    once: Once | None,
    make: Callable[[], T],
    find: Callable[[str], T],
    *,
    now: float,
) -> tuple[T, bool]:
    """What `make` makes, True; or, made before with this key, what `find` finds of its id now, False.

    InvalidRequest when the key has been used for another request.
    """
    if once is None:
        return make(), True
    made = store.begin(conn, resource, once.key, once.fingerprint, now=int(now))
    if made is None:
        new = make()
        store.finish(conn, resource, once.key, new.id)
        return new, True
    if made.fingerprint != once.fingerprint:
        raise InvalidRequest(
            f"Keys for idempotent requests can only be used for the same request they were first used for: "
            f"'{once.key}' came with another method, path or body before. Use another key for another request.",
            param="Idempotency-Key",
            code="idempotency_error",
        )
    return find(made.object_id), False
