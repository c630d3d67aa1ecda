"""What hostile code tries from inside, and which wall it meets. The expected word is what the wall answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.conftest import Box, start

_TOOLS = """
import ctypes, errno, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"

def call(x86, arm, *args):
    ctypes.set_errno(0)
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = libc.syscall(ctypes.c_long(x86 if X86 else arm), *words)
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
    return result

def outcome(attack):
    try:
        got = attack()
    except OSError as refusal:
        return errno.errorcode.get(refusal.errno, "OSError")
    except Exception as refusal:
        return type(refusal).__name__
    return f"GOT {got!r}"[:300]
"""
_BUFFER = "ctypes.create_string_buffer(256)"

ATTACKS = {
    # files and secrets
    "read the password file": ("open('/etc/shadow').read()", "ENOENT"),
    "find the server's data": ("os.listdir(SERVER)", "ENOENT"),
    "read the home of root": ("os.listdir('/root/.ssh')", "ENOENT|EACCES"),
    "leave by dots": ("open('/mnt/data/../../../../../../etc/shadow').read()", "ENOENT"),
    "the root of process 1": ("open('/proc/1/root/etc/shadow').read()", "ENOENT|EACCES"),
    "kernel memory": ("open('/proc/kcore', 'rb')", "ENOENT|EACCES"),
    "kernel symbols": ("open('/proc/kallsyms')", "ENOENT|EACCES"),
    "sysrq": ("open('/proc/sysrq-trigger', 'w').write('b')", "ENOENT|EACCES|EROFS"),
    "core pattern": ("open('/proc/sys/kernel/core_pattern', 'w').write('|/x')", "ENOENT|EACCES|EROFS"),
    "sysfs": ("os.listdir('/sys')", "ENOENT"),
    "disk device": ("open('/dev/vda', 'rb')", "ENOENT"),
    "terminal": ("open('/dev/tty')", "ENOENT"),
    "write to /usr": ("open('/usr/x', 'w')", "EROFS|EACCES"),
    "write to the root": ("open('/x', 'w')", "EROFS|EACCES"),
    "write to the packages": ("open(os.path.join(os.path.dirname(os.__file__), 'x.py'), 'w')", "EROFS|EACCES"),
    "write to the font cache": ("open('/var/cache/matplotlib/x', 'w')", "EROFS|EACCES"),
    "shell history of others": (
        "[n for n in os.listdir('/proc') if n.isdigit() and n != '1'] or 1/0",
        "ZeroDivisionError",
    ),
    "inherited descriptors": (
        "sorted(fd for fd in range(4, 256) if os.path.exists(f'/proc/self/fd/{fd}') and 'socket' in "
        "os.readlink(f'/proc/self/fd/{fd}')) or 1/0",
        "ZeroDivisionError",
    ),
    # network
    "tcp": ("socket.create_connection(('127.0.0.1', 22), 1)", "EPERM"),
    "udp": ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "EPERM"),
    "raw": ("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "EPERM"),
    "packet": ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "EPERM"),
    "unix": ("socket.socket(socket.AF_UNIX)", "EPERM"),
    "netlink": ("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)", "EPERM"),
    "vsock": ("socket.socket(40, socket.SOCK_STREAM)", "EPERM"),
    "crypto sockets": ("socket.socket(38, socket.SOCK_SEQPACKET)", "EPERM"),
    "names": ("socket.getaddrinfo('example.com', 80)", "gaierror|EAI_AGAIN|OSError|EPERM"),
    "connect a socketpair": ("socket.socketpair()[0].connect('/x')", "EPERM"),
    # the kernel's surface: x86_64 number, aarch64 number
    "ptrace": ("call(101, 117, 16, 1, 0, 0)", "EPERM"),
    "read another's memory": ("call(310, 270, 1, 0, 0, 0, 0, 0)", "EPERM"),
    "keyring": ("call(250, 219, 0, -3, 1)", "EPERM"),
    "io_uring": (f"call(425, 425, 8, {_BUFFER})", "ENOSYS"),
    "bpf": (f"call(321, 280, 0, {_BUFFER}, 72)", "EPERM"),
    "userfaultfd": ("call(323, 282, 0)", "EPERM"),
    "perf": (f"call(298, 241, {_BUFFER}, 0, -1, -1, 0)", "EPERM"),
    "user namespace": ("call(272, 97, 0x10000000)", "EPERM"),
    "clone into a namespace": ("call(56, 220, 0x10000011, 0, 0, 0, 0)", "EPERM"),
    "clone3": (f"call(435, 435, {_BUFFER}, 88)", "ENOSYS"),
    "setns": ("call(308, 268, 0, 0)", "EPERM"),
    "mount": ("call(165, 40, b'none', b'/tmp', b'tmpfs', 0, 0)", "EPERM"),
    "umount": ("call(166, 39, b'/proc', 2)", "EPERM"),
    "new mount calls": ("call(430, 430, b'tmpfs', 0)", "EPERM"),
    "chroot": ("os.chroot('/tmp')", "EPERM"),
    "pivot_root": ("call(155, 41, b'.', b'.')", "EPERM"),
    "file handles": ("call(304, 265, -100, 0, 0)", "EPERM"),
    "memfd": ("os.memfd_create('x')", "EPERM"),
    "System V shared memory": ("call(29, 194, 0, 1 << 20, 0o1600)", "EPERM"),
    "message queue": ("call(240, 180, b'x', 0o102, 0o600, 0)", "EPERM"),
    "personality": ("call(135, 92, 0x0400000)", "EPERM"),
    "kexec": ("call(246, 104, 0, 0, 0, 0)", "EPERM"),
    "modules": ("call(175, 105, 0, 0, b'')", "EPERM"),
    "reboot": ("call(169, 142, 0, 0, 0, 0)", "EPERM"),
    "kernel log": ("call(103, 116, 3, 0, 0)", "EPERM"),
    "clock": ("call(227, 112, 0, 0)", "EPERM"),
    "another filter": ("call(317, 277, 1, 8, 0)", "EPERM"),
    "hide from the watchdog": ("call(157, 167, 4, 0, 0, 0, 0)", "EPERM"),
    "limits of another process": ("call(302, 261, 2, 7, 0, 0)", "EPERM"),
    "raise an own limit": (
        "__import__('resource').setrlimit(__import__('resource').RLIMIT_NPROC, (1000, 1000))",
        "ValueError|EPERM",
    ),
    "type into a terminal": ("__import__('fcntl').ioctl(0, 0x5412, b'x')", "EPERM"),
    "device node": ("os.mknod('/tmp/disk', 0o60600, os.makedev(254, 0))", "EPERM"),
    "fifo": ("os.mkfifo('/mnt/data/fifo')", "EPERM"),
    "become root": ("os.setuid(0)", "EPERM"),
    "unknown call": ("call(4000, 4000)", "ENOSYS"),
    # others
    "signal everybody": ("os.kill(-1, 9)", "ESRCH"),
    "signal the server": ("os.kill(SERVER_PID, 0)", "ESRCH"),
    "larger pipes": ("__import__('fcntl').fcntl(os.pipe()[0], 1031, 1 << 20)", "EPERM"),
}


@pytest.fixture(scope="module")
def attacker(box: Box) -> str:
    key = box.session()
    own = f"SERVER = {str(box.sandbox._directory)!r}\nSERVER_PID = {os.getpid()}\n"
    assert box.cell(key, own + _TOOLS).ok
    return key


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_wall_stands_against(attack: str, box: Box, attacker: str) -> None:
    code, expected = ATTACKS[attack]
    result = box.cell(attacker, f"print(outcome(lambda: {code}))")
    assert result.logs.strip() in expected.split("|"), result.logs


def test_the_same_attacks_work_without_a_jail() -> None:
    """Otherwise the table above would prove nothing: a sample that harms nobody, run by a plain Python."""
    lines = ["import os", f"SERVER = {str(Path.cwd())!r}", f"SERVER_PID = {os.getpid()}", _TOOLS]
    harmless = (
        "find the server's data",
        "udp",
        "unix",
        "memfd",
        "signal the server",
        "larger pipes",
        "hide from the watchdog",
    )
    lines += [f"print(outcome(lambda: {ATTACKS[attack][0]}))" for attack in harmless]
    lines += ["print(outcome(lambda: [n for n in os.listdir('/proc') if n.isdigit() and n != '1'] or 1/0))"]
    answers = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert all(line.startswith("GOT") for line in answers.stdout.splitlines()), answers.stdout


def test_a_session_has_no_capabilities_and_cannot_gain_any(box: Box, key: str) -> None:
    logs = box.cell(key, "print(open('/proc/self/status').read())").logs
    state = dict(line.split(":\t", 1) for line in logs.splitlines() if ":\t" in line)
    assert {state[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (state["NoNewPrivs"], state["Seccomp"], state["NSpid"].split()[-1]) == ("1", "2", "1")


def test_a_foreign_abi_kills_the_session(box: Box, key: str) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("x32 exists on x86_64 only")
    result = box.cell(key, "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)")
    assert result.error == "SessionDied"
    assert "SIGSYS" in result.logs


def test_environment_and_arguments_hold_nothing_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUM_SECRET_FOR_TEST", "hunter2")
    own = start(tmp_path / "sandbox")
    try:
        key = own.session()
        logs = own.cell(
            key,
            "import os\n"
            "print(dict(os.environ))\n"
            "for name in ('environ', 'cmdline', 'maps', 'mountinfo'):\n"
            "    print(name, open(f'/proc/1/{name}', errors='replace').read())",
        ).logs
        assert "environ" in logs
        assert "hunter2" not in logs
        assert str(tmp_path) not in logs
    finally:
        own.close()


def test_sessions_do_not_see_each_other(box: Box, key: str) -> None:
    other = box.session()
    box.cell(other, "open('/mnt/data/secret.txt', 'w').write('secret'); open('/tmp/secret.txt', 'w').write('x')")
    box.cell(other, "import subprocess; child = subprocess.Popen(['sleep', '30'])")
    logs = box.cell(
        key,
        "import os\nprint(os.listdir('/mnt/data'), os.listdir(os.environ['TMPDIR']), os.listdir('/run/session'),"
        " [n for n in os.listdir('/proc') if n.isdigit()])",
    ).logs
    assert logs.strip() == "[] [] ['images', 'tmp', 'data'] ['1']"
    box.run(box.sandbox.delete(other))


def test_random_numbers_differ_between_sessions(box: Box) -> None:
    code = "import random, numpy as np; print(random.random(), np.random.rand())"
    first, second = (box.cell(box.session(), code).logs for _ in range(2))
    assert not set(first.split()) & set(second.split())


def test_a_set_user_id_program_gains_nothing(box: Box, key: str) -> None:
    result = box.cell(key, "!su -c id 2>&1; id -u")
    assert "uid=0" not in result.logs
    assert result.logs.strip().endswith("1000")


@pytest.fixture(scope="module", autouse=True)
def _still_up(box: Box) -> Iterator[None]:
    yield
    assert box.cell(box.session(), "1 + 1").logs == "2\n"
