"""Common to both kinds of isolation: a session's folders, limits and tools.

`namespaces` gives every session a world of its own. `shared_root` makes do with the host's, for machines that refuse
namespaces. Each says what it covers and what not.
"""

from __future__ import annotations

import contextlib
import importlib.util
import resource
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

from locum.sandbox.isolation import linux, seccomp

SESSION_UID = 1000
SLOTS = 4096
"""How many sessions can live at a time, each with a user id of its own when sandboxd is root."""
_FIRST_UID = 1_900_000_000  # of the ids that systemd's list leaves to nobody

DATA, SCRATCH, IMAGES = "data", "tmp", "images"
MODULES = "modules"
"""Beneath the tools: what Python finds before the modules of the same name that are installed."""

PROGRAM_FILES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
SETTINGS = ("fonts", "ld.so.cache", "localtime", "mime.types", "alternatives")
DEVICES = ("null", "full", "random", "urandom")
"""And `zero`, which may only be read: a shared mapping of it is memory that no limit counts."""
_INSTALLERS = ("pip", "pip3", "uv", "conda", "mamba", "apt", "apt-get")
_PIP_MODULE = """
def main(*args):
    print({!r}, flush=True)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
"""
_WORTH_NAMING = (
    *("numpy", "pandas", "scipy", "sympy", "matplotlib", "seaborn", "sklearn", "statsmodels", "networkx"),
    *("openpyxl", "xlsxwriter", "PIL", "pypdf", "pypdfium2", "docx", "pptx", "lxml", "bs4", "tabulate"),
)


class Place(NamedTuple):
    """Where a session finds what is its own. The files of `data` are those of /mnt/data, whatever the folder is called;
    `tools` are programs that stand in for others."""

    data: str
    scratch: str
    images: str
    tools: str


class Forked(NamedTuple):
    """A session's first process, by its descriptor. `child` is the one to wait for, a keeper when there is one."""

    child: int
    worker: int
    keeper: int = 0


class Isolation(Protocol):
    """`enter` isolates the zygote, `seal` closes what only its warming up needed, `fork` makes a process that
    calls `close_in` for its own last step and thereby becomes a session."""

    cache: str
    place: Place
    first_uid: int | None
    """User id of slot 0, when each session has one of its own on the host."""
    late_modules: str | None
    """Folder of the modules that are imported after `enter`; None where Locum's own files can still be read."""

    def enter(self) -> None: ...
    def seal(self) -> None: ...
    def fork(self, settings: dict[str, Any], session: Callable[[], NoReturn]) -> Forked: ...
    def close_in(self, settings: dict[str, Any]) -> int:
        """Returns the folder that holds all of the session's files, for the host."""
        ...

    def keep_open(self) -> None: ...


def first_uid(id_map: str, share: int) -> int | None:
    """From /proc/self/uid_map: where the ids for the sessions of one sandboxd of several (its `share`) begin. In a user
    namespace, whose root has some thousands of ids only, they are among the last; None where there are not enough."""
    ranges = [(int(first), int(count)) for first, _, count in map(str.split, id_map.splitlines())]
    wanted = _FIRST_UID + share * SLOTS
    if any(first <= wanted and first + count >= wanted + SLOTS for first, count in ranges):
        return wanted
    first, count = max(ranges, key=lambda each: each[1], default=(0, 0))
    shares = count // SLOTS - 1  # the first ids are those of people and services
    return first + count - (share % shares + 1) * SLOTS if shares > 0 else None


_place = Place("/mnt/data", "/tmp", "/tmp", "")  # noqa: S108  (before anything is set)


def settle(place: Place) -> None:
    """From here on this process lives there."""
    global _place
    _place = place


def here() -> Place:
    return _place


def interpreter_folders() -> list[str]:
    """Where this interpreter and its packages live, without what the system's program files already show."""
    named = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    named += [sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    named += [str(Path(sys.executable).resolve().parent)]
    folders = sorted({str(form) for path in named for form in (Path(path), Path(path).resolve())}, key=len)
    shown: list[str] = []
    for folder in folders:
        if not any(Path(folder).is_relative_to(other) for other in (*PROGRAM_FILES, *shown)):
            shown.append(folder)
    return shown


def no_internet() -> str:
    """What pip says: everything the model needs to go on without it."""
    here = ", ".join(name for name in _WORTH_NAMING if importlib.util.find_spec(name)) or "the standard library"
    said = "There is no internet access in this sandbox, so packages cannot be installed."
    return f"{said} Use those that are here: {here}."


def make_tools(folder: Path) -> None:
    """What stands in for the programs that cannot work in here, and for pip as a module (`python -m pip`)."""
    said = no_internet()
    modules = folder / MODULES
    modules.mkdir(parents=True, exist_ok=True)
    (modules / "pip.py").write_text(_PIP_MODULE.format(said))
    for name in _INSTALLERS:
        (folder / name).write_text(f"#!/bin/sh\necho '{said}'\nexit 1\n")
        (folder / name).chmod(0o755)


def read_sizes() -> tuple[int, int]:
    """Address space and private data of this process so far; a session's limits are set on top of them."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmSize"].split()[0]) * 1024, int(lines["VmData"].split()[0]) * 1024
    except OSError:
        return 2 << 30, 1 << 30


def limit(settings: dict[str, Any]) -> None:
    disk, memory = int(settings["disk_bytes"]), int(settings["memory_bytes"])
    for kind, value in (
        (resource.RLIMIT_DATA, int(settings["base_data"]) + memory * 7 // 8),
        (resource.RLIMIT_AS, int(settings["base_size"]) + 4 * memory),
        (resource.RLIMIT_NPROC, int(settings["processes"])),
        (resource.RLIMIT_NOFILE, int(settings["open_files"])),
        (resource.RLIMIT_FSIZE, disk + (1 << 20)),
        (resource.RLIMIT_STACK, 8 << 20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, 256),
        (resource.RLIMIT_RTPRIO, 0),
        (resource.RLIMIT_NICE, 0),
        (resource.RLIMIT_CPU, settings["cpu_seconds"]),
    ):
        if value is None:
            continue
        ceiling = resource.getrlimit(kind)[1]
        value = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        resource.setrlimit(kind, (value, value))


def drop_bounding_set() -> None:
    """Nothing that is run can bring a capability back; without the right to do so, no-new-privs stands alone."""
    for capability in range(64):
        try:
            linux.prctl(linux.PR_CAPBSET_DROP, capability)
        except OSError:
            break  # the first number this kernel does not know


def drop_capabilities() -> None:
    drop_bounding_set()
    with contextlib.suppress(OSError):
        linux.prctl(linux.PR_CAP_AMBIENT, 4)
    linux.set_capabilities(0, 0)


def limit_fork_server(kept: Iterable[int]) -> None:
    """Give up, before any package runs, each capability and system call that making sessions does not take.

    Programs that a package starts gain nothing either: no-new-privs is set.
    """
    rights = sum(1 << capability for capability in kept)
    linux.set_capabilities(rights, rights)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.Filter(makes_sessions=True).install()


def prepare_folder(directory: Path) -> None:
    """The two folders on the host that the zygote needs: a place to mount its root on, and matplotlib's font cache."""
    for name in ("root", "cache"):
        (directory / name).mkdir(mode=0o700, exist_ok=True)


def forget_host_paths(text: str) -> str:
    """A traceback's paths without where on the host the interpreter, and this package, happen to be installed."""
    for key in ("purelib", "platlib", "stdlib"):
        text = text.replace(sysconfig.get_path(key) + "/", "")
    return text.replace(f"{Path(__file__).parents[3]}/", "")
