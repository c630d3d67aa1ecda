"""Keeps web pages away from a server that asks for no key.

Such a server listens on a loopback address only, but any page in the owner's browser can send requests there.
Covered: foreign pages (their `Origin` is neither ours nor one the owner named) and DNS rebinding (the `Host` is then
the page's own name).
Not covered: other programs and users of the same machine; give the server a key against those.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from functools import lru_cache

from locum.errors import Forbidden


def guard(hosts: list[str], origins: list[str], *, allowed: Collection[str] = ()) -> None:
    """Raise Forbidden unless the one `Host` is a loopback name and `Origin`, if any, is the very same place or one of
    those `allowed`."""
    if len(hosts) != 1 or not is_loopback(hosts[0]):
        said = ", ".join(hosts) or "none"
        raise Forbidden(f"A server without an API key answers to loopback names only, not to the host '{said}'.")
    host = hosts[0].lower()
    for origin in origins:
        if origin.lower() not in (f"http://{host}", f"https://{host}", *allowed):
            raise Forbidden(f"A server without an API key does not answer to web pages of another origin ('{origin}').")


@lru_cache(maxsize=128)
def is_loopback(host: str) -> bool:
    """Whether a `Host` header names this machine's loopback interface; with any port."""
    match = re.fullmatch(r"(?:\[(?P<v6>[^\]]+)\]|(?P<name>[^:\[\]]+))(?::\d+)?", host.strip())
    if match is None:
        return False
    name = (match["v6"] or match["name"]).lower()
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback and (address.version == 6) == (match["v6"] is not None)
