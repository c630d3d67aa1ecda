"""Keys: what a caller presents, and whose it is. At rest only digests are kept."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import time
from collections.abc import Callable

from locum import ids
from locum.access.principals import DEFAULT_RESOURCE, PERMISSIONS, Principal
from locum.clock import Clock
from locum.domain.keys import StoredKey
from locum.errors import InvalidRequest, NotFound, Unauthenticated
from locum.store import keys as store
from locum.store.database import Database

_SETTING_KEY_ID = "key_default"
_SETTING = "LOCUM_API_KEY"
_ALPHABET = string.ascii_letters + string.digits
_KEY_LENGTH = 40
_RESOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_NAME = 128
_FRESH_SECONDS = 5.0
"""For so long a key that another server on the same database revoked, or made, may go unnoticed here."""


class Keys:
    """The keys of a server; on a keyless one (loopback only) everybody is the default resource.

    `keyless` holds as long as no key exists, and is never gone back to: a server that has asked for keys may be
    listening where everybody can reach it, so revoking the last key closes it instead of opening it.
    """

    def __init__(
        self, db: Database, clock: Clock, *, keyless: bool, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = db
        self._clock = clock
        self._monotonic = monotonic
        self._keyless = keyless
        self._keyless_until = 0.0
        self._known: dict[str, tuple[Principal, float]] = {}

    @property
    def is_keyless(self) -> bool:
        return self._keyless

    async def apply_setting(self, key: str | None) -> None:
        """Make `LOCUM_API_KEY` the default resource's key: a key it had before stops working."""
        if key is None:
            await self._db.write(lambda conn: store.remove(conn, _SETTING_KEY_ID))
            await self._look_for_keys()
            return
        digest = _digest(key)
        if await self._db.read(lambda conn: store.owner(conn, digest)) != (_SETTING_KEY_ID, DEFAULT_RESOURCE):
            now = int(self._clock())
            await self._db.write(
                lambda conn: store.put(conn, DEFAULT_RESOURCE, _SETTING_KEY_ID, digest, name=_SETTING, now=now)
            )

    async def create(self, resource: str, name: str | None, permissions: tuple[str, ...] = ()) -> tuple[StoredKey, str]:
        """A new key and its row. The key itself is known to the caller only: it cannot be had again."""
        if not _RESOURCE.fullmatch(resource):
            raise InvalidRequest(
                f"The resource {resource!r} must be 1 to 64 letters, digits, '.', '_' or '-', "
                "the first of them a letter or digit."
            )
        if name is not None and not (name.isprintable() and 0 < len(name) <= _MAX_NAME):
            raise InvalidRequest(f"The name of a key must be 1 to {_MAX_NAME} characters that can be printed.")
        for permission in permissions:
            if permission not in PERMISSIONS:
                known = ", ".join(PERMISSIONS)
                raise InvalidRequest(f"There is no permission {permission!r}. A key can be allowed: {known}.")
        key = "locum-" + "".join(secrets.choice(_ALPHABET) for _ in range(_KEY_LENGTH))
        row = StoredKey(
            id=ids.new("key_"),
            resource=resource,
            name=name,
            created_at=int(self._clock()),
            permissions=tuple(dict.fromkeys(permissions)),
        )
        await self._db.write(
            lambda conn: store.put(
                conn, resource, row.id, _digest(key), name=name, now=row.created_at, permissions=row.permissions
            )
        )
        self._keyless = False
        return row, key

    async def every(self) -> list[StoredKey]:
        return await self._db.read(store.every)

    async def revoke(self, key_id: str) -> int:
        """The key stops working at once; how many keys are left."""
        if key_id == _SETTING_KEY_ID:
            raise InvalidRequest(f"{key_id} comes from {_SETTING}: change or unset that, and restart the server.")
        if not await self._db.write(lambda conn: store.remove(conn, key_id)):
            raise NotFound(f"There is no key {key_id!r}. `locum keys list` shows them all.")
        self._known = {}  # a look-up that began before writes into the dictionary it began with
        return len(await self.every())

    async def authenticate(self, presented: list[str]) -> Principal:
        """The caller behind the key of a request (the edge has seen to it that there is one at most)."""
        if self._keyless and self._monotonic() >= self._keyless_until:
            await self._look_for_keys()
        if self._keyless:
            return Principal(resource=DEFAULT_RESOURCE)
        if not presented:
            raise Unauthenticated("No API key was provided.")
        digest = _digest(presented[0])
        known = self._known
        principal, fresh_until = known.get(digest, (None, 0.0))
        if principal is None or self._monotonic() >= fresh_until:
            known.pop(digest, None)
            fresh_until = self._monotonic() + _FRESH_SECONDS
            found = await self._db.read(lambda conn: store.find(conn, digest))
            if found is None:
                raise Unauthenticated("The API key is not known.", presented=presented[0])
            # The setting's key is the owner's, like a server without keys.
            permissions = PERMISSIONS if found.id == _SETTING_KEY_ID else found.permissions
            principal = Principal(resource=found.resource, key_id=found.id, permissions=frozenset(permissions))
            known[digest] = principal, fresh_until
        return principal

    async def _look_for_keys(self) -> None:
        """Another server on the same database may have made the first key."""
        fresh_until = self._monotonic() + _FRESH_SECONDS
        if await self._db.read(store.exist):
            self._keyless = False
        self._keyless_until = fresh_until


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
