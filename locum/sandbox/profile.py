"""What the sessions of one sandboxd are for: which modules its zygote has loaded before the first fork, and how code
that is given to them is run.

A folder has one sandboxd, and a sandboxd one profile: sessions for another purpose are those of another folder.
"""

from __future__ import annotations

import msgspec


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """preload: modules by name; what is not installed, or does not load, is left out. own: modules of Locum's; they and
    what they import are loaded before the zygote goes behind its walls, where there are no files of Locum's, and have
    to be there. notebook: cells run as in a notebook, with IPython and figures where there are any; else they are plain
    Python."""

    preload: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    notebook: bool = False


NOTEBOOK = Profile(preload=("numpy", "pandas", "matplotlib.pyplot"), notebook=True)
"""What most cells of the code interpreter use; each further library makes every fork slower."""
