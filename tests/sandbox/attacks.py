"""What hostile code tries: the numbered attacks of the sandbox's threat list, each with the layer that stops it.

A row is one expression, or the cells of a session of its own. `expected` is what the attacker gets: the name of the
error that the wall answers with; of cells, `error or ok | files | logs`. It is a regular expression, in which a word in
angle brackets stands for what the tier at hand answers (`WORDS`).

`outside` is what the same expression gets from a plain Python without a sandbox: an attack that does not work there
proves nothing here. Where it must not be tried for real, `harm` says why; `outside` is then the error that comes
after permission was given (a wrong argument), or empty where there is no such thing.

Run as a program, it plays the whole table: python -m tests.sandbox.attacks FOLDER TIER
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from locum.sandbox.session import CellResult
from tests.sandbox.conftest import SMALL, Box, start

NUMBERS = range(1, 80)

LAYERS = {
    "root": "own mount namespace, whose root holds program files and nothing else, read-only",
    "pids": "own pid namespace, and a /proc that shows no more",
    "network": "own empty network namespace",
    "user": "a user id of its own, in a user namespace of its own",
    "capabilities": "no capabilities, none to regain",
    "seccomp": "the list of allowed system calls and arguments",
    "rlimits": "resource limits",
    "tmpfs": "size and file quota of the session's memory file system",
    "watchdog": "the host looks at the memory of all processes together",
    "timer": "the host's clock: interrupt, then kill",
    "stop": "the host stops every process between two cells",
    "exec": "the zygote is started by exec, with a clean environment and no descriptor of others",
    "fresh": "what all forks of one process would share is made anew in each",
    "protocol": "the host takes one short message per cell, and no other",
    "output": "text is made safe and cut in the middle",
    "collect": "files are opened beneath one folder through no link, regular ones only, and counted while read",
    "process 1": "a session dies with its first process, and nothing else does",
    "server": "the API server: owners are checked, downloads are never taken for a page",
    "accepted": "nothing; it is known, and said in docs/security/sandbox.md",
}

TIERS = ("namespaces",)

WORDS = {
    # absent: a file that cannot be had; nobody: a process that is none of one's business; read-only: a write to what
    # all share.
    "namespaces": {"absent": "ENOENT", "nobody": "ESRCH", "read-only": "EROFS|EACCES"},
    "landlock": {"absent": "ENOENT|EACCES", "nobody": "ESRCH|EPERM", "read-only": "EROFS|EACCES"},
    "weak": {"absent": "ENOENT|EACCES", "nobody": "ESRCH|EPERM", "read-only": "EROFS|EACCES"},
}

ENDED = "SessionDied \\|.*"


@dataclass(frozen=True)
class Attack:
    number: int
    name: str
    code: str | tuple[str, ...]
    expected: str
    layer: str
    also: tuple[str, ...] = ()  # what holds as well, should that layer fail
    outside: str = "GOT.*"
    harm: str = ""
    needs_root: bool = False  # to work without a sandbox
    as_user: str = ""  # what a sandbox answers that an ordinary user started, where that differs
    tiers: tuple[str, ...] = ("namespaces", "landlock", "weak")
    pause: float = 0.0  # between two cells
    x86_only: bool = False

    @property
    def cells(self) -> tuple[str, ...]:
        return self.code if isinstance(self.code, tuple) else ()

    def is_stopped(self, tier: str, outcome: str, *, user: bool = False) -> bool:
        pattern = self.as_user if user and self.as_user else self.expected
        for word, meaning in WORDS[tier].items():
            pattern = pattern.replace(f"<{word}>", f"(?:{meaning})")
        return re.fullmatch(pattern, outcome, re.DOTALL) is not None


# fmt: off
_FILES = (
    Attack(1, "read the password file", "open('/etc/shadow').read()", "<absent>", "root", needs_root=True),
    Attack(1, "leave by dots", "open('/mnt/data/../../../../../etc/shadow').read()", "<absent>", "root", outside=""),
    Attack(1, "climb by descriptors", "climbed('etc', 'shadow')", "<absent>", "root", needs_root=True),
    Attack(1, "the root of another process", "open('/proc/1/root/etc/shadow').read()", "ENOENT|EACCES", "root",
           ("pids",), needs_root=True),
    Attack(2, "list the server's data", "os.listdir(SERVER)", "<absent>", "root"),
    Attack(2, "read a file of the host", "open(HOST_FILE).read()", "<absent>", "root"),
    Attack(2, "list the homes", "os.listdir('/home')", "<absent>", "root"),
    Attack(2, "read what only the owner of the installation may", "open(OWNERS_FILE).read()", "EACCES", "user",
           as_user="GOT.*", needs_root=True),
    Attack(3, "a secret in the environment", "some(os.environ.get(SECRET_NAME))", "Nothing", "exec", ("fresh",)),
    Attack(4, "the environment of process 1", "some(SECRET_NAME in open('/proc/1/environ').read())",
           "Nothing|EACCES", "exec", ("pids",), outside="", harm="process 1 of the machine was never given the secret"),
    Attack(5, "list other processes", "some(others(os.listdir('/proc')))", "Nothing", "pids"),
    Attack(5, "the arguments of the server", "open(f'/proc/{SERVER_PID}/cmdline').read()", "<absent>", "pids"),
    Attack(6, "the files of another session",
           "some([name for place in ('/mnt/data/*', '/tmp/*', '/run/session/*/*', '/proc/[0-9]*/root/mnt/data/*')"
           " for name in __import__('glob').glob(place) if NEIGHBOUR in name])", "Nothing", "root", ("user",),
           needs_root=True),
    Attack(7, "kernel memory", "opened('/proc/kcore')", "<absent>|EACCES", "pids", ("user",), needs_root=True),
    Attack(7, "kernel symbols", "opened('/proc/kallsyms')", "<absent>|EACCES", "pids"),
    Attack(8, "sysrq", "opened('/proc/sysrq-trigger', os.O_WRONLY)", "<absent>|EACCES|EROFS", "pids", ("user",),
           needs_root=True),
    Attack(8, "core pattern", "opened('/proc/sys/kernel/core_pattern', os.O_WRONLY)", "<absent>|EACCES|EROFS", "pids",
           ("user",), needs_root=True),
    Attack(8, "choose the next process number", "opened('/proc/sys/kernel/ns_last_pid', os.O_WRONLY)",
           "<absent>|EACCES|EROFS", "pids", outside="GOT.*|ENOENT", needs_root=True),
    Attack(9, "sysfs", "os.listdir('/sys')", "<absent>", "root"),
    Attack(9, "control groups", "os.listdir('/sys/fs/cgroup')", "<absent>", "root"),
    Attack(10, "write to /usr", "made('/usr/locum-attack')", "<read-only>", "root", ("user",), needs_root=True),
    Attack(10, "write to the root", "made('/locum-attack')", "<read-only>", "root", ("user",), needs_root=True),
    Attack(10, "write to the packages", "made(os.path.dirname(os.__file__) + '/locum-attack.py')", "<read-only>",
           "root", ("user",), needs_root=True),
    Attack(10, "write to the font cache", "made('/var/cache/matplotlib/x')", "<read-only>|<absent>", "root", ("user",),
           outside="", harm="there is no such folder without the sandbox"),
    Attack(10, "change the mode of a device", "os.chmod('/dev/null', 0o666)", "EROFS|EPERM|EACCES", "root", ("user",),
           outside="GOT.*|EPERM"),
    Attack(11, "the root of the machine below the new one", "some(mounts_of_the_root())", "Nothing", "root"),
    Attack(12, "devices", "some(openable('/dev/mem', '/dev/kvm', '/dev/vda', '/dev/sda', '/dev/nvme0n1', '/dev/fuse',"
           " '/dev/net/tun', '/dev/tty', '/dev/ptmx', '/dev/kmsg', '/dev/loop-control', '/dev/pts/ptmx'))", "Nothing",
           "root", ("user",), needs_root=True),
    Attack(13, "sockets it was born with",
           "some([fd for fd in range(4, 4096) if os.path.exists(f'/proc/self/fd/{fd}')"
           " and 'socket' in os.readlink(f'/proc/self/fd/{fd}')])", "Nothing", "exec", ("fresh",)),
    Attack(13, "descriptors beyond its own four",
           "some([fd for fd in range(4, 4096) if os.path.exists(f'/proc/self/fd/{fd}')"
           " and '/proc' in os.readlink(f'/proc/self/fd/{fd}') and 'fd' not in os.readlink(f'/proc/self/fd/{fd}')])",
           "Nothing", "fresh", outside="", harm="what is looked for is the zygote's"),
    Attack(14, "a secret in the zygote's memory", "in_memory(rb'locum-canary-[0-9a-f]{32}')", "Nothing", "exec"),
    Attack(14, "where the server is, in the zygote's arguments",
           "some(SERVER in open('/proc/1/cmdline').read())", "Nothing|EACCES", "exec", ("pids",), outside="",
           harm="process 1 of the machine is another"),
)

_NETWORK = (
    Attack(15, "tcp", "connected(socket.AF_INET, ('127.0.0.1', PORT))", "EPERM", "seccomp", ("network",)),
    Attack(16, "udp", "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))", "EPERM",
           "seccomp", ("network",)),
    Attack(17, "raw", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "EPERM", "seccomp", ("capabilities",),
           needs_root=True),
    Attack(17, "packet", "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "EPERM", "seccomp", ("capabilities",),
           needs_root=True),
    Attack(18, "a unix socket by its path", "connected(socket.AF_UNIX, UNIX_SOCKET)", "EPERM", "seccomp", ("root",)),
    Attack(19, "a unix socket without a path", "connected(socket.AF_UNIX, ABSTRACT)", "EPERM", "seccomp", ("network",)),
    Attack(20, "netlink", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)", "EPERM", "seccomp"),
    Attack(21, "vsock", "socket.socket(40, socket.SOCK_STREAM)", "EPERM", "seccomp", outside="GOT.*|ENODEV|EAFNOSUPPORT"),
    Attack(22, "crypto sockets", "socket.socket(38, socket.SOCK_SEQPACKET)", "EPERM", "seccomp",
           outside="GOT.*|EAFNOSUPPORT"),
    Attack(23, "connect a socket of a pair", "socket.socketpair()[0].connect(UNIX_SOCKET)", "EPERM", "seccomp",
           outside="EISCONN"),
    Attack(23, "send from a pair to a name", "sent_to(ABSTRACT_DATAGRAMS)", "EPERM", "seccomp", ("network",)),
    Attack(23, "send from a pair to a path", "sent_to(UNIX_DATAGRAMS)", "EPERM", "seccomp", ("root",)),
    Attack(23, "pairs of other families", "socket.socketpair(socket.AF_INET, socket.SOCK_STREAM)", "EPERM", "seccomp",
           outside="ENOTSUP|EOPNOTSUPP"),
    Attack(24, "ask for an address", "socket.getaddrinfo('example.com', 80)", "gaierror|EPERM", "seccomp", ("network",),
           outside="", harm="the machine that tests may have no names to ask for"),
)

_KERNEL = (
    Attack(25, "ptrace", "traced()", "EPERM", "seccomp"),
    Attack(25, "read by process_vm_readv", "read_by_process_vm(os.getpid())", "EPERM", "seccomp"),
    Attack(25, "read another's memory", "opened(f'/proc/{SERVER_PID}/mem')", "<absent>", "pids", ("user",)),
    Attack(25, "take another's descriptor", "call(438, 438, os.pidfd_open(os.getpid()), 0, 0)", "EPERM", "seccomp"),
    Attack(25, "compare kernel objects", "call(312, 272, os.getpid(), os.getpid(), 0, 0, 0)", "EPERM", "seccomp",
           outside="GOT.*|ENOSYS"),
    Attack(26, "keyring", "call(250, 219, 0, -3, 1)", "EPERM", "seccomp", outside="GOT.*|ENOSYS"),
    Attack(26, "add a key", "call(248, 217, b'user', b'locum-attack', b'x', 1, -1)", "EPERM", "seccomp",
           outside="GOT.*|ENOSYS"),
    Attack(26, "request a key", "call(249, 218, b'user', b'locum-nothing', 0, 0)", "EPERM", "seccomp",
           outside="ENOKEY|ENOSYS|126"),
    Attack(27, "io_uring", "call(425, 425, 8, buffer())", "ENOSYS", "seccomp"),
    Attack(27, "io_uring by its other calls", "call(427, 427, 0, 0, 0, 0)", "ENOSYS", "seccomp",
           outside="EOPNOTSUPP|EBADF|EINVAL|ENOTSUP"),
    Attack(27, "asynchronous i/o", "call(206, 0, 8, buffer())", "EPERM", "seccomp"),
    Attack(28, "bpf", "bpf_map()", "EPERM", "seccomp", ("capabilities",), needs_root=True),
    Attack(28, "a program for a socket", "option(26, filter_program().raw)", "EPERM", "seccomp"),
    Attack(29, "userfaultfd", "call(323, 282, 0)", "EPERM", "seccomp", needs_root=True),
    Attack(30, "perf", "perf_event()", "EPERM", "seccomp", outside="GOT.*|ENOENT|ENOSYS", needs_root=True),
    Attack(31, "a user namespace", "child(lambda: call(272, 97, 0x10000000))", "EPERM", "seccomp"),
    Attack(31, "a time namespace", "child(lambda: call(272, 97, 0x80))", "EPERM", "seccomp", ("capabilities",),
           outside="GOT.*|EINVAL", needs_root=True),
    Attack(31, "clone into a namespace", "cloned(56, 220, 0x10000011, 0, 0, 0, 0)", "EPERM", "seccomp"),
    Attack(31, "a child of one's parent", "cloned(56, 220, 0x8011, 0, 0, 0, 0)", "EPERM", "seccomp",
           ("process 1",)),
    Attack(31, "clone3", "cloned(435, 435, buffer(struct.pack('QQQQQQQQ', 0, 0, 0, 0, 17, 0, 0, 0), 88), 88)", "ENOSYS",
           "seccomp"),
    Attack(32, "setns", "child(lambda: call(308, 268, os.open('/proc/self/ns/uts', 0), 0))", "EPERM", "seccomp",
           ("capabilities",), needs_root=True),
    Attack(33, "mount", "call(165, 40, b'none', b'/tmp', b'tmpfs', 0, 0)", "EPERM", "seccomp", ("capabilities",),
           needs_root=True),
    Attack(33, "umount", "child(lambda: call(166, 39, b'/proc', 2))", "EPERM", "seccomp", ("capabilities",),
           outside="GOT.*|EINVAL", needs_root=True),
    Attack(33, "make the root writable", "call(165, 40, b'none', b'/', 0, 0x1020, 0)", "EPERM", "seccomp",
           ("capabilities",), needs_root=True),
    Attack(33, "new mount calls", "call(430, 430, b'tmpfs', 0)", "EPERM", "seccomp", ("capabilities",), needs_root=True),
    Attack(33, "a detached tree", "call(428, 428, -100, b'/', 1)", "EPERM", "seccomp", ("capabilities",),
           needs_root=True),
    Attack(33, "move a mount", "call(429, 429, -100, b'/tmp', -100, b'/mnt', 0)", "EPERM", "seccomp",
           ("capabilities",), outside="EINVAL|ENOENT|GOT.*", needs_root=True),
    Attack(33, "attributes of a mount", "call(442, 442, -100, b'/', 0, buffer(b'', 32), 32)", "EPERM", "seccomp",
           ("capabilities",), needs_root=True),
    Attack(33, "chroot", "child(lambda: os.chroot('/usr'))", "EPERM", "seccomp", ("capabilities",), needs_root=True),
    Attack(33, "pivot_root", "call(155, 41, b'.', b'.')", "EPERM", "seccomp", ("capabilities",),
           outside="EINVAL|EBUSY", needs_root=True),
    Attack(34, "make a file handle", "file_handle()", "EPERM", "seccomp"),
    Attack(34, "open by a file handle", "opened_by_handle()", "EPERM", "seccomp", ("capabilities",), needs_root=True),
    Attack(35, "personality", "child(lambda: call(135, 92, 0x0400000))", "EPERM", "seccomp"),
    Attack(35, "segments", "call(154, 0, 0, buffer(), 256)", "EPERM", "seccomp", outside="GOT.*|ENOSYS", x86_only=True),
    Attack(36, "kexec", "call(246, 104, 0, 17, 0, 0)", "EPERM", "seccomp", ("capabilities",),
           outside="EINVAL|EBUSY|ENOSYS", harm="it would end the machine", needs_root=True),
    Attack(36, "modules", "call(175, 105, 0, 0, b'')", "EPERM", "seccomp", ("capabilities",),
           outside="ENOEXEC|EFAULT|ENOSYS|EPERM", harm="it would run in the kernel", needs_root=True),
    Attack(36, "swapon", "call(167, 224, b'/nonexistent', 0)", "EPERM", "seccomp", ("capabilities",),
           outside="ENOENT|ENOSYS", harm="it would change the machine", needs_root=True),
    Attack(36, "reboot", "call(169, 142, 0, 0, 0, 0)", "EPERM", "seccomp", ("capabilities",), outside="EINVAL",
           harm="it would end the machine", needs_root=True),
    Attack(36, "kernel log", "call(103, 116, 10, 0, 0)", "EPERM", "seccomp", ("capabilities",), needs_root=True),
    Attack(36, "set the clock", "call(227, 112, 0, 0)", "EPERM", "seccomp", ("capabilities",), outside="EFAULT",
           harm="it would change the machine", needs_root=True),
    Attack(36, "the name of the machine", "child(lambda: call(170, 161, b'x', 1))", "EPERM", "seccomp",
           ("capabilities",), outside="", harm="it would change the machine"),
    Attack(37, "fanotify", "call(300, 262, 0, 0)", "EPERM", "seccomp", ("capabilities",), outside="GOT.*|ENOSYS",
           needs_root=True),
    Attack(37, "message queue", "call(240, 180, b'locum-attack', 0o102, 0o600, 0)", "EPERM", "seccomp",
           outside="GOT.*|ENOSYS"),
    Attack(37, "System V shared memory", "call(29, 194, 0, 4096, 0o600)", "EPERM", "seccomp",
           harm="what it makes stays; the machine's tests remove theirs", outside=""),
    Attack(37, "System V semaphores", "call(64, 190, 0, 0, 0o600)", "EPERM", "seccomp", outside="EINVAL|ENOSYS",
           harm="what it makes stays"),
    Attack(39, "a device node", "made_node(f'/tmp/disk-{os.getpid()}', 0o60600, os.makedev(254, 0))", "EPERM",
           "seccomp", ("capabilities",), needs_root=True),
    Attack(39, "a fifo", "made_node(f'/tmp/fifo-{os.getpid()}', 0o10600)", "EPERM", "seccomp"),
    Attack(40, "become root", "child(lambda: os.setuid(0))", "EPERM", "seccomp", ("capabilities",), needs_root=True),
    Attack(40, "become another user", "child(lambda: os.setresuid(1001, 1001, 1001))", "EPERM", "seccomp",
           ("capabilities",), needs_root=True),
    Attack(40, "change who owns a file", "os.chown(made_file(), 1001, 1001)", "EINVAL|EPERM", "capabilities", ("user",),
           needs_root=True),
    Attack(41, "capabilities", "some(capabilities())", "Nothing", "capabilities", needs_root=True),
    Attack(41, "regain a capability", "regained()", "EPERM", "seccomp", ("capabilities",), needs_root=True),
    Attack(42, "type into a terminal", "__import__('fcntl').ioctl(0, 0x5412, b'x')", "EPERM", "seccomp", ("root",),
           outside="ENOTTY|EIO|EPERM", harm="it would type into the terminal that runs the tests"),
    Attack(42, "paste into a console", "__import__('fcntl').ioctl(0, 0x541C, b'x')", "EPERM", "seccomp", ("root",),
           outside="ENOTTY|EIO|EPERM", harm="it would type into the terminal that runs the tests"),
    Attack(43, "a filter that listens", "child(lambda: call(317, 277, 1, 8, filter_program()))", "EPERM", "seccomp",
           needs_root=True),
    Attack(43, "a filter of one's own", "child(lambda: call(157, 167, 22, 2, filter_program(), 0, 0))", "EPERM",
           "seccomp", needs_root=True),
    Attack(43, "hide from the watchdog", "child(lambda: call(157, 167, 4, 0, 0, 0, 0))", "EPERM", "seccomp"),
    Attack(43, "move its own memory map", "child(lambda: call(157, 167, 35, 1, 0x10000, 0, 0))", "EPERM", "seccomp",
           outside="EINVAL|EPERM|GOT.*"),
    Attack(43, "forbid reading the time stamp counter", "child(lambda: call(157, 167, 26, 1, 0, 0, 0))", "EPERM",
           "seccomp", x86_only=True),
    Attack(44, "signal everybody", "os.kill(-1, 0)", "<nobody>", "pids", ("user",), needs_root=True),
    Attack(44, "signal the server", "os.kill(SERVER_PID, 0)", "<nobody>", "pids", ("user",)),
    Attack(44, "hold the server by a descriptor", "os.pidfd_open(SERVER_PID)", "<nobody>", "pids"),
    Attack(45, "limits of another", "call(302, 261, SERVER_PID, 7, 0, buffer())", "EPERM", "seccomp", ("pids",)),
    Attack(45, "priority of another", "call(141, 140, 0, SERVER_PID, 0)", "EPERM", "seccomp", ("pids",)),
    Attack(45, "priority of all of one's user", "child(lambda: call(141, 140, 2, 0, 0))", "EPERM", "seccomp",
           ("pids", "user")),
    Attack(45, "processors of another", "call(203, 122, SERVER_PID, 8, buffer(b'\\xff' * 8))", "EPERM", "seccomp",
           ("pids",)),
    Attack(45, "schedule in real time", "child(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))",
           "EPERM", "seccomp", ("rlimits",), needs_root=True),
    Attack(45, "look at another", "os.stat(f'/proc/{SERVER_PID}/status')", "<absent>", "pids"),
    Attack(45, "watch files", "call(294, 26, 0)", "EPERM", "seccomp"),
    Attack(45, "raise a priority", "child(lambda: os.setpriority(0, 0, -5))", "EACCES|EPERM", "rlimits",
           ("capabilities",), needs_root=True),
)

_OWN_STATE = (
    Attack(49, "memory without a file (memfd)", "os.memfd_create('x')", "EPERM", "seccomp"),
    Attack(49, "secret memory", "call(447, 447, 0)", "EPERM", "seccomp", outside="GOT.*|ENOSYS"),
    Attack(49, "shared memory that nobody sees", "mapped(3, 0x21)", "EPERM", "seccomp"),
    Attack(49, "shared memory by /dev/zero", "mapped(3, 1, os.open('/dev/zero', os.O_RDWR))", "ENODEV|EACCES", "root"),
    Attack(49, "huge pages set aside for others", "mapped(3, 0x40022)", "EPERM", "seccomp", outside="GOT.*|ENOMEM"),
    Attack(49, "locked memory", "call(149, 228, buffer(), 4096)", "EPERM|ENOMEM|EAGAIN", "rlimits", needs_root=True),
    Attack(49, "locked memory for good", "child(lambda: call(151, 230, 3))", "EPERM", "seccomp", needs_root=True),
    Attack(49, "not to be the first to go when memory runs out",
           "os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'0')", "EROFS|EACCES|<absent>", "pids"),
    Attack(50, "more disk by attributes", "os.setxattr(made_file(), 'user.x', bytes(1000))", "EPERM", "seccomp",
           outside="GOT.*|ENOTSUP|EOPNOTSUPP"),
    Attack(56, "be continued by a timer", "timed(18)", "ENOSYS", "seccomp"),
    Attack(56, "be continued by a descriptor", "controlled(10, 18)", "EPERM", "seccomp"),
    Attack(56, "be continued by a changed folder",
           "__import__('fcntl').fcntl(os.open('/tmp', os.O_RDONLY), 1026, 4)", "EPERM", "seccomp"),
    Attack(56, "keep the host from opening a file", "controlled(1024, 1)", "EPERM", "seccomp"),
    Attack(57, "core dumps", "__import__('resource').setrlimit(4, (1, 1))", "ValueError|EPERM", "rlimits",
           needs_root=True),
    Attack(46, "raise the limit of processes", "__import__('resource').setrlimit(6, (100000, 100000))",
           "ValueError|EPERM", "rlimits", needs_root=True),
    Attack(59, "larger pipes", "__import__('fcntl').fcntl(os.pipe()[0], 1031, 1 << 20)", "EPERM", "seccomp"),
    Attack(59, "larger buffers of sockets", "option(7, 1 << 20)", "EPERM", "seccomp"),
    Attack(59, "out-of-band data", "socket.socketpair()[0].send(b'x', socket.MSG_OOB)", "EPERM", "seccomp",
           outside="GOT.*|EOPNOTSUPP"),
    Attack(38, "an unknown call", "call(4000, 4000)", "ENOSYS", "seccomp", outside="ENOSYS"),
    Attack(67, "a hard link to a file of the host", "linked('/usr/bin/env', TMP + '/linked')", "EXDEV|EPERM", "root",
           ("user",), outside="GOT.*|EXDEV", needs_root=True),
    Attack(79, "facts about the machine", "(os.uname().release, os.cpu_count())", "GOT.*", "accepted"),
    Attack(79, "a lock on a program file that all share",
           "__import__('fcntl').flock(os.open(os.__file__, os.O_RDONLY), 5)", "GOT.*", "accepted"),
)
# fmt: on

_BEAT = """
import os, signal, time
def beat(seconds=4):
    out = os.open("/mnt/data/.beats", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.write(out, f"{time.monotonic()}\\n".encode())
        time.sleep(0.005)
    os._exit(0)
"""
_PAUSE = 0.8
# Did anything run while no cell did? A pause as long as that between the cells says no.
_WERE_THERE_BEATS = f"""
beats = [float(line) for line in open("/mnt/data/.beats")] + [time.monotonic()]
longest = max(later - earlier for earlier, later in zip(beats, beats[1:]))
print("stood still" if longest > {_PAUSE * 0.7} else f"ran on: longest pause {{longest:.2f}} s")
"""


def _beats(setting: str) -> tuple[str, str]:
    return f"{_BEAT}{setting}\ntime.sleep(0.3)", _WERE_THERE_BEATS


# fmt: off
_CELLS = (
    Attack(38, "a foreign ABI (x32)", ("import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)",),
           "SessionDied.*SIGSYS.*", "seccomp", x86_only=True),
    Attack(38, "a foreign ABI (i386)", (
        "import ctypes, mmap\ncode = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)\n"
        "code.write(bytes.fromhex('b814000000cd80c3'))\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()",),
        "SessionDied.*SIGSYS.*", "seccomp", x86_only=True),
    Attack(40, "a set-user-id program", ("!su -c id 2>&1; id -u",), "(?!.*uid=0).*1000\n", "capabilities", ("user",)),
    Attack(46, "processes without end", (
        "import os, time\nn = 0\ntry:\n    for n in range(100):\n        if os.fork() == 0: time.sleep(20); os._exit(0)\n"
        "except OSError as error: print(n, error.errno)",), f"ok \\|  \\| {SMALL.processes - 1} 11\n", "rlimits"),
    Attack(46, "processes without end, by the shell", ("!for n in $(seq 60); do sleep 3 & done 2>&1; wait",),
           ".*(Cannot fork|Resource temporarily unavailable).*", "rlimits"),
    Attack(47, "threads without end", (
        "import threading, time\nn = 0\ntry:\n    for n in range(200): threading.Thread(target=time.sleep, args=(2,),"
        " daemon=True).start()\nexcept RuntimeError as error: print('refused', n < 40)",), "ok \\|  \\| refused True\n",
        "rlimits"),
    Attack(48, "memory without end", ("blocks = [bytearray(8 << 20) for _ in range(100)]",),
           "(MemoryError|SessionDied).*", "rlimits", ("watchdog",)),
    Attack(48, "memory of many processes", (
        "import os, time\nfor _ in range(5):\n    if os.fork() == 0:\n        b = bytearray(90 << 20); time.sleep(2);"
        " os._exit(0)\ntime.sleep(2); print('to its end')",), "SessionDied.*more than 320 MiB of memory.*", "watchdog"),
    Attack(49, "memory of a process whose first thread has ended", (
        "import ctypes, os, threading, time\nfor _ in range(5):\n    if os.fork() == 0:\n        def hold():\n"
        "            time.sleep(0.3); b = bytearray(90 << 20); time.sleep(2); os._exit(0)\n"
        "        threading.Thread(target=hold).start()\n"
        "        ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)\n"
        "time.sleep(2.5); print('to its end')",), "SessionDied.*more than 320 MiB of memory.*", "watchdog"),
    Attack(50, "disk without end", (
        "import os\nfor n in range(4):\n    with open(f'.big{n}', 'wb') as file: file.write(bytes(20 << 20))\n"
        "print('to its end')",), "OSError.*No space left.*", "tmpfs"),
    Attack(51, "files without end", ("for n in range(3000): open(f'.{n}', 'w').close()\nprint('to its end')",),
           "OSError.*No space left.*", "tmpfs"),
    Attack(60, "shared memory as disk without end", (
        "for n in range(4):\n    with open(f'/dev/shm/big{n}', 'wb') as file: file.write(bytes(20 << 20))\n"
        "print('to its end')",), "OSError.*No space left.*", "tmpfs"),
    Attack(52, "descriptors without end", ("files = [open('/dev/null') for _ in range(1000)]",),
           "OSError.*Too many open files.*", "rlimits"),
    Attack(53, "output without end", ("for _ in range(2000): print('x' * 1000)",),
           "ok \\|  \\| x.{0,9000}bytes of output left out.{0,9000}", "output"),
    Attack(54, "sleep", ("import time; time.sleep(9); print('to its end')",), "Timeout.*", "timer"),
    Attack(54, "a loop in C", ("sum(range(10 ** 9)); print('to its end')",), "Timeout.*", "timer"),
    Attack(54, "a regular expression without end", (
        "import re; re.match('(a*)*b', 'a' * 30); print('to its end')",), "Timeout.*", "timer"),
    Attack(55, "ignore being interrupted", (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(9); print('to its end')",),
        "Timeout.*", "timer"),
    Attack(55, "swallow being interrupted", (
        "import time\nend = time.monotonic() + 9\nwhile time.monotonic() < end:\n    try: time.sleep(9)\n"
        "    except KeyboardInterrupt: pass\nprint('to its end')",), "Timeout.*", "timer"),
    Attack(56, "a process left behind", _beats("if os.fork() == 0: os.setsid(); beat()"), "ok.*stood still\n", "stop",
           pause=_PAUSE),
    Attack(56, "processes that continue each other", _beats(
        "for _ in range(20):\n    if os.fork() == 0:\n        time.sleep(0.1); end = time.monotonic() + 4\n"
        "        while time.monotonic() < end:\n            for pid in range(1, 40):\n                try: os.kill(pid, 18)\n"
        "                except OSError: pass\n        os._exit(0)\nif os.fork() == 0: beat()"),
        "(ok.*stood still\n|SessionDied.*)", "stop", pause=_PAUSE),
    Attack(56, "a thread that continues its own process", _beats(
        "import threading\ndef go_on():\n    end = time.monotonic() + 4\n    while time.monotonic() < end:\n"
        "        os.kill(os.getpid(), 18)\nfor _ in range(3): threading.Thread(target=go_on, daemon=True).start()\n"
        "def tick():\n    out = os.open('/mnt/data/.beats', os.O_CREAT | os.O_WRONLY | os.O_APPEND)\n"
        "    end = time.monotonic() + 4\n    while time.monotonic() < end:\n"
        "        os.write(out, f'{time.monotonic()}\\n'.encode()); time.sleep(0.005)\n"
        "threading.Thread(target=tick, daemon=True).start()"),
        "(ok.*stood still\n|SessionDied.*)", "stop", pause=_PAUSE),
    Attack(56, "a chain of processes, each gone before it is found", _beats(
        "open('/tmp/chain', 'w').write('f() { echo >> /mnt/data/.links; f & exit; }\\nf\\n')\n"
        "import subprocess; subprocess.Popen(['sh', '/tmp/chain'], start_new_session=True)\n"
        "if os.fork() == 0: beat()"), "(ok.*stood still\n|SessionDied.*)", "stop", pause=_PAUSE),
    Attack(56, "a process that may not be looked into", (
        f"{_BEAT}import shutil, subprocess\nshutil.copy('/bin/sh', '/tmp/sh'); os.chmod('/tmp/sh', 0o111)\n"
        "subprocess.Popen(['/tmp/sh', '-c', 'while :; do cut -d\" \" -f1 /proc/uptime; done'])\n"
        "subprocess.Popen(['/tmp/sh', '-c', 'while :; do echo >> /mnt/data/.count; sleep 0.01; done'])\ntime.sleep(0.3)",
        "import time; before = os.path.getsize('/mnt/data/.count')",
        "now = os.path.getsize('/mnt/data/.count'); print('stood still' if now - before < 20 else f'ran on: {now - before}')",
        ), "ok.*stood still\n", "stop", pause=_PAUSE),
    Attack(58, "recursion", ("import sys; sys.setrecursionlimit(10 ** 9)\ndef f(): return [f()]\nf()",),
           "(SessionDied|RecursionError|MemoryError).*", "process 1"),
    Attack(58, "segfault", ("import ctypes; ctypes.string_at(0)",), "SessionDied.*SIGSEGV.*", "process 1"),
    Attack(58, "leave", ("import os; os._exit(7)",), "SessionDied.*exit status 7.*", "process 1"),
    Attack(58, "close everything", ("import os, time; os.closerange(0, 256); time.sleep(9)",), ENDED, "process 1",
           ("protocol",)),
    Attack(58, "a signal without a name", ("import os, time; os.kill(os.getpid(), 40); print('lives')",),
           "(ok.*lives\n|SessionDied.*signal 40.*)", "process 1"),
    Attack(61, "an answer for another cell", (
        "import os, time; os.write(3, b'{\"id\": 99, \"error\": null}'); time.sleep(0.5)",),
        "SessionDied.*broke the protocol.*", "protocol"),
    Attack(61, "an early answer, then deaf to a long cell", (
        "import os, time; os.write(3, b'{\"id\": 1, \"error\": null}'); time.sleep(60)", "#" * 1_000_000), "Timeout.*",
        "timer"),
    Attack(62, "a pickle", ("import os, time; os.write(3, b'\\x80\\x04N.'); time.sleep(9)",),
           "SessionDied.*broke the protocol.*", "protocol"),
    Attack(63, "a megabyte of garbage", (
        "import os, time\nfor _ in range(10): os.write(3, b'{' * 100_000)\ntime.sleep(9)",), ENDED, "protocol"),
    Attack(64, "descriptors in an answer", (
        "import socket, time\nsocket.send_fds(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, 3),"
        " [b'{\"id\": 1, \"error\": null}'], [0])\ntime.sleep(9)",), "SessionDied.*broke the protocol.*", "protocol"),
    Attack(65, "never answer", ("import os, signal, time\nsignal.pthread_sigmask(0, [2])\ntime.sleep(9)",), "Timeout.*",
           "timer"),
    Attack(66, "links to files of the host", (
        "import os; os.symlink('/etc/passwd', 'link'); os.symlink('/etc', 'folder'); os.symlink('/proc/self/root', 'r')",),
        "ok \\|  \\| ", "collect"),
    Attack(66, "the folder itself a link to the host", (
        "import os\nos.rename('/run/session/data', '/run/session/mine'); os.symlink('/etc', '/run/session/data')",),
        "PermissionError.*", "user", ("collect",), as_user="ok \\|  \\| "),
    Attack(69, "a sparse file", ("open('sparse', 'wb').truncate(40 << 20);",), "ok \\|  \\| .*1 files were not.*",
           "collect"),
    Attack(70, "names that are none", (
        "import os\nfor name in [b'a\\nb.txt', b'\\xff.bin', b'<script>.html', b'x' * 255, b'\\x1b[31mred', b'a\\\\..\\\\up']:\n"
        "    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))",), "ok \\| [^\n\x1b\\\\]+ \\| ", "collect"),
    Attack(71, "deep folders", ("import os\nfor _ in range(900):\n    os.mkdir('d'); os.chdir('d')\nopen('x', 'w').close()",),
           "ok \\|  \\| ", "collect"),
    Attack(72, "very many files", ("for n in range(1500): open(f'{n:04}', 'w').close()",),
           "ok \\| [^|]+ \\| .*1490 files were not collected.*", "collect"),
    Attack(73, "an image that is none", (
        "for n in range(1, 900): open(f'/run/session/images/image-{n}.png', 'w').write('<svg onload=alert(1)>');",),
        "ok \\|  \\| .*899 images were not collected.*", "collect"),
    Attack(76, "text that plays tricks in a terminal", (
        r"print('\x1b[31mred\x1b[0m \x1b]0;title\x07\x00\x08bell\x07 \u202eback')",), "ok \\|  \\| red bell back\n",
        "output"),
)
# fmt: on

TABLE = (*_FILES, *_NETWORK, *_KERNEL, *_OWN_STATE, *_CELLS)

# Where the host's side has to be looked at, or two sessions: tests of their own.
ELSEWHERE = {
    6: ("test_attacks", "test_sessions_do_not_see_each_other"),
    53: ("test_abuse", "test_a_flood_of_output_is_cut_in_the_middle_and_costs_the_writer"),
    56: ("test_abuse", "test_processes_left_behind_do_not_run_between_cells"),
    58: ("test_abuse", "test_a_session_that_dies_says_why_and_its_files_are_kept"),
    61: ("test_abuse", "test_a_forged_end_of_a_cell_gains_nothing"),
    66: ("test_collect", "test_the_data_folder_itself_swapped_for_a_link_is_not_followed"),
    68: ("test_collect", "test_a_fifo_a_link_and_a_hidden_file_are_passed_over"),
    74: ("test_collect", "test_a_file_swapped_after_it_was_found_is_not_read"),
    75: ("test_attacks", "test_what_a_session_made_is_served_as_a_download_and_no_page"),
    77: ("test_attacks", "test_random_numbers_differ_between_sessions"),
    78: ("test_attacks", "test_nobody_reaches_the_session_of_another_resource"),
}


@dataclass(frozen=True)
class Surroundings:
    """What an attack can aim at: a secret, files, sockets and processes of the host."""

    directory: Path
    names: dict[str, object]

    @property
    def prelude(self) -> str:
        own = "".join(f"{name} = {value!r}\n" for name, value in self.names.items())
        tools = Path(__file__).with_name("inside.py").read_text().split("annotations\n", 1)[1]
        return f"{own}{tools}\nTMP = os.environ.get('TMPDIR', '/tmp')\n{_MADE_FILE}"


_MADE_FILE = """
def made_file():
    path = f"{TMP}/made-{os.getpid()}"
    open(path, "w").close()
    return path
"""
SECRET_NAME = "LOCUM_SECRET_FOR_TEST"


@contextlib.contextmanager
def surroundings(directory: Path) -> Iterator[Surroundings]:
    """Make the targets. The secret is in this process's environment, which the sandbox is started from."""
    token = secrets.token_hex(4)
    os.environ[SECRET_NAME] = f"locum-canary-{secrets.token_hex(16)}"
    directory.mkdir(exist_ok=True)
    (directory / "host.txt").write_text("of the host")
    owners = Path(sys.prefix) / f"locum-attack-{token}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="locum-sockets-")))
        folder.chmod(0o755)

        def listen(family: int, kind: int, address: object) -> socket.socket:
            listening = stack.enter_context(socket.socket(family, kind))
            listening.bind(address)  # type: ignore[arg-type]
            if kind == socket.SOCK_STREAM:
                listening.listen()
            return listening

        port = listen(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)).getsockname()[1]
        places = {
            "UNIX_SOCKET": (socket.SOCK_STREAM, f"{folder}/stream"),
            "UNIX_DATAGRAMS": (socket.SOCK_DGRAM, f"{folder}/datagrams"),
            "ABSTRACT": (socket.SOCK_STREAM, f"\0locum-attack-{token}"),
            "ABSTRACT_DATAGRAMS": (socket.SOCK_DGRAM, f"\0locum-attack-{token}-datagrams"),
        }
        for kind, address in places.values():
            listen(socket.AF_UNIX, kind, address)
            if not address.startswith("\0"):
                Path(address).chmod(0o777)
        try:
            with contextlib.suppress(OSError):
                owners.touch(mode=0o600)
            names = {name: address for name, (_, address) in places.items()}
            yield Surroundings(
                directory,
                {
                    **names,
                    "PORT": port,
                    "SERVER": str(directory),
                    "SERVER_PID": os.getpid(),
                    "HOST_FILE": str(directory / "host.txt"),
                    "OWNERS_FILE": str(owners),
                    "SECRET_NAME": SECRET_NAME,
                    "NEIGHBOUR": "of-the-neighbour",
                },
            )
        finally:
            owners.unlink(missing_ok=True)
            del os.environ[SECRET_NAME]


LIMITS = msgspec.structs.replace(SMALL, cell_seconds=2.5)


class Attacker:
    """A session that makes every attack of one expression, and new ones for those of cells."""

    def __init__(self, box: Box, around: Surroundings) -> None:
        self.box = box
        self.around = around
        self._key = ""
        neighbour = box.session()
        made = box.cell(neighbour, "for place in ('/mnt/data', '/tmp'): open(f'{place}/of-the-neighbour', 'w').close()")
        assert made.ok, made.logs

    def attempt(self, attack: Attack) -> str:
        return self._in_cells(attack) if attack.cells else self._by_expression(str(attack.code))

    def _by_expression(self, code: str) -> str:
        if not self._key:
            self._key = self.box.session()
            prepared = self.box.cell(self._key, self.around.prelude)
            assert prepared.ok, prepared.logs
        result = self.box.cell(self._key, f"print(outcome(lambda: {code}))")
        if result.error == "SessionDied":
            self._key = ""
        return result.logs.removesuffix("\n") if result.ok else describe(result)

    def _in_cells(self, attack: Attack) -> str:
        key = self.box.session()
        try:
            for cell in attack.cells:
                result = self.box.cell(key, cell)
                if cell is not attack.cells[-1]:
                    time.sleep(attack.pause)  # what must not run meanwhile is given the time to
            return describe(result)
        finally:
            self.box.run(self.box.sandbox.delete(key))


def describe(result: CellResult) -> str:
    files = ", ".join(file.name for file in (*result.files, *result.images))
    return f"{result.error or 'ok'} | {files} | {result.logs}"


def outside(attacks: list[Attack], around: Surroundings) -> dict[str, str]:
    """The same expressions in a plain Python; by root in mount namespaces of their own, for they mount and unmount."""
    lines = [around.prelude, "results = {}"]
    for attack in attacks:
        lines.append(f"results[{attack.name!r}] = reported(lambda: {attack.code})")
    program = f"{_REPORTED}\n" + "\n".join(lines) + "\nprint(__import__('json').dumps(results))"
    apart = ["unshare", "--mount", "--propagation", "private"] if os.geteuid() == 0 else []
    # A descriptor it is born with, as a careless parent would leave it.
    ours, theirs = socket.socketpair()
    with ours, theirs:
        completed = subprocess.run(
            [*apart, sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
        )
    assert completed.returncode == 0, completed.stderr
    outcomes: dict[str, str] = json.loads(completed.stdout)
    return outcomes


# Each in a child of its own: some change the process that makes them.
_REPORTED = """
def reported(attack):
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(theirs, outcome(attack).encode())
        os._exit(0)
    os.close(theirs)
    text = os.read(ours, 4096).decode()
    os.close(ours)
    os.waitpid(pid, 0)
    return text
"""


def applicable(tier: str) -> list[Attack]:
    x86 = os.uname().machine == "x86_64"
    return [attack for attack in TABLE if tier in attack.tiers and (x86 or not attack.x86_only)]


def play(directory: Path, tier: str) -> dict[str, str]:
    """Every attack of the table against a sandbox of that tier: its outcome by name."""
    with surroundings(directory) as around:
        box = start(directory / "sandbox", LIMITS, mode=tier)
        try:
            attacker = Attacker(box, around)
            return {attack.name: attacker.attempt(attack) for attack in applicable(tier)}
        finally:
            box.close()


if __name__ == "__main__":
    print(json.dumps(play(Path(sys.argv[1]), sys.argv[2])))
