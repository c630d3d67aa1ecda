"""Frames for the local sockets and pipes between Locum's processes.

A frame is a length (4 bytes, big endian), a kind (1 byte) and the payload. What a payload and a kind mean is the
protocol's business: `sandbox/protocol.py`, `ingestion/protocol.py` and `ingestion/compute.py`.
"""

from __future__ import annotations

import asyncio
import struct
from typing import BinaryIO, Protocol

MAX_BYTES = 0xFFFF_FFFF
_HEADER = struct.Struct("!IB")


class _Writer(Protocol):
    def write(self, data: bytes, /) -> object: ...


def frame(payload: bytes, kind: int = 0) -> bytes:
    """Return the payload as one frame."""
    return _HEADER.pack(len(payload), kind) + payload


def write_frame(writer: _Writer, payload: bytes, kind: int = 0) -> None:
    """Write a frame without copying its payload; the caller drains or flushes."""
    writer.write(_HEADER.pack(len(payload), kind))
    writer.write(payload)


async def read_frame(reader: asyncio.StreamReader, *, max_bytes: int = MAX_BYTES) -> tuple[int, bytes]:
    """Return kind and payload of the next frame.

    Raises IncompleteReadError at the end of the stream, ConnectionError for a longer payload than `max_bytes`.
    """
    length, kind = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    if length > max_bytes:
        raise ConnectionError(f"a frame of {length} bytes is longer than the {max_bytes} allowed")
    return kind, await reader.readexactly(length)


def read_frame_blocking(source: BinaryIO) -> bytes | None:
    """Return the payload of the next frame, or None at the end of the stream."""
    header = source.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    length, _ = _HEADER.unpack(header)
    payload = source.read(length)
    return payload if len(payload) == length else None
