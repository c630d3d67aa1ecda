"""Principals: who calls, and on behalf of which resource."""

from __future__ import annotations

from typing import Literal

import msgspec

from locum.errors import Forbidden

Permission = Literal["threads:list", "metrics:read"]
PERMISSIONS: tuple[Permission, ...] = ("threads:list", "metrics:read")
"""What a key may only do when it was made for it: beyond the hosted API."""

DEFAULT_RESOURCE = "default"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller. `resource` is the tenant that owns what they create; `key_id` is None on a keyless loopback server."""

    resource: str
    key_id: str | None = None
    permissions: frozenset[str] = frozenset(PERMISSIONS)

    def require(self, permission: Permission) -> None:
        """Raise Forbidden unless this caller may."""
        if permission not in self.permissions:
            raise Forbidden(
                f"This key does not have the permission '{permission}'. "
                f"`locum keys create --allow {permission}` makes one that has."
            )
