"""The seam of the crash tests: every commit and every external effect passes through `reach`.

With `LOCUM_CRASH_AT=n` in the environment the process kills itself (SIGKILL, as `kill -9` would) at the n-th point it
reaches, with `LOCUM_CRASH_AT=name:n` at the n-th one of that name; the points before are printed. Without it, which is
always outside the tests, `reach` costs one comparison.
"""

from __future__ import annotations

import os
import signal
import threading

_name, _, _number = os.environ.get("LOCUM_CRASH_AT", "").rpartition(":")
_countdown = int(_number or 0)
_lock = threading.Lock()


def reach(point: str) -> None:
    """Die here if this is the point the environment asks for. `point` says in the code what has just happened."""
    global _countdown
    if _countdown == 0:
        return
    with _lock:
        _countdown -= _name in ("", point)
        if _countdown == 0:
            os.write(2, f"crash point: {point}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(2, f"passed: {point}\n".encode())
