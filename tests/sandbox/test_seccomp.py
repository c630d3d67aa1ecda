"""The filter as a program: run here by a small BPF machine, for both architectures, without installing it."""

from __future__ import annotations

import errno
import struct

import pytest

from locum.sandbox.isolation.seccomp import Shared, allowed_calls, instructions

ALLOW, KILL = 0x7FFF_0000, 0x8000_0000
EPERM, ENOSYS = 0x5_0000 | errno.EPERM, 0x5_0000 | errno.ENOSYS
ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}


def verdict(
    machine: str,
    number: int,
    *arguments: int,
    arch: int | None = None,
    shared: Shared | None = None,
    makes_sessions: bool = False,
) -> int:
    words = [argument & 0xFFFF_FFFF_FFFF_FFFF for argument in (*arguments, 0, 0, 0, 0, 0, 0)][:6]
    data = struct.pack("IIQ6Q", number, ARCH[machine] if arch is None else arch, 0, *words)
    program = instructions(machine, shared, makes_sessions=makes_sessions)
    at = accumulator = 0
    while True:
        code, when_true, when_false, value = program[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("I", data, value)
            case 0x54:
                accumulator &= value
            case 0x06:
                return value
            case _:
                holds = {
                    0x15: accumulator == value,
                    0x35: accumulator >= value,
                    0x25: accumulator > value,
                    0x45: bool(accumulator & value),
                }[code]
                at += when_true if holds else when_false


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_kernel_would_take_the_program(machine: str) -> None:
    program = instructions(machine)
    assert len(program) <= 4096
    assert all(0 <= jump <= 255 for _, true, false, _ in program for jump in (true, false))


def test_the_fork_server_may_make_sessions_and_nothing_else_besides(machine: str) -> None:
    session, more = allowed_calls(machine), allowed_calls(machine, makes_sessions=True)
    numbers = {name: number for name, number in more.items() if name not in session}
    assert all(verdict(machine, number) == EPERM for number in numbers.values())
    assert all(verdict(machine, number, makes_sessions=True) == ALLOW for number in numbers.values())
    assert {"unshare", "setns", "mount", "setresuid", "capset", "landlock_restrict_self"} <= set(numbers)
    assert not {"socket", "connect", "bind", "ptrace", "mknod", "mknodat", "chroot", "bpf", "seccomp"} & set(more)
    assert len(set(more.values())) == len(more)
    # PR_CAPBSET_DROP and PR_SET_KEEPCAPS
    for option in (24, 8):
        assert verdict(machine, more["prctl"], option) == EPERM
        assert verdict(machine, more["prctl"], option, makes_sessions=True) == ALLOW


def test_exactly_the_list_is_allowed(machine: str) -> None:
    calls = allowed_calls(machine)
    refuse_zeros = ("prctl", "socketpair")
    assert all(verdict(machine, number) == ALLOW for name, number in calls.items() if name not in refuse_zeros)
    absent = {425, 426, 427, 435, {"x86_64": 222, "aarch64": 107}[machine]}
    others = set(range(463)) - set(calls.values()) - absent
    assert {verdict(machine, number) for number in others} == {EPERM}
    assert {verdict(machine, number) for number in (*absent, 463, 4000)} == {ENOSYS}


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("clone", (0x0120_0011,), ALLOW),
        ("clone", (0x003D_0F00,), ALLOW),
        ("clone", (0x1000_0011,), EPERM),
        ("clone", (0x0002_0000,), EPERM),
        ("clone", (0x8011,), EPERM),
        ("prctl", (15,), ALLOW),
        ("prctl", (4,), EPERM),
        ("prctl", (22,), EPERM),
        ("ioctl", (0, 0x5413), ALLOW),
        ("ioctl", (0, 0x5412), EPERM),
        ("ioctl", (0, 0x1_0000_5412), EPERM),
        ("fcntl", (0, 1031), EPERM),
        ("fcntl", (0, 1030), ALLOW),
        ("fcntl", (0, 10), EPERM),
        ("fcntl", (0, 1024), EPERM),
        ("fcntl", (0, 1026), EPERM),
        ("mmap", (0, 4096, 3, 0x22), ALLOW),
        ("mmap", (0, 4096, 3, 0x01), ALLOW),
        ("mmap", (0, 4096, 3, 0x21), EPERM),
        ("mmap", (0, 4096, 3, 0x23), EPERM),
        ("mmap", (0, 4096, 3, 0x4_0022), EPERM),
        ("socketpair", (1, 0x8_0801), ALLOW),
        ("socketpair", (1, 5), ALLOW),
        ("socketpair", (1, 2), EPERM),
        ("socketpair", (1, 3), EPERM),
        ("socketpair", (2, 1), EPERM),
        ("setsockopt", (3, 1, 20), ALLOW),
        ("setsockopt", (3, 1, 7), EPERM),
        ("setsockopt", (3, 1, 26), EPERM),
        ("sendmsg", (3, 0, 0x40), ALLOW),
        ("sendmsg", (3, 0, 1), EPERM),
        ("recvfrom", (3, 0, 9, 1), EPERM),
        ("prlimit64", (0,), ALLOW),
        ("prlimit64", (2,), EPERM),
        ("setpriority", (0, 0), ALLOW),
        ("setpriority", (0, 2), EPERM),
        ("setpriority", (2, 0), EPERM),
        ("sched_setaffinity", (1,), EPERM),
    ],
)
def test_arguments_decide(name: str, arguments: tuple[int, ...], expected: int, machine: str) -> None:
    assert verdict(machine, allowed_calls(machine)[name], *arguments) == expected


def test_a_foreign_architecture_kills(machine: str) -> None:
    assert verdict(machine, 1, arch=0x4000_0003) == KILL
    assert verdict(machine, 0x4000_0001) == KILL


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("fchmod", (5, 0o777), 0x5_0000),
        ("fchownat", (5,), 0x5_0000),
        ("utimensat", (5,), 0x5_0000),
        ("ftruncate", (5,), ALLOW),
        ("kill", (4711, 9), ALLOW),
        ("kill", (0, 15), ALLOW),
        ("kill", (-4711, 9), ALLOW),
        ("kill", (4712, 0), EPERM),
        ("kill", (-1, 9), EPERM),
        ("kill", (1, 9), EPERM),
        ("tgkill", (4711, 4713, 6), ALLOW),
        ("tgkill", (4712, 4712, 6), EPERM),
        ("tkill", (4711, 9), EPERM),
        ("rt_sigqueueinfo", (4712, 9), EPERM),
        ("pidfd_send_signal", (5, 9), EPERM),
        ("write", (1,), ALLOW),
        ("prlimit64", (4711,), EPERM),
    ],
)
def test_sessions_of_one_user_cannot_touch_each_other(
    name: str, arguments: tuple[int, ...], expected: int, machine: str
) -> None:
    number = allowed_calls(machine)[name]
    assert verdict(machine, number, *arguments, shared=Shared(signals_to=4711)) == expected


def test_where_landlock_keeps_signals_in_the_filter_need_not(machine: str) -> None:
    calls, newer = allowed_calls(machine), Shared(signals_to=None)
    for name in ("kill", "tkill", "pidfd_send_signal"):
        assert verdict(machine, calls[name], 4712, shared=newer) == ALLOW
    assert verdict(machine, calls["fchmod"], shared=newer) == 0x5_0000
