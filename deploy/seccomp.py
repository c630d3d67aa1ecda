"""Writes `seccomp.json`, the system calls of a container that runs Locum: `python deploy/seccomp.py`. A test compares.

It is what Docker lets any container do by default, on a 64-bit machine, and the few calls that the sandbox's
namespaces are made with. No list of architectures, so that only the machine's own calls are let through, and no
conditions: Docker, Podman, containerd, CRI-O and runc all read the file alike.

Not covered: with these calls the server may make user namespaces, as any ordinary program outside of a container may.
Code in a session may not: the sandbox's own filter (`locum/sandbox/isolation/seccomp.py`) is closed over it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SECCOMP = Path(__file__).parent / "seccomp.json"

Rule = dict[str, Any]
Profile = dict[str, Any]

_EPERM, _ENOSYS = 1, 38
_NEWNS, _NEWUTS, _NEWIPC = 0x0002_0000, 0x0400_0000, 0x0800_0000
_NEWUSER, _NEWPID, _NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000
_ALL_NAMESPACES = 0x7E02_0000  # those six, and of cgroups
_OURS = _NEWNS | _NEWUTS | _NEWIPC | _NEWUSER | _NEWPID | _NEWNET
_AF_ALG, _AF_VSOCK = 38, 40

ORDINARY = {
    "open files": """
    open openat openat2 creat close close_range read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2
    lseek sendfile splice tee vmsplice copy_file_range readahead fadvise64 fallocate truncate ftruncate fsync fdatasync
    sync syncfs sync_file_range flock fcntl dup dup2 dup3 ioctl io_setup io_submit io_cancel io_getevents io_pgetevents
    io_destroy cachestat
    """,
    "names and attributes": """
    access faccessat faccessat2 stat fstat lstat newfstatat statx statfs fstatfs getdents getdents64 getcwd chdir fchdir
    chroot mkdir mkdirat rmdir rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat readlink
    readlinkat mknod mknodat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat umask utime utimes futimesat
    utimensat getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr listxattr llistxattr flistxattr removexattr
    lremovexattr fremovexattr getxattrat setxattrat listxattrat removexattrat name_to_handle_at inotify_init
    inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark statmount listmount
    """,
    "memory": """
    brk mmap munmap mprotect mremap msync madvise mincore mlock mlock2 mlockall munlock munlockall remap_file_pages
    memfd_create memfd_secret membarrier pkey_alloc pkey_free pkey_mprotect map_shadow_stack mseal
    """,
    "processes and threads": """
    fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill getpid getppid gettid pidfd_open
    pidfd_send_signal process_mrelease setsid getsid setpgid getpgid getpgrp set_tid_address set_robust_list
    get_robust_list get_thread_area set_thread_area arch_prctl modify_ldt prctl rseq futex futex_wait futex_waitv
    futex_wake futex_requeue getcpu restart_syscall ptrace process_vm_readv process_vm_writev
    uretprobe
    """,
    "users and rights": """
    getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid setresgid
    setgroups setfsuid setfsgid capget capset seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
    lsm_get_self_attr lsm_set_self_attr lsm_list_modules
    """,
    "shares of the machine": """
    sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam
    sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval
    getpriority setpriority ioprio_get ioprio_set getrlimit setrlimit prlimit64 getrusage times sysinfo uname
    """,
    "signals": """
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_tgsigqueueinfo sigaltstack pause signalfd signalfd4
    """,
    "time and waiting": """
    time gettimeofday clock_gettime clock_getres clock_nanosleep clock_adjtime adjtimex nanosleep alarm getitimer
    setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
    timerfd_settime poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait
    epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 getrandom
    """,
    "talking": """
    pipe pipe2 socketpair bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt sendto
    recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown mq_open mq_unlink mq_getsetattr mq_notify mq_timedreceive
    mq_timedsend msgget msgctl msgrcv msgsnd semget semctl semop semtimedop shmget shmctl shmat shmdt
    """,
}


def _allow(*names: str, comment: str, **argument: Any) -> Rule:
    rule: Rule = {"names": sorted(names), "action": "SCMP_ACT_ALLOW", "comment": comment}
    return {**rule, "args": [argument]} if argument else rule


def _without(bits: int, comment: str, name: str) -> Rule:
    return _allow(name, comment=comment, index=0, op="SCMP_CMP_MASKED_EQ", value=bits, valueTwo=0)


CHECKED = [
    _without(_ALL_NAMESPACES, "threads and forks, but no new namespace", "clone"),
    {
        "names": ["clone3"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": _ENOSYS,
        "comment": "its flags cannot be seen from here: libc takes clone instead",
    },
    *(
        _allow("socket", comment=f"every family but AF_ALG ({_AF_ALG}) and AF_VSOCK ({_AF_VSOCK})", index=0, **which)
        for which in (
            {"op": "SCMP_CMP_LT", "value": _AF_ALG},
            {"op": "SCMP_CMP_EQ", "value": _AF_ALG + 1},
            {"op": "SCMP_CMP_GT", "value": _AF_VSOCK},
        )
    ),
    *(
        _allow("personality", comment="Linux, 32 bits, and to ask", index=0, op="SCMP_CMP_EQ", value=value)
        for value in (0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF)
    ),
]

FOR_NAMESPACES = [
    _without(
        0xFFFF_FFFF ^ _OURS,
        "the fork server and every session leave the container's namespaces (user, pid, mnt, net, ipc, uts)",
        "unshare",
    ),
    _allow(
        "setns",
        comment="the fork server comes back to its own pid namespace after each fork",
        index=1,
        op="SCMP_CMP_EQ",
        value=_NEWPID,
    ),
    _allow("mount", comment="a session's root: program files, a disk of limited size, a /proc of its own"),
    _allow("mount_setattr", comment="makes these mounts read-only, without devices, without set-user-id"),
    _allow("pivot_root", comment="that root becomes the only one"),
    _allow("umount2", comment="lets go of the container's root, which no session can then reach"),
]


def docker_default() -> Profile:
    """What Docker lets a container do that was given no capability beyond the usual ones."""
    ordinary = [_allow(*names.split(), comment=group) for group, names in ORDINARY.items()]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "syscalls": [*ordinary, *CHECKED],
    }


def locum_profile() -> Profile:
    profile = docker_default()
    return {**profile, "syscalls": [*profile["syscalls"], *FOR_NAMESPACES]}


def text() -> str:
    return json.dumps(locum_profile(), indent=2) + "\n"


if __name__ == "__main__":
    SECCOMP.write_text(text())
