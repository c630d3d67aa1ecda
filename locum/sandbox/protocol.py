"""Messages between the server and sandboxd: frames (`locum/framing.py`) of JSON, and frames of plain bytes.

One connection serves one call. An empty frame of bytes ends a file.
"""

from __future__ import annotations

import asyncio

import msgspec

from locum import framing
from locum.domain.usage import SessionUsage
from locum.sandbox.limits import Limits
from locum.sandbox.profile import Profile
from locum.sandbox.session import CellResult, Opened, Status, Tier
from locum.sandbox.stats import Stats

SOCKET_NAME = "sandboxd.sock"
LOG_NAME = "sandboxd.log"
CHUNK = 256 * 1024
_MAX_FRAME_BYTES = 64 * 1024 * 1024
_JSON, _BYTES = 0, 1


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a running sandboxd was started with; another configuration needs another sandboxd."""

    version: str
    tiers: tuple[Tier, ...]
    python: str
    limits: Limits
    profile: Profile


class Hello(msgspec.Struct, tag=True):
    """Answered with Ready; the connection stays open as long as the server lives."""


class Open(msgspec.Struct, tag=True):
    """`lost`: cells have run under that name before; if the session is new, their variables are gone."""

    session: str
    lost: bool


class Put(msgspec.Struct, tag=True):
    session: str
    name: str
    tag: str


class Execute(msgspec.Struct, tag=True):
    session: str
    call_id: str
    code: str
    preface: str = ""


class Interrupt(msgspec.Struct, tag=True):
    """Sent on the connection of an Execute."""


class Get(msgspec.Struct, tag=True):
    session: str
    key: str


class Delete(msgspec.Struct, tag=True):
    session: str


class GetUsage(msgspec.Struct, tag=True):
    """What a session has used so far, also while it runs a cell."""

    session: str


class GetStats(msgspec.Struct, tag=True):
    """What there is and was of all sessions together."""


class Shutdown(msgspec.Struct, tag=True):
    pass


Request = Hello | Open | Put | Execute | Interrupt | Get | Delete | GetUsage | GetStats | Shutdown


class Ready(msgspec.Struct, tag=True):
    status: Status
    config: Config
    pid: int


class IsOpen(msgspec.Struct, tag=True):
    opened: Opened


class Piece(msgspec.Struct, tag=True):
    text: str


class Result(msgspec.Struct, tag=True):
    result: CellResult


class Used(msgspec.Struct, tag=True):
    usage: SessionUsage | None


class Counted(msgspec.Struct, tag=True):
    stats: Stats


class Done(msgspec.Struct, tag=True):
    pass


class Failure(msgspec.Struct, tag=True):
    """`kind` names the exception the client raises."""

    kind: str
    message: str


Reply = Ready | IsOpen | Piece | Result | Used | Counted | Done | Failure

_encode = msgspec.json.Encoder().encode
_requests = msgspec.json.Decoder(Request)
_replies = msgspec.json.Decoder(Reply)


def frame(message: Request | Reply) -> bytes:
    return framing.frame(_encode(message), _JSON)


def bytes_frame(data: bytes) -> bytes:
    return framing.frame(data, _BYTES)


async def read_request(reader: asyncio.StreamReader) -> Request | bytes:
    kind, payload = await framing.read_frame(reader, max_bytes=_MAX_FRAME_BYTES)
    return payload if kind == _BYTES else _requests.decode(payload)


async def read_reply(reader: asyncio.StreamReader) -> Reply | bytes:
    kind, payload = await framing.read_frame(reader, max_bytes=_MAX_FRAME_BYTES)
    return payload if kind == _BYTES else _replies.decode(payload)


def encode_config(config: Config) -> bytes:
    return _encode(config)
