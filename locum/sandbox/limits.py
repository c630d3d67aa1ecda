"""What a session, a cell and the whole of sandboxd may use at most."""

from __future__ import annotations

import msgspec

MIB = 1024 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults suit a machine with 8 GiB; every one can be set.

    memory_bytes: per session, its files in /mnt/data and /tmp included. disk_bytes: /mnt/data and /tmp together.
    output_bytes: what the model gets to see of a cell's text, head and tail. drain_bytes: after so much text the cell
    is read slowly, so that a flood costs the writer and not the server. memory_budget_bytes and max_sessions: of all
    sessions together (None: half of the machine's memory, one session for each 64 MiB up to 200); when they are
    reached, the session that was idle longest makes room. spare_sessions: forked ahead of their use.
    linger_seconds: how long sandboxd outlives the last server connected to it. cpus: processors that a session may
    keep busy, where control groups are to be had (0: all). cpu_seconds: how long each process of a session may keep one
    busy before it is killed (None: for ever). zygote_sessions, zygote_seconds: after so many sessions, or so long, new
    ones come from a new zygote; those that live go on.
    """

    idle_seconds: float = 3600
    cell_seconds: float = 120
    grace_seconds: float = 2
    memory_bytes: int = 1024 * MIB
    disk_bytes: int = 512 * MIB
    inodes: int = 20_000
    processes: int = 64
    open_files: int = 256
    output_bytes: int = 32 * 1024
    drain_bytes: int = 8 * MIB
    images_per_cell: int = 20
    image_bytes: int = 10 * MIB
    files_per_cell: int = 50
    files_bytes_per_cell: int = 512 * MIB
    max_sessions: int | None = None
    memory_budget_bytes: int | None = None
    spare_sessions: int = 2
    linger_seconds: float = 60
    cpus: float = 1
    cpu_seconds: int | None = None
    zygote_sessions: int = 500
    zygote_seconds: float = 24 * 3600
