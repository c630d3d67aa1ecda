"""The package as others install it."""

from __future__ import annotations

from importlib.resources import files


def test_package_is_marked_as_typed() -> None:
    assert (files("locum") / "py.typed").is_file()
