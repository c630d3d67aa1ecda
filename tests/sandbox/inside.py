"""What an attacker brings along: this text is run inside a session (and in a plain Python) before any attack."""

# ruff: noqa: PTH108, PTH123

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
X86 = os.uname().machine == "x86_64"


class Nothing(Exception):
    """What was looked for is not there."""


def some(found: Any) -> Any:
    if not found:
        raise Nothing
    return found


def call(x86: int, arm: int, *args: Any) -> int:
    """A system call by its number on x86_64 and on aarch64."""
    ctypes.set_errno(0)
    words = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = int(libc.syscall(ctypes.c_long(x86 if X86 else arm), *words))
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def buffer(data: bytes = b"", size: int = 256) -> Any:
    return ctypes.create_string_buffer(data, size)


def made(path: str) -> str:
    """Make a file that was not there, and take it away again."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.unlink(path)
    return path


def opened(path: str, flags: int = os.O_RDONLY) -> str:
    os.close(os.open(path, flags | os.O_NONBLOCK))
    return path


def openable(*paths: str) -> list[str]:
    found = []
    for path in paths:
        try:
            found.append(opened(path))
        except OSError:
            continue
    return found


def made_node(path: str, mode: int, device: int = 0) -> str:
    os.mknod(path, mode, device)
    os.unlink(path)
    return path


def linked(source: str, target: str) -> str:
    os.link(source, target)
    os.unlink(target)
    return target


def climbed(*path: str) -> bytes:
    """Up by descriptors, past any root that is only a name."""
    here = os.open("/", os.O_RDONLY)
    for _ in range(10):
        here = os.open("..", os.O_RDONLY, dir_fd=here)
    return os.read(os.open("/".join(path), os.O_RDONLY, dir_fd=here), 10)


def mounts_of_the_root() -> list[str]:
    """Mounts of a real file system at /: the machine's own root, if it is still there."""
    with open("/proc/self/mountinfo") as lines:
        return [line for line in lines if line.split()[4] == "/" and " - tmpfs " not in line]


def in_memory(pattern: bytes) -> str:
    """Look through all of this process's memory, in which all of the zygote's is as well."""
    with open("/proc/self/maps") as maps:
        lines = maps.read().splitlines()
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in lines:
            span, rights = line.split()[:2]
            if not rights.startswith("r") or "[v" in line or line.endswith((".so", ".ttf")):
                continue
            at, end = (int(number, 16) for number in span.split("-"))
            while at < end:
                try:
                    memory.seek(at)
                    if found := re.search(pattern, memory.read(min(end - at, 1 << 22))):
                        return found.group().decode()
                except (OSError, ValueError, OverflowError):
                    break
                at += 1 << 22
    raise Nothing


def child(action: Callable[[], object]) -> str:
    """For what must not be done to the process that reports."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(0)
        except OSError as refusal:
            os._exit(refusal.errno or 255)
        finally:
            os._exit(255)
    number = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if number:
        raise OSError(number, "refused in the child")
    return "done"


def traced() -> str:
    """Attach to a child of one's own."""
    pid = os.fork()
    if pid == 0:
        time.sleep(20)
        os._exit(0)
    try:
        call(101, 117, 16, pid, 0, 0)
        os.waitpid(pid, 0)
        return "attached"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def cloned(x86: int, arm: int, *args: Any) -> int:
    pid = call(x86, arm, *args)
    if pid == 0:
        os._exit(0)
    return pid


def mapped(protection: int, flags: int, fd: int = -1) -> int:
    ctypes.set_errno(0)
    at = libc.mmap(None, ctypes.c_size_t(1 << 21), protection, flags, fd, ctypes.c_long(0))
    if at == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "refused")
    return int(at)


def read_by_process_vm(pid: int) -> int:
    source, target = buffer(b"x", 8), buffer(b"", 8)
    ours, theirs = (buffer(struct.pack("QQ", ctypes.addressof(place), 8), 16) for place in (target, source))
    return call(310, 270, pid, ours, 1, theirs, 1, 0)


def file_handle() -> Any:
    about, mount = buffer(struct.pack("Ii", 128, 0), 136), ctypes.c_int()
    call(303, 264, -100, b"/usr", about, ctypes.byref(mount), 0)
    return about


def opened_by_handle() -> int:
    """The handle of /usr where it can be had; else any, which is enough to be refused."""
    try:
        about = file_handle()
    except OSError:
        about = buffer(struct.pack("Ii", 8, 1), 136)
    return call(304, 265, os.open("/usr", os.O_RDONLY), about, os.O_RDONLY)


def filter_program() -> Any:
    instruction = buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF_0000), 8)
    program = buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(instruction)), 16)
    program.keep = instruction
    return program


def timed(number: int) -> int:
    """A timer whose signal is chosen: SIGCONT continues a process that the host has stopped."""
    event = buffer(struct.pack("QiiQ", 0, number, 0, 0), 72)
    return call(222, 107, 1, event, buffer())


def capabilities() -> list[str]:
    with open("/proc/self/status") as status:
        lines = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    return [name for name in lines if name.startswith("Cap") and int(lines[name], 16)]


def regained() -> int:
    header, data = struct.pack("Ii", 0x2008_0522, 0), struct.pack("6I", 1 << 21, 1 << 21, 0, 0, 0, 0)
    return call(126, 91, header, data)


def option(number: int, value: int | bytes) -> str:
    ours, _theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, number, value)
    return "set"


def sent_to(name: str) -> int:
    """A socket of a pair can send to any datagram socket that has a name, without a connect."""
    ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return ours.sendto(b"x", name)


def connected(family: int, address: object) -> str:
    client = socket.socket(family, socket.SOCK_STREAM)
    client.settimeout(2)
    client.connect(address)  # type: ignore[arg-type]
    return "connected"


def controlled(command: int, argument: int) -> int:
    """fcntl on a file of one's own."""
    path = f"{os.environ.get('TMPDIR', '/tmp')}/controlled-{os.getpid()}"
    with open(path, "w") as file:
        os.unlink(path)
        return fcntl.fcntl(file, command, argument)


def bpf_map() -> int:
    return call(321, 280, 0, buffer(struct.pack("IIII", 2, 4, 4, 1), 128), 128)


def perf_event() -> int:
    return call(298, 241, buffer(struct.pack("IIQ", 1, 112, 0), 112), 0, -1, -1, 0)


def outcome(attack: Callable[[], object]) -> str:
    try:
        got = attack()
    except OSError as refusal:
        return errno.errorcode.get(refusal.errno or 0, type(refusal).__name__)
    except Exception as refusal:
        return type(refusal).__name__
    return f"GOT {got!r}"[:300]


def others(entries: Iterable[str]) -> list[str]:
    """Numbers of processes that are neither process 1 nor this one."""
    return [name for name in entries if name.isdigit() and name not in ("1", str(os.getpid()))]
