"""Uploads: a file that comes in parts, in any order, within the hour."""

from __future__ import annotations

from typing import Literal

import msgspec

from locum.domain.files import File, Purpose

MAX_BYTES = 8 * 1024**3
MAX_PART_BYTES = 64 * 1024**2
SECONDS = 3600
"""How long an upload takes parts."""
KEEP_SECONDS = 24 * 3600
"""After its hour, a finished upload still says its status so long to a client that asks again."""

Status = Literal["pending", "completed", "cancelled", "expired"]


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """The hosted API's `upload` object.

    `bytes` is what the file is to have, `stored_bytes` what all parts have so far; `expires_after_seconds` is for the
    file.
    """

    id: str
    created_at: int
    expires_at: int
    filename: str
    purpose: Purpose
    bytes: int
    stored_bytes: int = 0
    expires_after_seconds: int | None = None
    status: Status = "pending"
    file: File | None = None

    def at(self, now: int) -> Upload:
        """The upload as it is at that time: nobody has to write that it expired."""
        if self.status == "pending" and now >= self.expires_at:
            return msgspec.structs.replace(self, status="expired")
        return self


class UploadPart(msgspec.Struct, frozen=True, kw_only=True):
    """The hosted API's `upload.part` object, and the exact size of its bytes."""

    id: str
    created_at: int
    upload_id: str
    bytes: int


def part_blob_key(part_id: str) -> str:
    """What the bytes of a part are stored under: its id without the prefix."""
    return part_id.removeprefix("part_")
