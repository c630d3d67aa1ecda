"""Messages between the server and the ingestion worker: MessagePack in frames over the worker's pipes.

With SQLite the server alone writes the rows, so the worker sends its writes (`writes.py`) and the server executes them.
"""

from __future__ import annotations

import msgspec

from locum.errors import StorageFull, Unavailable
from locum.ingestion.writes import Write

ALIVE_SECONDS = 1.0
"""Interval between two `Alive` messages."""


# ---- from the server


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Configure the worker; the first message.

    settings: `Settings` as JSON. owner: name under which files are claimed. keyless: only this machine's own user can
    reach the server.
    """

    settings: bytes
    owner: str
    keyless: bool


class Wake(msgspec.Struct, frozen=True, tag=True):
    """Look for files to claim."""


class Rebuild(msgspec.Struct, frozen=True, tag=True):
    """Rebuild the keyword index of a store: it is missing or damaged."""

    resource: str
    store_id: str


class Cover(msgspec.Struct, frozen=True, tag=True):
    """Bring the store's keyword index up to what other servers have ingested; answered with `Covered`."""

    number: int
    resource: str
    store_id: str


class WriteResult(msgspec.Struct, frozen=True, tag=True):
    """Result of an `ExecuteWrite`, as MessagePack."""

    number: int
    result: bytes


class WriteFailed(msgspec.Struct, frozen=True, tag=True):
    """Failure of an `ExecuteWrite`. error: name of the exception's class."""

    number: int
    error: str
    message: str

    def exception(self) -> Exception:
        """Return the error for the caller that requested the write."""
        for kind in (Unavailable, StorageFull):
            if self.error == kind.__name__:
                return kind(self.message)
        return RuntimeError(f"{self.error}: {self.message}")


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Release all claimed files and exit."""


# ---- from the worker


class Alive(msgspec.Struct, frozen=True, tag=True):
    """Heartbeat. is_healthy: the worker polls the rows and can read them."""

    is_healthy: bool


class ExecuteWrite(msgspec.Struct, frozen=True, tag=True):
    """Execute a write; answered with `WriteResult` or `WriteFailed`."""

    number: int
    write: Write


class Finished(msgspec.Struct, frozen=True, tag=True):
    """Report stores in which files left `in_progress`. outcomes: number of files per outcome since the last report."""

    stores: list[str]
    outcomes: dict[str, int]


class Covered(msgspec.Struct, frozen=True, tag=True):
    request: Cover


ToWorker = Begin | Wake | Rebuild | Cover | WriteResult | WriteFailed | Stop
ToServer = Alive | ExecuteWrite | Finished | Covered

encode = msgspec.msgpack.Encoder().encode
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_to_server: msgspec.msgpack.Decoder[ToServer] = msgspec.msgpack.Decoder(ToServer)
decode_to_worker = _to_worker.decode
decode_to_server = _to_server.decode
