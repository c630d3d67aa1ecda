"""Fixtures of ingestion: those of file search."""

from tests.search.conftest import databases, parsing, readable_python, runner  # noqa: F401  (fixtures)
