"""The host's hands in a session's files: every name in there was chosen by hostile code.

Covered: every open goes beneath the session's folder and through no link (openat2), to regular files only, without
waiting (a FIFO, a device); entries, depth, file count and bytes are bounded, bytes by counting what is read and not
by what a file claims to be; names are made safe to show; nothing is ever decoded, unpacked or run. The folder was
received before the session ran any code, and outlives it.

Not covered: what is in the files. Whoever serves them must not let a browser take them for a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import stat
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from locum.sandbox.isolation import jail, linux
from locum.sandbox.limits import Limits
from locum.sandbox.output import clean
from locum.sandbox.session import NotWritable

T = TypeVar("T")

MOST_THREADS = 64
"""Many: a session with thousands of files must not keep others in a queue. A thread is made when no other is idle."""
_THREADS = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="collect")
_CHUNK = 256 * 1024
_MOST_ENTRIES = 4000
_MOST_DEPTH = 8
_MOST_NESTED = 64
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_PNG = b"\x89PNG\r\n\x1a\n"


class Found(msgspec.Struct, frozen=True):
    """A regular file at `path` (as the session named it) beneath the session's folder."""

    path: bytes
    name: str
    size: int
    inode: int


Snapshot = dict[bytes, tuple[int, int, int]]


class Collection(msgspec.Struct, frozen=True):
    """Outputs of a cell. removed: names of files from before the cell that are outdated."""

    files: list[Found]
    files_left_out: int
    images: list[Found]
    images_left_out: int
    removed: tuple[str, ...]


def prepare(folder: int) -> Snapshot:
    """Remove the images of earlier cells; return the files there are before the next one."""
    clear_images(folder)
    return snapshot(folder)


def collect(folder: int, before: Snapshot, limits: Limits) -> Collection:
    """Find the outputs of a cell that has ended. With thousands of files it takes up to seconds."""
    files, files_left_out = changed_files(folder, before, limits)
    pictures, images_left_out = images(folder, limits)
    removed = outdated_files(folder, before, files_left_out)
    return Collection(files, len(files_left_out), pictures, images_left_out, removed)


async def in_thread(folder: int, work: Callable[[int], T]) -> T:
    """Run `work` on a session's folder in a thread, so that other sessions are served meanwhile.

    The thread has a descriptor of its own: the number of a session that ends may soon be another's.
    """
    own = os.dup(folder) if folder >= 0 else -1

    def run() -> T:
        try:
            return work(own)
        finally:
            if own >= 0:
                os.close(own)

    return await asyncio.get_running_loop().run_in_executor(_THREADS, run)


def walk(folder: int, top: str) -> Iterator[tuple[bytes, os.stat_result]]:
    """Regular files below `top`, nearest first; hidden ones and byte code are nobody's output."""
    waiting = deque([(os.fsencode(top), 0)])
    seen = 0
    while waiting:
        path, depth = waiting.popleft()
        try:
            fd = linux.open_beneath(folder, path, _READ | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    seen += 1
                    if seen > _MOST_ENTRIES:
                        return
                    name = os.fsencode(entry.name)
                    if name.startswith(b".") or name == b"__pycache__":
                        continue
                    with contextlib.suppress(OSError):
                        about = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
                        if stat.S_ISREG(about.st_mode):
                            yield path + b"/" + name, about
                        elif stat.S_ISDIR(about.st_mode) and depth < _MOST_DEPTH:
                            waiting.append((path + b"/" + name, depth + 1))
        finally:
            os.close(fd)


def snapshot(folder: int) -> Snapshot:
    return {path: _mark(about) for path, about in walk(folder, jail.DATA)}


def _mark(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_ino, about.st_mtime_ns, about.st_size


def changed_files(folder: int, before: Snapshot, limits: Limits) -> tuple[list[Found], list[bytes]]:
    """Files that are new or different since `before`, within the limits, and the paths of those left out for them."""
    kept: list[Found] = []
    left_out: list[bytes] = []
    names: set[str] = set()
    total = 0
    for path, about in walk(folder, jail.DATA):
        if before.get(path) == _mark(about):
            continue
        if len(kept) >= limits.files_per_cell or total + about.st_size > limits.files_bytes_per_cell:
            left_out.append(path)
            continue
        total += about.st_size
        name = _unique(_name(path), names)
        kept.append(Found(path, name, about.st_size, about.st_ino))
    return kept, left_out


def outdated_files(folder: int, before: Snapshot, left_out: list[bytes]) -> tuple[str, ...]:
    """Names of the files in `before` that are no longer there, unless another one has that name now, or that have
    changed and are `left_out`: what is known of them elsewhere is no longer so."""
    there = {path for path, _ in walk(folder, jail.DATA)}
    # A folder that has grown too large is not walked to its end: what was not seen is looked for by itself.
    gone = [path for path in before if path not in there and not _is_file(folder, path)]
    names = {_name(path) for path in gone} - {_name(path) for path in there} if gone else set()
    return tuple(sorted(names | {_name(path) for path in left_out if path in before}))


def _is_file(folder: int, path: bytes) -> bool:
    try:
        fd = linux.open_beneath(folder, path, _READ)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def _name(path: bytes) -> str:
    return safe_name(path.removeprefix(jail.DATA.encode() + b"/"))


def images(folder: int, limits: Limits) -> tuple[list[Found], int]:
    """What the runner left as images, in order; a file that does not begin as a PNG is not one."""
    candidates = sorted(walk(folder, jail.IMAGES), key=lambda item: (len(item[0]), item[0]))
    kept: list[Found] = []
    for path, about in candidates:
        found = Found(path, f"image-{len(kept) + 1}.png", about.st_size, about.st_ino)
        if len(kept) < limits.images_per_cell and about.st_size <= limits.image_bytes and _is_png(folder, found):
            kept.append(found)
    return kept, len(candidates) - len(kept)


def clear_images(folder: int) -> None:
    for path, _ in walk(folder, jail.IMAGES):
        with contextlib.suppress(OSError):
            remove(folder, path)


def remove(folder: int, path: bytes) -> None:
    """Unlink by the parent that was reached through no link."""
    parent, name = os.path.split(path)
    fd = linux.open_beneath(folder, parent, os.O_PATH | os.O_DIRECTORY)
    try:
        os.unlink(name, dir_fd=fd)
    finally:
        os.close(fd)


def _is_png(folder: int, found: Found) -> bool:
    """Only the first bytes are read: there may be thousands of large files that are none."""
    try:
        return b"".join(read(folder, msgspec.structs.replace(found, size=min(found.size, len(_PNG))))) == _PNG
    except OSError:
        return False


def read(folder: int, found: Found) -> Iterator[bytes]:
    """The bytes of the very file that was found, and never more of them than it had."""
    fd = linux.open_beneath(folder, found.path, _READ)
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_ino != found.inode:
            raise FileNotFoundError(found.name)
        left = found.size
        while left and (data := os.read(fd, min(left, _CHUNK))):
            left -= len(data)
            yield data
    finally:
        os.close(fd)


def safe_name(path: bytes) -> str:
    """A name for people and programs: no control characters, no `..`, not longer than a file's name may be."""
    text = clean(path.decode(errors="replace")).replace("\n", "_").replace("\t", "_").replace("\\", "_")
    parts = [part.strip() for part in text.split("/")]
    parts = [part for part in parts if part not in ("", ".", "..")]
    name = "/".join(parts) or "unnamed"
    return name if len(name.encode()) <= 255 else _shortened(name)


def _shortened(name: str) -> str:
    """The last part with its ending, cut in the middle."""
    last = name.rsplit("/", 1)[-1]
    stem, dot, ending = last.rpartition(".")
    if not dot or len(ending.encode()) > 16:
        stem, ending = last, ""
    room = 255 - len(ending.encode()) - 1
    return stem.encode()[:room].decode(errors="ignore") + (f".{ending}" if ending else "")


def _unique(name: str, taken: set[str]) -> str:
    stem, dot, ending = name.rpartition(".") if "." in name.rsplit("/", 1)[-1] else (name, "", "")
    number = 2
    candidate = name
    while candidate in taken:
        rest = f"-{number}{dot}{ending}"
        candidate = stem.encode()[: 255 - len(rest.encode())].decode(errors="ignore") + rest
        number += 1
    taken.add(candidate)
    return candidate


class Incoming:
    """A file on its way into /mnt/data, or a folder in it: hidden until it is whole, then there under its name at once.

    The folders on the way are made where they are missing. Whatever the session planted there, nothing leads out: each
    folder is opened beneath the one before and through no link, and the last name is not followed but replaced.
    """

    def __init__(self, folder: int, name: str, owner: int) -> None:
        parts = name.split("/")
        if (
            "\0" in name
            or any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts)
            or len(parts) > _MOST_DEPTH + 1
        ):
            raise NotWritable(f"{name!r} cannot be the name of a file in /mnt/data")
        self._name = parts[-1]
        self._hidden = f".incoming-{secrets.token_hex(8)}"
        self._parent = _open_folder(folder, [jail.DATA, *parts[:-1]], owner)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self._hidden, flags, 0o644, dir_fd=self._parent)
        except OSError:
            os.close(self._parent)
            raise
        try:
            os.fchmod(self._fd, 0o644)
            os.fchown(self._fd, owner, owner)
        except OSError:
            self.close()
            raise

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def keep(self) -> None:
        os.rename(self._hidden, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
        self._hidden = ""

    def close(self) -> None:
        os.close(self._fd)
        if self._hidden:
            with contextlib.suppress(OSError):
                os.unlink(self._hidden, dir_fd=self._parent)
        os.close(self._parent)


def copy_files(source: int, target: int, owner: int, limits: Limits) -> None:
    """What a session that died had in /mnt/data, for the one that follows it. What does not fit stays behind, and
    nothing is there in part."""
    left = limits.disk_bytes
    for path, about in walk(source, jail.DATA):
        if about.st_size <= left:
            with contextlib.suppress(OSError):
                left -= _copy_file(source, target, owner, Found(path, "", about.st_size, about.st_ino), about)


def _copy_file(source: int, target: int, owner: int, found: Found, about: os.stat_result) -> int:
    os.close(_open_folder(target, os.fsdecode(found.path).split("/")[:-1], owner))
    fd = linux.open_beneath(target, found.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    written = 0
    try:
        os.fchown(fd, owner, owner)
        for data in read(source, found):
            view = memoryview(data)
            while view:
                size = os.write(fd, view)
                view, written = view[size:], written + size
        os.utime(fd, ns=(about.st_atime_ns, about.st_mtime_ns))
    except OSError:
        remove(target, found.path)
        raise
    finally:
        os.close(fd)
    return written


def _open_folder(folder: int, parts: list[str], owner: int) -> int:
    """The folder at the end of that path, which is made where it is missing but for its first part."""
    parent = linux.open_beneath(folder, parts[0], os.O_RDONLY | os.O_DIRECTORY)
    for name in parts[1:]:
        try:
            parent, above = _enter(parent, name, owner), parent
        except OSError:
            os.close(parent)
            raise
        os.close(above)
    return parent


def _enter(parent: int, name: str, owner: int) -> int:
    is_new = False
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
        is_new = True
    fd = linux.open_beneath(parent, name, os.O_RDONLY | os.O_DIRECTORY)
    if is_new:  # by its descriptor: the name may lead elsewhere by now
        try:
            os.fchmod(fd, 0o755)
            os.fchown(fd, owner, owner)
        except OSError:
            os.close(fd)
            raise
    return fd


def disk_use(folder: int, most: int) -> tuple[int, int]:
    """How many entries a session's folder has, and the bytes they take on the disk. Counting ends at `most` entries,
    and with that number where folders are nested so deeply that they cannot be followed."""
    count = size = 0
    waiting = [(b".", 0)]
    while waiting:
        path, depth = waiting.pop()
        try:
            fd = linux.open_beneath(folder, path, _READ | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        except OSError:
            return most, size
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    count += 1
                    if count >= most or depth > _MOST_NESTED:
                        return most, size
                    with contextlib.suppress(FileNotFoundError):
                        about = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
                        size += about.st_blocks * 512
                        if stat.S_ISDIR(about.st_mode):
                            waiting.append((path + b"/" + os.fsencode(entry.name), depth + 1))
        finally:
            os.close(fd)
    return count, size


def remove_folder(path: str | Path) -> None:
    """A folder and all that hostile code has put there; nothing in it is a way to anywhere else. What cannot be removed
    stays. Folders may be nested deeper than a path is long, or a function calls itself: what is in one moves up."""
    with contextlib.suppress(OSError):
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            while names := os.listdir(folder):  # noqa: PTH208
                for name in names:
                    _remove_or_raise_content(folder, name)
        finally:
            os.close(folder)
        os.rmdir(path)  # noqa: PTH106


def _remove_or_raise_content(folder: int, name: str) -> None:
    """Remove an entry that is no folder, or an empty one; else its content becomes the folder's own."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=folder)
        return
    inner = _open_for_removal(folder, name)
    try:
        for each in os.listdir(inner):  # noqa: PTH208
            if stat.S_ISDIR(os.stat(each, dir_fd=inner, follow_symlinks=False).st_mode):
                os.close(_open_for_removal(inner, each))  # a folder that may not be written does not move
            os.rename(each, f".{secrets.token_hex(8)}", src_dir_fd=inner, dst_dir_fd=folder)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)


def _open_for_removal(folder: int, name: str) -> int:
    """Its owner may have taken the right to look inside."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        os.chmod(f"/proc/self/fd/{fd}", 0o700)  # noqa: PTH101
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECTORY)
    finally:
        os.close(fd)


def used_bytes(folder: int) -> int:
    about = os.statvfs(folder)
    return (about.f_blocks - about.f_bfree) * about.f_frsize


def free_bytes(folder: int) -> int:
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize
