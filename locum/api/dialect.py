"""The dialects of the API: pure functions from path, query and header to who is spoken to, and how.

Behind them there is one API: `/threads`, never `/openai/deployments/x/threads?api-version=…`.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Literal

import msgspec

from locum.access.principals import Principal
from locum.domain.files import Surface
from locum.errors import InvalidRequest, LocumError

Version = Literal[1, 2]

_MOUNTS = re.compile(
    r"/(?:(?P<azure_v1>openai/v1)|(?P<deployment>openai/deployments/[^/]+)|(?P<azure>openai)|(?P<openai>v1))(?P<path>/.+)"
)
_V1_BEGINS = date(2024, 2, 15)
_V2_BEGINS = date(2024, 5, 1)
_HOSTED_PREVIEWS = (
    *("2024-02-15", "2024-03-01", "2024-04-01"),
    *("2024-05-01", "2024-07-01", "2024-08-01", "2024-09-01", "2024-10-01", "2024-12-01"),
    *("2025-01-01", "2025-02-01", "2025-03-01", "2025-04-01"),
)
"""The previews in which Azure had assistants."""


class UnknownRoute(LocumError):
    """No such path, or not in this api-version."""

    def __init__(self) -> None:
        super().__init__("Resource not found")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes: `path` is free of any dialect."""

    path: str
    surface: Surface
    azure_v1: bool = False

    @property
    def is_azure_classic(self) -> bool:
        return self.surface == "azure" and not self.azure_v1

    @property
    def depends_on_version(self) -> bool:
        """Assistants and threads look different in v1 and v2; files and models do not."""
        return self.path.split("/", 2)[1] in ("assistants", "threads")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, and in which dialect the answer is given. `strict`: refuse what the hosted service refused."""

    surface: Surface
    azure_v1: bool
    version: Version
    principal: Principal
    request_id: str
    strict: bool = False


def locate(path: str) -> Address | None:
    """The address behind a path, or None where no dialect has it. Doubled and trailing slashes are forgiven."""
    match = _MOUNTS.fullmatch(re.sub("/{2,}", "/", path).rstrip("/"))
    if match is None or "\0" in path:
        return None
    if match["openai"]:
        return Address(path=match["path"], surface="openai")
    return Address(path=match["path"], surface="azure", azure_v1=match["azure_v1"] is not None)


def version_of(address: Address, *, api_version: str | None, beta: str | None, strict: bool = False) -> Version:
    """Which version of the Assistants API is spoken. On Azure the api-version decides, whatever the header says."""
    if address.is_azure_classic:
        return _azure_version(api_version, strict=strict)
    if address.azure_v1:
        return 2
    return _beta_version(beta, required=address.depends_on_version)


def _azure_version(api_version: str | None, *, strict: bool) -> Version:
    """Only previews have assistants; a missing, unknown or GA version has no such operation.

    `strict` knows the previews there were; otherwise any day since the first one will do.
    """
    match = re.fullmatch(r"(\d{4}-\d{2}-\d{2})-preview", api_version or "")
    try:
        day = date.fromisoformat(match[1]) if match else date.min
    except ValueError:
        day = date.min
    if day < _V1_BEGINS or (strict and day.isoformat() not in _HOSTED_PREVIEWS):
        raise UnknownRoute
    return 1 if day < _V2_BEGINS else 2


def _beta_version(beta: str | None, *, required: bool) -> Version:
    asked = {each.strip() for each in (beta or "").split(",")}
    if "assistants=v2" in asked:
        return 2
    if "assistants=v1" in asked:
        return 1
    if required:
        raise InvalidRequest(
            "You must provide the 'OpenAI-Beta' header to access the Assistants API. "
            "Please try again by setting the header 'OpenAI-Beta: assistants=v2'.",
            code="invalid_beta",
        )
    return 2
