"""The tree in errors.py's docstring is the tree of the classes."""

from __future__ import annotations

import importlib
import pkgutil
import re

import locum
from locum import errors
from locum.errors import LocumError

_LINE = re.compile(r"^(?P<branch>[│ ]*)[├└]── (?P<name>\w+) +(?P<meaning>.*)$")
_MODULE = re.compile(r"\((\w+(?:/\w+)*)\.py\)$")
_NOT_IMPORTABLE = ("locum.__main__", "locum.store.migrations.env", "locum.sandbox.inside")
"""They run a command, need Alembic's context, or the libraries of a session's Python."""


def _drawn() -> dict[str, tuple[str, str]]:
    """Name -> (parent, module)."""
    tree = {}
    parents = ["LocumError"]
    for line in (errors.__doc__ or "").splitlines():
        if match := _LINE.match(line):
            depth = len(match["branch"]) // 4
            module = _MODULE.search(match["meaning"])
            tree[match["name"]] = (parents[depth], module[1].replace("/", ".") if module else "errors")
            parents[depth + 1 :] = [match["name"]]
    return tree


def _subclasses(cls: type[LocumError]) -> list[type[LocumError]]:
    return [error for child in cls.__subclasses__() for error in (child, *_subclasses(child))]


def test_every_error_is_drawn_below_its_parent_with_its_module() -> None:
    for module in pkgutil.walk_packages(locum.__path__, "locum."):
        if not module.name.startswith((*_NOT_IMPORTABLE, "locum.store.migrations.versions")):
            importlib.import_module(module.name)
    defined = {
        error.__name__: (error.__bases__[0].__name__, error.__module__.removeprefix("locum."))
        for error in _subclasses(LocumError)
        if error.__module__.startswith("locum.")
    }
    assert _drawn() == defined
