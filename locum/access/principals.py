"""Principals: who calls, and on behalf of which resource."""

from __future__ import annotations

import msgspec

DEFAULT_RESOURCE = "default"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller. `resource` is the tenant that owns what they create; `key_id` is None on a keyless loopback server."""

    resource: str
    key_id: str | None = None
