"""Keys as they are kept."""

from __future__ import annotations

import msgspec


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """What may be told about a key: nothing of the key itself."""

    id: str
    resource: str
    name: str | None
    created_at: int
    permissions: tuple[str, ...] = ()
