"""Landlock: which files a process and all its descendants may reach, decided by the process itself, for good.

Covered: reading, running, listing, writing, making, renaming and truncating files outside of the folders that were
allowed; TCP; signals and abstract sockets towards processes outside (as far as this kernel's version goes, see
`Version`). With it comes that a process outside cannot be traced, nor its memory read.

Not covered: looking at a file's name, size and mode; changing modes, owners and times (`seccomp` or another user id
stand against that); what was open before.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

from locum.sandbox.isolation import linux

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ALL_OF_VERSION_1 = (1 << 13) - 1
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

READ = _READ_FILE | _READ_DIR
RUN = READ | _EXECUTE
USE = _READ_FILE | _WRITE_FILE
OWN = RUN | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER | _TRUNCATE

_TCP = 1 << 0 | 1 << 1
_SCOPES = 1 << 0 | 1 << 1


class Version(NamedTuple):
    """What a kernel's Landlock can do; 0 is none at all."""

    number: int

    @property
    def files(self) -> int:
        """The rights that are taken away unless they are allowed."""
        later = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
        return _ALL_OF_VERSION_1 | sum(right for since, right in later if self.number >= since)

    @property
    def network(self) -> int:
        return _TCP if self.number >= 4 else 0

    @property
    def scopes(self) -> int:
        return _SCOPES if self.number >= 6 else 0

    @property
    def guards_truncating(self) -> bool:
        return self.number >= 3

    @property
    def keeps_signals_in(self) -> bool:
        return self.number >= 6


def version() -> Version:
    return Version(linux.landlock_version())


def restrict(allowed: Iterable[tuple[str, int]], of: Version) -> None:
    """From here on this process reaches the files that are allowed, and nothing else; needs no-new-privs. A path that
    is not there is no right."""
    ruleset = linux.landlock_ruleset(of.files, of.network, of.scopes)
    try:
        for path, rights in allowed:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                _allow(ruleset, path, rights & of.files)
        linux.landlock_restrict(ruleset)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        linux.landlock_allow(ruleset, rights if is_folder else rights & _OF_FILES, fd)
    finally:
        os.close(fd)
