"""Fixtures of derived data: those of file search."""

from tests.search.conftest import databases, runner  # noqa: F401  (fixtures)
