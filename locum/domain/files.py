"""Files: uploaded by a caller, or made by the code interpreter."""

from __future__ import annotations

import unicodedata
from typing import Literal

import msgspec

Purpose = Literal["assistants", "assistants_output", "batch", "fine-tune", "vision", "user_data", "evals"]
UploadPurpose = Literal["assistants", "vision", "batch", "fine-tune", "user_data", "evals"]

MAX_BYTES = 512 * 1024 * 1024
"""The hosted service's limit for one file."""
MAX_FILENAME_BYTES = 255
MIN_EXPIRES_AFTER_SECONDS, MAX_EXPIRES_AFTER_SECONDS = 3600, 30 * 24 * 3600

Surface = Literal["openai", "azure"]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a generated file comes from. `path` is relative to /mnt/data, or None for an image that was only shown."""

    thread_id: str
    run_id: str
    call_id: str
    path: str | None = None


class File(msgspec.Struct, frozen=True, kw_only=True):
    """The hosted API's `file` object. `bytes` is the exact size, `sha256` the digest of the content in hex."""

    id: str
    created_at: int
    filename: str
    purpose: Purpose
    bytes: int
    sha256: str
    origin: Origin | None = None
    expires_at: int | None = None
    """From that second on there is no such file, whether or not its row has been removed already."""


def id_prefix(surface: Surface) -> str:
    """The prefix of file ids handed out on a surface."""
    return "assistant-" if surface == "azure" else "file-"


def blob_key(file_id: str) -> str:
    """What the bytes of a file are stored under: its id without the prefix, which depends on the surface."""
    return file_id.partition("-")[2]


def safe_filename(name: str) -> str | None:
    """The name a file is stored under, or None where nothing usable is left of it.

    Only the last path component counts (a browser may send `C:\\x\\data.csv`); control and format characters that could
    disguise a name are dropped.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in last if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp")).strip()
    return None if kept in ("", ".", "..") else kept


def mount_names(files: list[File]) -> dict[str, str]:
    """File id -> name below /mnt/data.

    The oldest file of a name keeps it; a later one of an equal name gets the end of its id before the suffix
    (`data.csv`, `data-x7Kq2m.csv`), so that neither hides the other.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for file in sorted(files, key=lambda each: (each.created_at, each.id)):
        name = file.filename
        if name in taken:
            stem, dot, suffix = name.rpartition(".")
            name = f"{stem}-{file.id[-6:]}.{suffix}" if dot and stem else f"{name}-{file.id[-6:]}"
        if name in taken or len(name.encode()) > MAX_FILENAME_BYTES:
            name = file.id  # somebody made the names so that they clash
        taken.add(name)
        names[file.id] = name
    return names
