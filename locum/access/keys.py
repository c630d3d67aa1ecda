"""Keys: what a caller presents, and whose it is. At rest only digests are kept."""

from __future__ import annotations

import hashlib

from locum.access.principals import DEFAULT_RESOURCE, Principal
from locum.clock import Clock
from locum.errors import Unauthenticated
from locum.store import keys as store
from locum.store.database import Database

_SETTING_KEY_ID = "key_default"


class Keys:
    """The keys of a server; on a keyless one (loopback only) everybody is the default resource."""

    def __init__(self, db: Database, clock: Clock, *, keyless: bool) -> None:
        self._db = db
        self._clock = clock
        self._keyless = keyless
        self._known: dict[str, Principal] = {}

    async def apply_setting(self, key: str | None) -> None:
        """Make `LOCUM_API_KEY` the default resource's key: a key it had before stops working."""
        if key is None:
            await self._db.write(lambda conn: store.remove(conn, _SETTING_KEY_ID))
            return
        digest = _digest(key)
        if await self._db.read(lambda conn: store.owner(conn, digest)) != (_SETTING_KEY_ID, DEFAULT_RESOURCE):
            now = int(self._clock())
            await self._db.write(lambda conn: store.put(conn, DEFAULT_RESOURCE, _SETTING_KEY_ID, digest, now=now))

    async def authenticate(self, presented: list[str]) -> Principal:
        """The caller behind the key of a request (the edge has seen to it that there is one at most)."""
        if self._keyless:
            return Principal(resource=DEFAULT_RESOURCE)
        if not presented:
            raise Unauthenticated("No API key was provided.")
        digest = _digest(presented[0])
        if digest not in self._known:
            found = await self._db.read(lambda conn: store.owner(conn, digest))
            if found is None:
                raise Unauthenticated("The API key is not known.", presented=presented[0])
            key_id, resource = found
            self._known[digest] = Principal(resource=resource, key_id=key_id)
        return self._known[digest]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
