"""The owner's rule about addresses of images (`LOCUM_IMAGE_URLS`): which of them the model server may be sent.

Covered: Locum opens none of them; a model server does, from where it runs. Refused are user names and passwords,
addresses that are not public in any spelling, and names that only a private network resolves. Not covered: a public
name that resolves to a private address, and a redirect to one. Locum does not resolve names: the model server would ask
again, and could get another answer. A list of hosts, or `data`, covers both.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_MALFORMED = "Expected a base64-encoded data URL with an image MIME type or a valid URL"
_HOST = r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
_ADDRESS = re.compile(rf"(?P<scheme>https?)://{_HOST}(?::(?P<port>[0-9]{{0,5}}))?(?:[/?#].*)?", re.DOTALL)
_LISTED = re.compile(rf"(?P<any>\*\.)?{_HOST}(?::(?P<port>[0-9]{{1,5}}))?")
_SHOWN = 100
"""Characters of a host in an error."""
_PORTS = {"http": 80, "https": 443}

_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A host that ends with such a label is an IPv4 address to clients: `127.1`, `0x7f000001`, `017700000001`."""
_PRIVATE_ZONES = frozenset(
    ("localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan", "svc", "home.arpa")
)
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # special purposes; clouds have metadata services here
        "168.63.129.16/32",  # the platform, from within Azure
        "2002::/16",  # 6to4: an IPv4 address, public or not
    )
)


class _Target(NamedTuple):
    """Destination of a URL in normal form: IPv6 in brackets."""

    host: str
    port: int


class _Pattern(NamedTuple):
    """A host of the owner's list. host: with a dot in front for all names below it. port: None for any."""

    host: str
    port: int | None

    def matches(self, target: _Target) -> bool:
        is_host = target.host.endswith(self.host) if self.host.startswith(".") else target.host == self.host
        return is_host and self.port in (None, target.port)


class ImageURLs(NamedTuple):
    """text: the setting in normal form. accepts_data, accepts_public: data URLs, and public hosts. hosts: others."""

    text: str
    accepts_data: bool
    accepts_public: bool
    hosts: tuple[_Pattern, ...]

    @classmethod
    def parse(cls, setting: str) -> ImageURLs:
        """Read `off`, or `data`, `public` and hosts with commas between; ValueError names a part that is none."""
        parts = [part.strip().lower() for part in setting.split(",") if part.strip()]
        if not parts or ("off" in parts and len(parts) > 1):
            raise ValueError("expected off, or data, public and hosts with commas between")
        hosts = tuple(_pattern(part) for part in parts if part not in ("off", "data", "public"))
        return cls(",".join(parts), "off" not in parts, "public" in parts, hosts)

    def refusal(self, url: str) -> str | None:
        """Return the reason why messages may not hold this address, and those they may; None if they may."""
        if not self.accepts_data:
            return "This server accepts no image URLs. Expected an 'image_file' part with an uploaded file instead"
        if url.startswith("data:image/"):
            return None
        if not url.startswith(("http://", "https://")) or "\\" in url:
            return _MALFORMED
        if "@" in url.partition("://")[2].partition("/")[0]:
            return "A URL with a user name or password is not allowed"
        try:
            target = _target(url)
        except ValueError:
            return _MALFORMED
        if (self.accepts_public and _is_public(target.host)) or any(host.matches(target) for host in self.hosts):
            return None
        return f"Images from the host '{target.host[:_SHOWN]}' are not allowed. Expected {self._expected()}"

    def _expected(self) -> str:
        hosts = ["a public host"] if self.accepts_public else []
        hosts += [f"the host '{part}'" for part in self.text.split(",") if part not in ("data", "public")]
        data = "a base64-encoded data URL with an image MIME type"
        return f"{data}, or a URL of {', or '.join(hosts)}" if hosts else data


def _pattern(part: str) -> _Pattern:
    match = _LISTED.fullmatch(part if part.count(":") < 2 or "[" in part else f"[{part}]")
    if match is None:
        raise ValueError(f"{part!r} is neither off, data, public nor a host")
    host = _normal(match["host"])
    return _Pattern(f".{host}" if match["any"] else host, int(match["port"]) if match["port"] else None)


def _target(url: str) -> _Target:
    match = _ADDRESS.fullmatch(url)
    if match is None:
        raise ValueError("no host")
    return _Target(_normal(match["host"]), int(match["port"] or _PORTS[match["scheme"]]))


def _normal(host: str) -> str:
    """Return a host in small letters, without a dot at its end; ValueError for a spelling that hides an address."""
    if host.startswith("["):
        return f"[{ipaddress.IPv6Address(host[1:-1])}]"
    host = host.lower().removesuffix(".")
    labels = host.split(".")
    if not all(labels):
        raise ValueError("an empty label")
    return str(ipaddress.IPv4Address(host)) if _NUMERIC_LABEL.fullmatch(labels[-1]) else host


def _is_public(host: str) -> bool:
    """Judge a host in normal form by its spelling."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        labels = host.split(".")
        return len(labels) > 1 and not {labels[-1], ".".join(labels[-2:])} & _PRIVATE_ZONES
    if isinstance(address, ipaddress.IPv6Address) and address not in _PUBLIC_V6:
        return False  # among them are those that hold an IPv4 address: mapped, or translated (64:ff9b::)
    return address.is_global and not address.is_multicast and not any(address in network for network in _NOT_PUBLIC)


PUBLIC = ImageURLs.parse("public")
"""The default."""
