"""Which system calls model-written code may make: an allowlist, compiled to a BPF program here.

Covered: everything not on the list is refused with EPERM, and what the list's kernel did not know yet with ENOSYS (so
that a libc falls back). Sockets of every family (a socketpair is allowed), namespaces, mounts, ptrace, keys, bpf,
perf, io_uring, userfaultfd, System V and POSIX IPC, memfd (resource limits do not see it), mknod, set*id and new
seccomp filters are refused by not being listed. Arguments are checked where a listed call can do more than its usual
work: clone, prctl, ioctl, fcntl, mmap, socket pairs, prlimit64 and the scheduler calls. A call by a foreign ABI (i386,
x32) kills. Where all sessions are one user, modes, owners and times of files stay as they are (the calls claim to
succeed, since so much code makes them by the way), and signals go nowhere else, see `Shared`.

Two kinds of rules guard what the host does to a session. Memory that nobody sees: shared anonymous memory (mmap) stays
when all but one page of it is unmapped, and neither resource limits nor the watchdog find it; buffers of sockets
likewise. Being stopped between two cells: the kernel continues a process by itself when a timer (timer_create), a
lease or a notification (fcntl) was told to send SIGCONT.

The fork server has the same list, and the calls with which it makes sessions, from before it loads a package.

Not covered: bugs of the kernel in the calls that are listed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple

from locum.sandbox.isolation import linux

# name:number of every call allowed, per machine.
_ALLOWED = {
    "x86_64": """
    read:0 write:1 open:2 close:3 stat:4 fstat:5 lstat:6 poll:7 lseek:8 mmap:9 mprotect:10 munmap:11 brk:12
    rt_sigaction:13 rt_sigprocmask:14 rt_sigreturn:15 ioctl:16 pread64:17 pwrite64:18 readv:19 writev:20 access:21
    pipe:22 select:23 sched_yield:24 mremap:25 msync:26 madvise:28 dup:32 dup2:33 pause:34 nanosleep:35 getitimer:36
    alarm:37 setitimer:38 getpid:39 sendfile:40 sendto:44 recvfrom:45 sendmsg:46 recvmsg:47 shutdown:48 getsockname:51
    getpeername:52 socketpair:53 setsockopt:54 getsockopt:55 clone:56 fork:57 vfork:58 execve:59 exit:60 wait4:61
    kill:62 uname:63 fcntl:72 flock:73 fsync:74 fdatasync:75 truncate:76 ftruncate:77 getdents:78 getcwd:79 chdir:80
    fchdir:81 rename:82 mkdir:83 rmdir:84 creat:85 link:86 unlink:87 symlink:88 readlink:89 chmod:90 fchmod:91
    chown:92 fchown:93 lchown:94 umask:95 gettimeofday:96 getrlimit:97 getrusage:98 sysinfo:99 times:100 getuid:102
    getgid:104 geteuid:107 getegid:108 setpgid:109 getppid:110 getpgrp:111 setsid:112 getgroups:115 getresuid:118
    getresgid:120 getpgid:121 getsid:124 capget:125 rt_sigpending:127 rt_sigtimedwait:128 rt_sigqueueinfo:129
    rt_sigsuspend:130 sigaltstack:131 utime:132 statfs:137 fstatfs:138 getpriority:140 setpriority:141
    sched_getparam:143 sched_getscheduler:145 sched_get_priority_max:146 sched_get_priority_min:147
    sched_rr_get_interval:148 mlock:149 munlock:150 prctl:157 arch_prctl:158 setrlimit:160 gettid:186 getxattr:191
    lgetxattr:192 fgetxattr:193 listxattr:194 llistxattr:195 flistxattr:196 tkill:200 time:201 futex:202
    sched_setaffinity:203 sched_getaffinity:204 epoll_create:213 getdents64:217 set_tid_address:218
    restart_syscall:219 fadvise64:221 clock_gettime:228 clock_getres:229 clock_nanosleep:230 exit_group:231
    epoll_wait:232 epoll_ctl:233 tgkill:234 utimes:235 get_mempolicy:239 waitid:247 openat:257
    mkdirat:258 fchownat:260 futimesat:261
    newfstatat:262 unlinkat:263 renameat:264 linkat:265 symlinkat:266 readlinkat:267 fchmodat:268 faccessat:269
    pselect6:270 ppoll:271 set_robust_list:273 get_robust_list:274 sync_file_range:277 utimensat:280 epoll_pwait:281
    signalfd:282 timerfd_create:283 eventfd:284 fallocate:285 timerfd_settime:286 timerfd_gettime:287 signalfd4:289
    eventfd2:290 epoll_create1:291 dup3:292 pipe2:293 preadv:295 pwritev:296 rt_tgsigqueueinfo:297 recvmmsg:299
    prlimit64:302 sendmmsg:307 getcpu:309 renameat2:316 getrandom:318 execveat:322 membarrier:324 copy_file_range:326
    preadv2:327 pwritev2:328 pkey_mprotect:329 pkey_alloc:330 pkey_free:331 statx:332 rseq:334 pidfd_send_signal:424
    pidfd_open:434 close_range:436 openat2:437 faccessat2:439 epoll_pwait2:441 futex_waitv:449 fchmodat2:452
    """,
    "aarch64": """
    getxattr:8 lgetxattr:9 fgetxattr:10 listxattr:11 llistxattr:12 flistxattr:13 getcwd:17 eventfd2:19
    epoll_create1:20 epoll_ctl:21 epoll_pwait:22 dup:23 dup3:24 fcntl:25 ioctl:29 flock:32 mkdirat:34 unlinkat:35
    symlinkat:36 linkat:37 renameat:38 statfs:43 fstatfs:44 truncate:45 ftruncate:46 fallocate:47 faccessat:48
    chdir:49 fchdir:50 fchmod:52 fchmodat:53 fchownat:54 fchown:55 openat:56 close:57 pipe2:59 getdents64:61 lseek:62
    read:63 write:64 readv:65 writev:66 pread64:67 pwrite64:68 preadv:69 pwritev:70 sendfile:71 pselect6:72 ppoll:73
    signalfd4:74 readlinkat:78 newfstatat:79 fstat:80 fsync:82 fdatasync:83 sync_file_range:84 timerfd_create:85
    timerfd_settime:86 timerfd_gettime:87 utimensat:88 capget:90 exit:93 exit_group:94 waitid:95 set_tid_address:96
    futex:98 set_robust_list:99 get_robust_list:100 nanosleep:101 getitimer:102 setitimer:103
    clock_gettime:113 clock_getres:114
    clock_nanosleep:115 sched_getscheduler:120 sched_getparam:121 sched_setaffinity:122 sched_getaffinity:123
    sched_yield:124 sched_get_priority_max:125 sched_get_priority_min:126 sched_rr_get_interval:127
    restart_syscall:128 kill:129 tkill:130 tgkill:131 sigaltstack:132 rt_sigsuspend:133 rt_sigaction:134
    rt_sigprocmask:135 rt_sigpending:136 rt_sigtimedwait:137 rt_sigqueueinfo:138 rt_sigreturn:139 setpriority:140
    getpriority:141 getresuid:148 getresgid:150 times:153 setpgid:154 getpgid:155 getsid:156 setsid:157 getgroups:158
    uname:160 getrlimit:163 setrlimit:164 getrusage:165 umask:166 prctl:167 getcpu:168 gettimeofday:169 getpid:172
    getppid:173 getuid:174 geteuid:175 getgid:176 getegid:177 gettid:178 sysinfo:179 socketpair:199 getsockname:204
    getpeername:205 sendto:206 recvfrom:207 setsockopt:208 getsockopt:209 shutdown:210 sendmsg:211 recvmsg:212 brk:214
    munmap:215 mremap:216 clone:220 execve:221 mmap:222 fadvise64:223 mprotect:226 msync:227 mlock:228 munlock:229
    madvise:233 get_mempolicy:236 rt_tgsigqueueinfo:240 recvmmsg:243 wait4:260 prlimit64:261 sendmmsg:269
    renameat2:276 getrandom:278 execveat:281 membarrier:283 copy_file_range:285 preadv2:286 pwritev2:287
    pkey_mprotect:288 pkey_alloc:289 pkey_free:290 statx:291 rseq:293 pidfd_send_signal:424 pidfd_open:434
    close_range:436 openat2:437 faccessat2:439 epoll_pwait2:441 futex_waitv:449 fchmodat2:452
    """,
}
# What the fork server calls besides, to make sessions: namespaces, mounts, users, capabilities, Landlock.
_MAKING_SESSIONS = {
    "x86_64": """
    setgroups:116 setresuid:117 setresgid:119 capset:126 mount:165 umount2:166 sethostname:170 unshare:272 setns:308
    mount_setattr:442 landlock_create_ruleset:444 landlock_add_rule:445 landlock_restrict_self:446
    """,
    "aarch64": """
    umount2:39 mount:40 capset:91 unshare:97 setresuid:147 setresgid:149 setgroups:159 sethostname:161 setns:268
    mount_setattr:442 landlock_create_ruleset:444 landlock_add_rule:445 landlock_restrict_self:446
    """,
}
_AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_NEWEST_KNOWN = 462
_X32_BIT = 0x4000_0000

# Refused as if the kernel were older: programs then take the older way (clone3 hides its flags from this filter;
# `timeout` falls back from timer_create to an alarm).
_ABSENT = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "clone3": 435}
_TIMER_CREATE = {"x86_64": 222, "aarch64": 107}

_NEW_NAMESPACES = 0x7E02_0000
_CLONE_PARENT = 0x8000  # a child of one's parent is no descendant, and would not be found
_MAP_SHARED, _MAP_ANONYMOUS, _MAP_HUGETLB = 0x01, 0x20, 0x4_0000
_AF_UNIX, _SOCK_STREAM, _SOCK_SEQPACKET = 1, 1, 5  # a pair of datagram sockets can send to any socket that has a name
_SOCK_FLAGS = 0x8_0800
_MSG_OOB = 1  # out-of-band data on local sockets: nobody uses it, and it has let programs out of sandboxes
_FLAGS_OF_MESSAGES = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3, "recvfrom": 3, "recvmsg": 2, "recvmmsg": 3}
# Larger buffers (7, 32) and programs for the kernel (26, 50, 51, 52).
_SOCKET_OPTIONS_REFUSED = (7, 26, 32, 50, 51, 52)
# Typing into a terminal; who gets the signals of a descriptor.
_IOCTL_REFUSED = (0x5412, 0x541C, 0x8901, 0x8902)
# Who gets the signals of a descriptor, and which (SETOWN, SETSIG, SETOWN_EX); making another process's open wait, or
# watching its files (SETLEASE, NOTIFY); larger pipes.
_FCNTL_REFUSED = (8, 10, 15, 1024, 1026, 1031)
# PDEATHSIG, dumpable (read), name, capability bound (read), seccomp mode (read), timer slack, no-new-privs, subreaper,
# THP, names of anonymous memory. PR_SET_DUMPABLE is not among them: the memory watchdog must be able to look.
_PRCTL_ALLOWED = (1, 2, 3, 15, 16, 21, 23, 29, 30, 36, 37, 38, 39, 41, 42, 0x5356_4D41)
_OWN_ONLY = ("prlimit64", "sched_setaffinity")

_LOAD, _AND, _JEQ, _JGE, _JGT, _JSET, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x25, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF_0000, 0x8000_0000
_NR, _ARCH, _ARGS = 0, 4, 16


def _refuse(number: int) -> int:
    return 0x0005_0000 | number


_EPERM, _ENOSYS = _refuse(errno.EPERM), _refuse(errno.ENOSYS)

Instruction = tuple[int, int, int, int]


def allowed_calls(machine: str, *, makes_sessions: bool = False) -> dict[str, int]:
    listed = _ALLOWED[machine] + (_MAKING_SESSIONS[machine] if makes_sessions else "")
    pairs = (pair.split(":") for pair in listed.split())
    return {name: int(number) for name, number in pairs}


def _return(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)


def _argument(index: int) -> Instruction:
    """Load the low half of an argument: every one looked at here is a C int in the kernel."""
    return (_LOAD, 0, 0, _ARGS + 8 * index)


def _rule(number: int, body: list[Instruction]) -> list[Instruction]:
    """`body` decides when the call is `number` and is skipped otherwise."""
    return [(_JEQ, 0, len(body), number), *body]


def _only(index: int, values: tuple[int, ...]) -> list[Instruction]:
    checks = [(_JEQ, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [_argument(index), *checks, _return(_EPERM), _return(_ALLOW)]


def _never(index: int, values: tuple[int, ...]) -> list[Instruction]:
    checks = [(_JEQ, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [_argument(index), *checks, _return(_ALLOW), _return(_EPERM)]


def _without(index: int, bits: int) -> list[Instruction]:
    return [_argument(index), (_JSET, 1, 0, bits), _return(_ALLOW), _return(_EPERM)]


def _private_or_of_a_file() -> list[Instruction]:
    """No memory that is shared without a file, and no huge pages set aside for others."""
    return [
        _argument(3),
        (_JSET, 3, 0, _MAP_HUGETLB),
        (_JSET, 0, 1, _MAP_ANONYMOUS),
        (_JSET, 1, 0, _MAP_SHARED),
        _return(_ALLOW),
        _return(_EPERM),
    ]


def _local_and_connected() -> list[Instruction]:
    return [
        _argument(0),
        (_JEQ, 0, 4, _AF_UNIX),
        _argument(1),
        (_AND, 0, 0, 0xFFFF_FFFF ^ _SOCK_FLAGS),
        (_JEQ, 2, 0, _SOCK_STREAM),
        (_JEQ, 1, 0, _SOCK_SEQPACKET),
        _return(_EPERM),
        _return(_ALLOW),
    ]


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


class Shared(NamedTuple):
    """For sessions that are one user among each other, and with the server. signals_to: the only process that may be
    signalled, and its group (None: Landlock keeps signals in)."""

    signals_to: int | None


_PRETENDED = (
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat"),
    *("utime", "utimes", "futimesat", "utimensat"),
)
_SIGNALS = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
_SIGNALS_UNCHECKED = ("tkill", "pidfd_send_signal")  # by a thread or a descriptor: whose it is, the filter cannot see


def _shared_rules(calls: dict[str, int], shared: Shared) -> list[Instruction]:
    program: list[Instruction] = []
    for name in _PRETENDED:
        if name in calls:
            program += _rule(calls[name], [_return(_refuse(0))])
    if shared.signals_to is not None:
        own = shared.signals_to
        for name in _SIGNALS:
            program += _rule(calls[name], _only(0, (own, 0, (1 << 32) - own)))
        for name in _SIGNALS_UNCHECKED:
            program += _rule(calls[name], [_return(_EPERM)])
    return program


def instructions(machine: str, shared: Shared | None = None, *, makes_sessions: bool = False) -> list[Instruction]:
    calls = allowed_calls(machine, makes_sessions=makes_sessions)
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_JEQ, 1, 0, _AUDIT_ARCH[machine]),
        _return(_KILL),
        (_LOAD, 0, 0, _NR),
        (_JGE, 0, 1, _X32_BIT),
        _return(_KILL),
    ]
    program += _rule(calls["mmap"], _private_or_of_a_file())
    program += _rule(calls["clone"], _without(0, _NEW_NAMESPACES | _CLONE_PARENT))
    if not makes_sessions:
        program += _rule(calls["prctl"], _only(0, _PRCTL_ALLOWED))
    program += _rule(calls["ioctl"], _never(1, _IOCTL_REFUSED))
    program += _rule(calls["fcntl"], _never(1, _FCNTL_REFUSED))
    program += _rule(calls["socketpair"], _local_and_connected())
    program += _rule(calls["setsockopt"], _never(2, _SOCKET_OPTIONS_REFUSED))
    for name, index in _FLAGS_OF_MESSAGES.items():
        program += _rule(calls[name], _without(index, _MSG_OOB))
    program += _rule(calls["setpriority"], [_argument(0), (_JEQ, 1, 0, 0), _return(_EPERM), *_only(1, (0,))])
    for name in _OWN_ONLY:
        program += _rule(calls[name], _only(0, (0,)))
    if shared is not None:
        program += _shared_rules(calls, shared)
    for low, high in _ranges(list(calls.values())):
        program += [(_JGE, 0, 2, low), (_JGT, 1, 0, high), _return(_ALLOW)]
    for number in (_TIMER_CREATE[machine], *_ABSENT.values()):
        program += _rule(number, [_return(_ENOSYS)])
    return [*program, (_JGT, 0, 1, _NEWEST_KNOWN), _return(_ENOSYS), _return(_EPERM)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class Filter:
    """The compiled program of this machine, to be installed in a session; with `makes_sessions`, in a fork server."""

    def __init__(self, shared: Shared | None = None, *, makes_sessions: bool = False) -> None:
        listing = instructions(os.uname().machine, shared, makes_sessions=makes_sessions)
        self._code = b"".join(struct.pack("HBBI", *instruction) for instruction in listing)
        self._program = _Program(len(listing), self._code)

    def install(self) -> None:
        """From here on this process and all its children live by the list; needs no-new-privs."""
        linux.prctl(linux.PR_SET_SECCOMP, linux.SECCOMP_MODE_FILTER, ctypes.addressof(self._program))
