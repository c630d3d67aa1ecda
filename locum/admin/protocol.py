"""What is said over the admin socket: one request per connection and its reply, each a line of JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from locum.domain.keys import StoredKey
from locum.domain.usage import By, UsageSum

SOCKET_NAME = "admin.sock"
MAX_LINE = 16 * 1024 * 1024


class CreateKey(msgspec.Struct, frozen=True, tag="create_key"):
    resource: str
    name: str | None
    permissions: tuple[str, ...] = ()


class ListKeys(msgspec.Struct, frozen=True, tag="list_keys"):
    pass


class RevokeKey(msgspec.Struct, frozen=True, tag="revoke_key"):
    id: str


class ListModels(msgspec.Struct, frozen=True, tag="list_models"):
    pass


class SumUsage(msgspec.Struct, frozen=True, tag="sum_usage"):
    """What the sessions used that were opened `since` then."""

    by: By
    resource: str | None
    since: int


class Check(msgspec.Struct, frozen=True, tag="check"):
    """Is somebody there, and can the database be read?"""


Request = CreateKey | ListKeys | RevokeKey | ListModels | SumUsage | Check


class CreatedKey(msgspec.Struct, frozen=True, tag="created_key"):
    row: StoredKey
    key: str


class KeyList(msgspec.Struct, frozen=True, tag="key_list"):
    rows: list[StoredKey]


class RevokedKey(msgspec.Struct, frozen=True, tag="revoked_key"):
    left: int
    """How many keys still work."""


class ModelName(msgspec.Struct, frozen=True):
    """`leads_to` is for people."""

    name: str
    leads_to: str


class ModelList(msgspec.Struct, frozen=True, tag="model_list"):
    summary: str
    names: list[ModelName]


class UsageSums(msgspec.Struct, frozen=True, tag="usage_sums"):
    rows: list[UsageSum]


class Health(msgspec.Struct, frozen=True, tag="health"):
    version: str
    process: int
    revision: str | None
    database_id: str | None = None


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    message: str


Reply = CreatedKey | KeyList | RevokedKey | ModelList | UsageSums | Health | Failure

_requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def line(message: Request | Reply) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def request(said: bytes) -> Request:
    return _requests.decode(said)


def reply(said: bytes) -> Reply:
    return _replies.decode(said)


@contextmanager
def socket_path(directory: Path) -> Iterator[str]:
    """Through the folder's descriptor, where the system has that: a socket's whole path may be too long for it."""
    if not Path("/proc/self/fd").is_dir():
        yield str(directory / SOCKET_NAME)
        return
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET_NAME}"
    finally:
        os.close(folder)
