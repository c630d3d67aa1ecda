"""Vector stores: files a model can search, each with its state of ingestion, and the batches they come in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

SECONDS_PER_DAY = 86_400
MAX_FILES = 10_000
"""In one store."""
MAX_FILES_AT_ONCE, MAX_FILES_OF_BATCH = 500, 2000
"""With a store that is created, and in one batch."""
THREAD_STORE_DAYS = 7
"""What is made for a thread, by the way, ends so long after its last use."""
MIN_CHUNK_TOKENS, MAX_CHUNK_TOKENS = 100, 4096

FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]
StoreStatus = Literal["expired", "in_progress", "completed"]
BatchStatus = Literal["in_progress", "completed", "cancelled", "failed"]
ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]

Attribute = str | bool | int | float
"""What an attribute of a file may be; numbers are compared as numbers."""

_CODE = frozenset(("c", "cpp", "cs", "css", "go", "java", "js", "php", "py", "rb", "sh", "ts"))
_TEXT = frozenset(("html", "json", "md", "tex", "txt"))
SEARCHABLE = _CODE | _TEXT | {"doc", "docx", "pdf", "pptx"}
"""Extensions of the files that can be searched: those of the hosted service's list, and Go."""


class ExpiresAfter(msgspec.Struct, frozen=True, kw_only=True):
    """A store ends that many days after it was last of use."""

    days: int
    anchor: Literal["last_active_at"] = "last_active_at"


class Chunking(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """How a file is cut, in tokens. The default is what `auto` means."""

    max_chunk_size_tokens: int = 800
    chunk_overlap_tokens: int = 400


class FileCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many files of a store or batch are in which state."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled


class FileError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a file cannot be searched, in words that help its owner."""

    code: ErrorCode
    message: str


class VectorStore(msgspec.Struct, frozen=True, kw_only=True):
    """The hosted API's `vector_store` object, but for what is counted from its files.

    last_active_at: when a run or a search last used it. embedder: whose vectors it is searched by; None is by words
    alone.
    """

    id: str
    created_at: int
    last_active_at: int
    name: str | None = None
    description: str | None = None
    expires_after: ExpiresAfter | None = None
    metadata: dict[str, str] = {}
    embedder: str | None = None

    @property
    def expires_at(self) -> int | None:
        """The second from which on it has expired: its files stay, and searches of it fail."""
        return None if self.expires_after is None else self.last_active_at + self.expires_after.days * SECONDS_PER_DAY

    def is_expired(self, now: int) -> bool:
        return self.expires_at is not None and now >= self.expires_at


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds: the states of its files, and the bytes that searching them takes."""

    counts: FileCounts = FileCounts()
    usage_bytes: int = 0


class VectorStoreFile(msgspec.Struct, frozen=True, kw_only=True):
    """The hosted API's `vector_store.file` object: a file's place in a store. Its id is the file's.

    document: key of the file's text in the derived data; set once it is completed.
    """

    id: str
    created_at: int
    vector_store_id: str
    status: FileStatus = "in_progress"
    usage_bytes: int = 0
    last_error: FileError | None = None
    chunking: Chunking = Chunking()
    attributes: dict[str, Attribute] = {}
    document: str | None = None


class FileBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The hosted API's `vector_store.file_batch` object, but for what is counted from its files."""

    id: str
    created_at: int
    vector_store_id: str
    is_cancelled: bool = False

    def status(self, counts: FileCounts) -> BatchStatus:
        """A batch whose files have all failed is completed: what became of each is what its files say."""
        if self.is_cancelled:
            return "cancelled"
        return "in_progress" if counts.in_progress else "completed"


UNSUPPORTED_PAGE = "https://platform.openai.com/docs/assistants/tools/file-search/supported-files"


def unsupported(filenames: Iterable[str]) -> str | None:
    """What is wrong with those of the files that cannot be searched, in the hosted words; None where all can be."""
    kinds = dict.fromkeys(f".{extension(name)}" for name in filenames if not is_searchable(name))
    if not kinds:
        return None
    said = ", ".join("none" if kind == "." else kind for kind in kinds)
    return f"Files with extensions [{said}] are not supported for retrieval. See {UNSUPPORTED_PAGE}"


def status_of(store: VectorStore, held: Held, *, now: int) -> StoreStatus:
    """The state that callers see."""
    if store.is_expired(now):
        return "expired"
    return "in_progress" if held.counts.in_progress else "completed"


def completed(file: VectorStoreFile, *, document: str, usage_bytes: int) -> VectorStoreFile:
    """The file once searches find it."""
    return msgspec.structs.replace(file, status="completed", document=document, usage_bytes=usage_bytes)


def failed(file: VectorStoreFile, error: FileError) -> VectorStoreFile:
    """The file that searches will not find."""
    return msgspec.structs.replace(file, status="failed", last_error=error)


def cancelled(file: VectorStoreFile) -> VectorStoreFile:
    """The file whose batch was cancelled before it was its turn."""
    return msgspec.structs.replace(file, status="cancelled")


_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,10})$")


def extension(filename: str) -> str:
    """In small letters and without its dot; "" where there is none."""
    found = _EXTENSION.search(filename)
    return found.group(1).lower() if found else ""


def is_searchable(filename: str) -> bool:
    """Whether the name is that of a file which file search takes."""
    return extension(filename) in SEARCHABLE
