"""Keys of callers and their resources. The database and this process keep digests only."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import string
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from locum import ids
from locum.access.principals import DEFAULT_RESOURCE, PERMISSIONS, Principal
from locum.access.rejections import Rejections
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
"""Age at which digests in memory are read again: a key revoked by another server may work for that long."""
_SPACING_SECONDS = 1.0
"""Pause between two reads caused by unknown keys, however many arrive."""


class Keys:
    """The keys of a server. A keyless one (loopback only) treats every caller as the default resource.

    All digests are in memory. An unknown key waits for digests read after its arrival, which slows guesses and finds
    keys that another server has just created. A known key never waits for that.

    Answers that last (`watch`) end once their key is revoked: at once on the server that revokes it, and with the next
    read on the others, which is made every 5 seconds while there are such answers.

    `keyless` holds as long as no key exists, and never returns: a server that has required keys may be listening on a
    public address, so revoking the last key closes it instead of opening it.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        *,
        keyless: bool,
        monotonic: Callable[[], float] = time.monotonic,
        fresh_seconds: float = _FRESH_SECONDS,
    ) -> None:
        self._db = db
        self._clock = clock
        self._monotonic = monotonic
        self._fresh_seconds = fresh_seconds
        self._keyless = keyless
        self._principals: Mapping[str, Principal] = {}
        self._fresh_until = float("-inf")
        self._last_read_at = float("-inf")
        self._reads_begun = 0
        self._newest_read = 0
        self._refresh: asyncio.Task[None] | None = None
        self._spaced_read: asyncio.Task[None] | None = None
        self._watches: dict[object, tuple[str | None, Callable[[], None]]] = {}
        self._next_look: asyncio.TimerHandle | None = None
        self.rejections = Rejections()

    @property
    def is_keyless(self) -> bool:
        return self._keyless

    async def apply_setting(self, key: str | None) -> None:
        """Make `LOCUM_API_KEY` the default resource's key, which replaces an earlier one; then read all keys."""
        await self._store_setting(key)
        await self._read_digests()

    async def _store_setting(self, key: str | None) -> None:
        if key is None:
            await self._db.write(lambda conn: store.remove(conn, _SETTING_KEY_ID))
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
        await self._read_digests()
        return row, key

    async def every(self) -> list[StoredKey]:
        return await self._db.read(store.every)

    async def revoke(self, key_id: str) -> int:
        """Revoke a key, at once on this server; return how many keys are left."""
        if key_id == _SETTING_KEY_ID:
            raise InvalidRequest(f"{key_id} comes from {_SETTING}: change or unset that, and restart the server.")
        if not await self._db.write(lambda conn: store.remove(conn, key_id)):
            raise NotFound(f"There is no key {key_id!r}. `locum keys list` shows them all.")
        await self._read_digests()
        return len(self._principals)

    async def authenticate(self, presented: list[str]) -> Principal:
        """Return the caller behind the keys of a request, which the edge has reduced to one at most."""
        if self._monotonic() >= self._fresh_until:
            await self._read_stale_digests()
        if self._keyless:
            return Principal(resource=DEFAULT_RESOURCE)
        if not presented:
            raise Unauthenticated("No API key was provided.")
        digest = _digest(presented[0])
        if digest not in self._principals:
            await self._read_new_digests()
        principal = self._principals.get(digest)
        if principal is None:
            self.rejections.add()
            raise Unauthenticated("The API key is not known.", presented=presented[0])
        return principal

    @contextmanager
    def watch(self, presented: list[str], revoked: Callable[[], None]) -> Iterator[None]:
        """Call `revoked` once the keys of an admitted request would be rejected, for an answer that lasts."""
        digest, watch = _digest(presented[0]) if presented else None, object()
        self._watches[watch] = digest, revoked
        self._end_revoked()  # it may have been revoked since the request was admitted
        self._look_later()
        try:
            yield
        finally:
            self._watches.pop(watch, None)

    def _end_revoked(self) -> None:
        if self._keyless:
            return
        for watch, (digest, revoked) in tuple(self._watches.items()):
            if digest not in self._principals:
                del self._watches[watch]
                revoked()

    def _look_later(self) -> None:
        """Read the digests when they are stale, as long as there are watches."""
        if self._next_look is None and self._watches:
            fresh = self._fresh_until - self._monotonic()
            delay = fresh if fresh > 0 else self._fresh_seconds  # the database does not answer
            self._next_look = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        self._next_look = None
        if self._watches and self._monotonic() >= self._fresh_until:
            self._begin_refresh()
        self._look_later()

    async def _read_stale_digests(self) -> None:
        """Read the digests, in one read for all callers that wait."""
        await asyncio.shield(self._begin_refresh())

    def _begin_refresh(self) -> asyncio.Task[None]:
        if self._refresh is None or self._refresh.done():
            self._refresh = _started(self._read_digests())
        return self._refresh

    async def _read_new_digests(self) -> None:
        """Wait for digests whose read begins after this call."""
        if self._spaced_read is None:
            self._spaced_read = _started(self._read_digests_later())
        await asyncio.shield(self._spaced_read)

    async def _read_digests_later(self) -> None:
        await asyncio.sleep(self._last_read_at + _SPACING_SECONDS - self._monotonic())
        self._spaced_read = None  # later callers need a later read
        await self._read_digests()

    async def _read_digests(self) -> None:
        self._reads_begun += 1
        read, began_at = self._reads_begun, self._monotonic()
        self._last_read_at = began_at
        digests = await self._db.read(store.digests)
        if read < self._newest_read:  # a later read has finished, and this one may still have a revoked key
            return
        self._newest_read = read
        self._principals = {digest: _principal(key) for digest, key in digests.items()}
        self._fresh_until = began_at + self._fresh_seconds
        if digests:
            self._keyless = False
        self._end_revoked()


def _principal(key: StoredKey) -> Principal:
    # The setting's key is the owner's, like a server without keys.
    permissions = PERMISSIONS if key.id == _SETTING_KEY_ID else key.permissions
    return Principal(resource=key.resource, key_id=key.id, permissions=frozenset(permissions))


def _started(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task for several callers, each of which may be cancelled."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved, even if no caller is left
    return task


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
