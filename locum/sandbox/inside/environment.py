"""Packages of the sessions' interpreter: found before the process is isolated, loaded after.

Covered: the fork server is started with `-I -S`, so that nothing but the standard library runs until `activate`: no
`.pth` file, no `sitecustomize`, no package. Not covered: the interpreter itself and its standard library are trusted.

Imports as little as possible: `locate` must come before `sysconfig` is imported, which remembers the prefix.
"""

from __future__ import annotations

import os
import sys


def locate() -> None:
    """Set `sys.prefix` to the virtual environment, if this is one; `site` does it too late, Python 3.14 by itself."""
    programs = os.path.dirname(os.path.abspath(sys.executable))  # noqa: PTH100, PTH120  (pathlib: slower to import)
    parent = os.path.dirname(programs)  # noqa: PTH120
    if any(os.path.isfile(f"{folder}/pyvenv.cfg") for folder in (programs, parent)):  # noqa: PTH113
        sys.prefix = sys.exec_prefix = parent


def activate() -> None:
    """Add the packages to `sys.path` as a start without `-S` does. From here on their code runs: `.pth` files first."""
    import site

    if sys.version_info < (3, 14):  # it expects to be imported before `locate`; an environment may share these packages
        site.PREFIXES[:] = [sys.base_prefix, sys.base_exec_prefix]
    site.main()
    _pass_packages_on()


def _pass_packages_on() -> None:
    """Start processes of multiprocessing with the packages: it would hand this process's `-S` on to them."""
    import subprocess
    from typing import Any

    module: Any = subprocess
    flags = module._args_from_interpreter_flags
    module._args_from_interpreter_flags = lambda: [flag for flag in flags() if flag != "-S"]
