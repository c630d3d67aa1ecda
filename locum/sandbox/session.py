"""The vocabulary of the code interpreter's sandbox: what its client asks and what comes back."""

from __future__ import annotations

from typing import Literal

import msgspec

from locum.domain.usage import SessionUsage
from locum.errors import LocumError

Tier = Literal["namespaces", "landlock", "weak", "off"]
"""How model-written code is held. `namespaces` is the full isolation, `landlock` stands in where a container's root may
make no namespaces, `weak` where that is an ordinary user: sessions are the server's own user there. `off` refuses."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the boot probe found. `reason` is for people; `fix` is the one line to do for a better tier."""

    tier: Tier
    reason: str
    fix: str | None = None

    @property
    def why(self) -> str:
        """Reason and fix, as they are told everywhere."""
        return f"{self.reason}. Fix: {self.fix}" if self.fix else self.reason

    @property
    def sentence(self) -> str:
        """All of it, as the console and `locum doctor` say it."""
        return f"{self.tier}: {self.why}"


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """A file a cell made. `key` fetches its bytes with `Sandbox.get` until the session's next cell begins.

    `name` is safe (no path separators beyond `/` between sub-folders of /mnt/data, no control characters) and relative
    to /mnt/data for files; images have a name such as `image-1.png`.
    """

    key: str
    name: str
    size: int


class CellResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one cell.

    logs: stdout, stderr, the last expression and the traceback in the order they came; control characters removed,
    truncated in the middle with a note when longer than the limit.
    ok: the code ran without an exception. error: the exception's name when it did not (`KeyError`), `Timeout`, or
    `SessionDied`. reason: why the session's process is gone, when it is.
    reset: variables were lost (the session died, was killed after a time-out, or is new since the last cell).
    removed: names of files that stood in /mnt/data before the cell and are gone after it, or have changed and are not
    among `files`.
    usage: of the whole session, this cell included.
    """

    logs: str
    ok: bool
    error: str | None = None
    images: tuple[Output, ...] = ()
    files: tuple[Output, ...] = ()
    removed: tuple[str, ...] = ()
    reset: bool = False
    reason: str = ""
    usage: SessionUsage | None = None


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A session that is there to be used. `files` maps each name put into /mnt/data to the tag it was put with.

    fresh: no cell has run in it, so /mnt/data holds nothing but those files.
    """

    fresh: bool
    files: dict[str, str]


class SandboxUnavailable(LocumError):
    """The code interpreter cannot run code; the message says why and what to do about it."""


class SessionLost(LocumError):
    """The session (or all of sandboxd) went away in mid-call: variables are gone, the next call starts anew."""


class QuotaExceeded(LocumError):
    """The bytes do not fit into the session's /mnt/data."""


class NotWritable(LocumError):
    """Something in the session's /mnt/data stands where the file is to go."""
