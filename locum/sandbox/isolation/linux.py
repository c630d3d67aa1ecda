"""The few system calls that Python 3.11 does not offer, through ctypes: no compiled part, no dependency.

Every function raises OSError with the name of the call in its message, because "Operation not permitted" alone tells
nobody which of twenty steps a machine refuses.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x4_0000
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 0x1, 0x2, 0x4
AT_RECURSIVE = 0x8000
AT_FDCWD = -100

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 8
PR_SET_SECCOMP, PR_CAPBSET_DROP = 22, 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 38, 47
SECCOMP_MODE_FILTER = 2

CAP_CHOWN, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_SYS_ADMIN, CAP_SETFCAP = 0, 5, 6, 7, 8, 21, 31

RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x02, 0x04, 0x08
MADV_COLLAPSE = 25

# Numbers above 423 are the same on every architecture.
SYS_OPENAT2 = 437
SYS_MOUNT_SETATTR = 442
SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_ADD_RULE, SYS_LANDLOCK_RESTRICT_SELF = 444, 445, 446
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
_MACHINE = os.uname().machine if hasattr(os, "uname") else ""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def _checked(result: int, call: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def _syscall(name: str, number: int, *args: object) -> int:
    words = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return _checked(int(_libc.syscall(ctypes.c_long(number), *words)), name)


def unshare(flags: int) -> None:
    names = [name for name, flag in globals().items() if name.startswith("CLONE_") and flags & flag]
    _checked(_libc.unshare(ctypes.c_int(flags)), f"unshare({'|'.join(names)})")


def setns(fd: int, kind: int) -> None:
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    data = None if options is None else options.encode()
    _checked(_libc.mount(*words, ctypes.c_ulong(flags), data), f"mount({kind or 'bind'} on {target})")


def restrict_mount(target: str, attributes: int, *, recursive: bool = False) -> None:
    """Add attributes to a mount (and, if asked, all below it) without touching those it has."""
    words = struct.pack("QQQQ", attributes, 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    path = ctypes.c_char_p(os.fsencode(target))
    _syscall("mount_setattr", SYS_MOUNT_SETATTR, AT_FDCWD, path, flags, ctypes.c_char_p(words), len(words))


def pivot_into(new_root: str) -> None:
    """Make `new_root` the root and let go of the old one, which is then reachable by nobody."""
    os.chdir(new_root)
    here = ctypes.c_char_p(b".")
    _syscall("pivot_root", SYS_PIVOT_ROOT[_MACHINE], here, here)
    _checked(_libc.umount2(b".", ctypes.c_int(MNT_DETACH)), "umount(old root)")
    os.chdir("/")


def prctl(option: int, *args: int) -> int:
    return _checked(_libc.prctl(option, *(*args, 0, 0, 0, 0)[:4]), f"prctl({option})")


def set_capabilities(effective: int, permitted: int) -> None:
    header = struct.pack("Ii", 0x2008_0522, 0)
    low, high = (1 << 32) - 1, 32
    data = struct.pack(
        "IIIIII", effective & low, permitted & low, 0, (effective >> high) & low, (permitted >> high) & low, 0
    )
    _syscall("capset", SYS_CAPSET[_MACHINE], ctypes.c_char_p(header), ctypes.c_char_p(data))


def effective_capabilities() -> int:
    with open("/proc/self/status") as status:  # noqa: PTH123
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))


@contextlib.contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """Look at files (and /proc) with another user's eyes; of this thread only, and only root can."""
    if uid < 0:
        yield
        return
    _libc.setfsgid(uid)
    _libc.setfsuid(uid)
    try:
        yield
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())


def landlock_version() -> int:
    """Which version of Landlock this kernel speaks; 0 where it has none, or it is switched off."""
    try:
        return _syscall("landlock", SYS_LANDLOCK_CREATE_RULESET, 0, 0, 1)
    except OSError:
        return 0


def landlock_ruleset(files: int, network: int, scoped: int) -> int:
    """A descriptor for rules about these rights; the kernel takes as much of the attributes as it knows."""
    attributes = struct.pack("QQQ", files, network, scoped)
    size = 24 if scoped else 16 if network else 8
    return _syscall("landlock", SYS_LANDLOCK_CREATE_RULESET, ctypes.c_char_p(attributes), size, 0)


def landlock_allow(ruleset: int, rights: int, path: int) -> None:
    """Allow rights on what the descriptor `path` (opened with O_PATH) stands for, and on all below it."""
    rule = struct.pack("=Qi", rights, path)
    _syscall("landlock_add_rule", SYS_LANDLOCK_ADD_RULE, ruleset, 1, ctypes.c_char_p(rule), 0)


def landlock_restrict(ruleset: int) -> None:
    _syscall("landlock_restrict_self", SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)


def open_beneath(directory: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open a path that may not leave `directory` and may not pass through any link, whoever planted it."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
    name = ctypes.c_char_p(os.fsencode(path))
    return _syscall("openat2", SYS_OPENAT2, directory, name, ctypes.c_char_p(how), len(how))


def die_with_parent(signal_number: int) -> None:
    prctl(PR_SET_PDEATHSIG, signal_number)


def collapse(start: int, length: int) -> None:
    """Ask for huge pages under a range of memory; a fork then copies one entry instead of 512. It may be refused."""
    _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(MADV_COLLAPSE))


def flush_stdio() -> None:
    """Write out what C code (not Python) printed."""
    _libc.fflush(None)
