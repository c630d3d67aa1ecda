"""The attacks that are whole cells, each in a session of its own: to take all there is, never to end, to lie."""

from __future__ import annotations

from tests.sandbox.attack import Attack
from tests.sandbox.conftest import SMALL

PAUSE = 0.8

_BEAT = """
import os, signal, time

def beat(seconds=4):
    out = os.open("/mnt/data/.beats", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.write(out, f"{time.monotonic()}\\n".encode())
        time.sleep(0.005)
"""
# Did anything run while no cell did? A pause as long as that between the cells says no.
_WERE_THERE_BEATS = f"""
beats = [float(line) for line in open("/mnt/data/.beats")] + [time.monotonic()]
longest = max(later - earlier for earlier, later in zip(beats, beats[1:]))
print("stood still" if longest > {PAUSE * 0.7} else f"ran on: longest pause {{longest:.2f}} s")
"""


def _beats(setting: str) -> tuple[str, str]:
    """Two cells, with something left behind by the first that tells when it runs."""
    return f"{_BEAT}{setting}\ntime.sleep(0.3)", _WERE_THERE_BEATS


_STOOD_STILL = "(ok.*stood still\n|SessionDied.*|Timeout.*)"
"""On a busy machine, processes of the session may keep its own cell from its end until the timer ends it."""

_PROCESSES = (
    Attack(
        13,
        "descriptors beyond its own four",
        (
            """
            import os
            more = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd") if int(fd) > 3]
            print([os.readlink(path) for path in more if os.path.lexists(path)])
            """,
        ),
        "ok \\|  \\| \\[\\]\n",
        "fresh",
        shared="ok \\|  \\| \\['/mnt/data'\\]\n",
    ),
    Attack(
        46,
        "processes without end",
        (
            """
            import os, time
            n = 0
            try:
                for n in range(100):
                    if os.fork() == 0:
                        time.sleep(20); os._exit(0)
            except OSError as error:
                print(n, error.errno)
            """,
        ),
        f"ok \\|  \\| {SMALL.processes - 1} 11\n",
        "rlimits",
        ("cgroup",),
        shared="ok \\|  \\| [0-9]+ 11\n",
    ),
    Attack(
        46,
        "processes without end, by the shell",
        ("import os; os.system('for n in $(seq 60); do sleep 3 & done 2>&1; wait')",),
        ".*(Cannot fork|Resource temporarily unavailable).*",
        "rlimits",
        ("cgroup",),
    ),
    Attack(
        47,
        "threads without end",
        (
            """
            import threading, time
            n = 0
            try:
                for n in range(200):
                    threading.Thread(target=time.sleep, args=(2,), daemon=True).start()
            except RuntimeError:
                print("refused", n < 40)
            """,
        ),
        "ok \\|  \\| refused True\n",
        "rlimits",
        ("cgroup",),
    ),
    Attack(
        52,
        "descriptors without end",
        ("files = [open('/dev/null') for _ in range(1000)]",),
        "OSError.*Too many open files.*",
        "rlimits",
    ),
    Attack(
        58,
        "recursion",
        ("import sys; sys.setrecursionlimit(10 ** 9)\ndef f(): return [f()]\nf()",),
        "(SessionDied|RecursionError|MemoryError|Timeout).*",
        "process 1",
        slow=True,
    ),
    Attack(58, "segfault", ("import ctypes; ctypes.string_at(0)",), "SessionDied.*SIGSEGV.*", "process 1"),
    Attack(58, "leave", ("import os; os._exit(7)",), "SessionDied.*exit status 7.*", "process 1"),
    Attack(
        58,
        "close everything",
        ("import os, time; os.closerange(0, 256); time.sleep(9)",),
        "SessionDied.*",
        "process 1",
        ("protocol",),
    ),
    Attack(
        58,
        "a signal without a name",
        ("import os, time; os.kill(os.getpid(), 40); print('lives')",),
        "(ok.*lives\n|SessionDied.*signal 40.*)",
        "process 1",
    ),
    Attack(
        38,
        "a foreign ABI (x32)",
        ("import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)",),
        "SessionDied.*SIGSYS.*",
        "seccomp",
        x86_only=True,
    ),
    Attack(
        38,
        "a foreign ABI (i386)",
        (
            """
            import ctypes, mmap
            code = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
            code.write(bytes.fromhex("b814000000cd80c3"))
            ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
            """,
        ),
        "SessionDied.*SIGSYS.*",
        "seccomp",
        x86_only=True,
    ),
    Attack(
        40,
        "a set-user-id program",
        ("import os; os.system('su -c id 2>&1; id -u')",),
        "(?!.*uid=0).*[0-9]+\n",
        "capabilities",
        ("user",),
    ),
)

_MEMORY = (
    Attack(
        48,
        "memory without end",
        ("blocks = [bytearray(8 << 20) for _ in range(100)]",),
        "(MemoryError|SessionDied).*",
        "rlimits",
        ("cgroup", "watchdog"),
    ),
    Attack(
        48,
        "memory of many processes",
        (
            """
            import os, time
            for _ in range(5):
                if os.fork() == 0:
                    held = bytearray(90 << 20); time.sleep(2); os._exit(0)
            time.sleep(2); print("to its end")
            """,
        ),
        "SessionDied.*more than 320 MiB of memory.*",
        "watchdog",
        ("cgroup",),
    ),
    Attack(
        49,
        "memory of a process whose first thread has ended",
        (
            """
            import ctypes, os, threading, time
            def hold():
                time.sleep(0.3); held = bytearray(90 << 20); time.sleep(2); os._exit(0)
            for _ in range(5):
                if os.fork() == 0:
                    threading.Thread(target=hold).start()
                    ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
            time.sleep(2.2); print("to its end")
            """,
        ),
        "SessionDied.*more than 320 MiB of memory.*",
        "watchdog",
        ("cgroup",),
    ),
    Attack(
        59,
        "buffers of sockets without end",
        (
            """
            import socket
            pairs, held = [], 0
            try:
                while True:
                    pairs.append(socket.socketpair())
                    for end in pairs[-1]:
                        end.setblocking(False)
                        try:
                            while True:
                                held += end.send(bytes(1 << 16))
                        except BlockingIOError:
                            pass
            except OSError:
                print("less than 100 MiB", held < 100 << 20)
            """,
        ),
        "(ok.*less than 100 MiB True\n|SessionDied.*)",
        "rlimits",
        ("cgroup",),
    ),
    Attack(
        50,
        "disk without end",
        (
            """
            import time
            for n in range(4):
                with open(f".big{n}", "wb") as file:
                    file.write(bytes(20 << 20))
            time.sleep(0.7); print("to its end")
            """,
        ),
        "OSError.*No space left.*",
        "tmpfs",
        shared="SessionDied.*of disk.*",
    ),
    Attack(
        51,
        "files without end",
        ("for n in range(3000): open(f'.{n}', 'w').close()\nimport time; time.sleep(0.7); print('to its end')",),
        "OSError.*No space left.*",
        "tmpfs",
        shared="SessionDied.*more than 2000 files.*",
    ),
    Attack(
        60,
        "shared memory as disk without end",
        (
            """
            for n in range(4):
                with open(f"/dev/shm/big{n}", "wb") as file:
                    file.write(bytes(20 << 20))
            print("to its end")
            """,
        ),
        "OSError.*(No space left|Read-only file system).*",
        "tmpfs",
        shared="PermissionError.*",
    ),
    Attack(
        53,
        "output without end",
        ("for _ in range(2000): print('x' * 1000)",),
        "ok \\|  \\| x.{0,9000}bytes of output left out.{0,9000}",
        "output",
    ),
)


def _endless(number: int, name: str, code: str, expected: str = "Timeout.*") -> Attack:
    return Attack(number, name, (code,), expected, "timer", slow=True)


_TIME = (
    _endless(54, "sleep", "import time; time.sleep(6); print('to its end')"),
    _endless(54, "a loop in C", "sum(range(10 ** 9)); print('to its end')"),
    _endless(54, "a regular expression without end", "import re; re.match('(a*)*b', 'a' * 30); print('to its end')"),
    _endless(
        55,
        "ignore being interrupted",
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(6); print('to its end')",
    ),
    _endless(
        55,
        "swallow being interrupted",
        """
        import time
        end = time.monotonic() + 6
        while time.monotonic() < end:
            try:
                time.sleep(6)
            except KeyboardInterrupt:
                pass
        print("to its end")
        """,
    ),
    _endless(65, "never answer", "import signal, time\nsignal.pthread_sigmask(0, [2])\ntime.sleep(6)"),
    Attack(
        61,
        "an early answer, then deaf to a long cell",
        (
            """
            import os, time
            os.write(3, b'{"id": 1, "error": null}')
            time.sleep(60)
            """,
            "#" * 1_000_000,
        ),
        "Timeout.*",
        "timer",
        slow=True,
    ),
    Attack(
        56,
        "a process left behind",
        _beats("if os.fork() == 0: os.setsid(); beat(); os._exit(0)"),
        "ok.*stood still\n",
        "stop",
        pause=PAUSE,
        slow=True,
    ),
    Attack(
        56,
        "processes that continue each other",
        _beats(
            """
def go_on():
    time.sleep(0.1)
    end = time.monotonic() + 4
    while time.monotonic() < end:
        for pid in pids + list(range(1, 40)):
            try: os.kill(pid, signal.SIGCONT)
            except OSError: pass
pids = [os.fork()]
if pids[0] == 0:
    beat(); os._exit(0)
time.sleep(0.1)
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        go_on(); os._exit(0)
    pids.append(pid)
"""
        ),
        _STOOD_STILL,
        "stop",
        pause=PAUSE,
        slow=True,
    ),
    Attack(
        56,
        "threads that continue their own process",
        _beats(
            """
import threading
def go_on():
    end = time.monotonic() + 4
    while time.monotonic() < end:
        os.kill(os.getpid(), signal.SIGCONT)
for _ in range(3):
    threading.Thread(target=go_on, daemon=True).start()
threading.Thread(target=beat, daemon=True).start()
"""
        ),
        _STOOD_STILL,
        "stop",
        pause=PAUSE,
        slow=True,
    ),
    Attack(
        56,
        "a chain of processes, each gone before it is found",
        _beats(
            """
import subprocess
with open("chain.sh", "w") as script:
    script.write("f() { echo >> .links; f & exit; }\\nf\\n")
subprocess.Popen(["sh", "chain.sh"], start_new_session=True)
if os.fork() == 0:
    beat(); os._exit(0)
"""
        ),
        _STOOD_STILL,
        "stop",
        pause=PAUSE,
        slow=True,
    ),
    Attack(
        56,
        "a process that may not be looked into",
        (
            """
            import os, shutil, subprocess, time
            shutil.copy("/bin/sh", ".sh"); os.chmod(".sh", 0o111)
            subprocess.Popen(["./.sh", "-c", "while :; do echo >> .count; sleep 0.01; done"])
            time.sleep(0.3)
            print(os.path.getsize(".count") > 0)
            """,
            "import os; before = os.path.getsize('.count')",
            "now = os.path.getsize('.count'); print('stood still' if now - before < 20 else f'ran on: {now - before}')",
        ),
        "ok.*stood still\n",
        "stop",
        pause=PAUSE,
        tiers=("namespaces", "landlock"),
        slow=True,
    ),
)

_LIES = (
    Attack(
        61,
        "an answer for another cell",
        ("""import os, time; os.write(3, b'{"id": 99, "error": null}'); time.sleep(0.5)""",),
        "SessionDied.*broke the protocol.*",
        "protocol",
    ),
    Attack(
        62,
        "a pickle",
        ("import os, time; os.write(3, b'\\x80\\x04N.'); time.sleep(1)",),
        "SessionDied.*broke the protocol.*",
        "protocol",
    ),
    Attack(
        63,
        "a megabyte of garbage",
        ("import os, time\nfor _ in range(10): os.write(3, b'{' * 100_000)\ntime.sleep(1)",),
        "SessionDied.*",
        "protocol",
    ),
    Attack(
        64,
        "descriptors in an answer",
        (
            """
            import socket, time
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, 3)
            socket.send_fds(channel, [b'{"id": 1, "error": null}'], [0])
            time.sleep(1)
            """,
        ),
        "SessionDied.*broke the protocol.*",
        "protocol",
    ),
    Attack(
        66,
        "links to files of the host",
        (
            """
            import os
            os.symlink("/etc/passwd", "link"); os.symlink("/etc", "folder"); os.symlink("/proc/self/root", "root")
            """,
        ),
        "ok \\|  \\| ",
        "collect",
    ),
    Attack(
        66,
        "the folder itself a link to the host",
        (
            """
            import os
            os.rename("/run/session/data", "/run/session/mine"); os.symlink("/etc", "/run/session/data")
            """,
        ),
        "(PermissionError|OSError).*",
        "user",
        ("collect", "landlock"),
        as_user="(ok|PermissionError|OSError) \\|  \\| .*",
        tiers=("namespaces",),
    ),
    Attack(
        69,
        "a sparse file",
        ("open('sparse', 'wb').truncate(40 << 20);",),
        "ok \\|  \\| .*1 files were not collected.*",
        "collect",
    ),
    Attack(
        70,
        "names that are none",
        (
            r"""
            import os
            for name in [b"a\nb.txt", b"\xff.bin", b"<script>.html", b"x" * 255, b"\x1b[31mred", b"a\\..\\up"]:
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
            """,
        ),
        "ok \\| [^\n\x1b\\\\]+ \\| ",
        "collect",
    ),
    Attack(
        71,
        "deep folders",
        ("import os\nfor _ in range(900):\n    os.mkdir('d'); os.chdir('d')\nopen('x', 'w').close()",),
        "ok \\|  \\| ",
        "collect",
        shared="(ok|SessionDied) \\|  \\| .*",
    ),
    Attack(
        72,
        "very many files",
        ("for n in range(1500): open(f'{n:04}', 'w').close()",),
        "ok \\| [^|]+ \\| .*1490 files were not collected.*",
        "collect",
    ),
    Attack(
        73,
        "images that are none",
        ("for n in range(1, 900): open(f'/run/session/images/image-{n}.png', 'w').write('<svg onload=alert(1)>');",),
        "ok \\|  \\| .*899 images were not collected.*",
        "collect",
        tiers=("namespaces",),
    ),
    Attack(
        76,
        "text that plays tricks in a terminal",
        (r"print('\x1b[31mred\x1b[0m \x1b]0;title\x07\x00\x08bell\x07 \u202eback')",),
        "ok \\|  \\| red bell back\n",
        "output",
    ),
)

CELLS = (*_PROCESSES, *_MEMORY, *_TIME, *_LIES)
