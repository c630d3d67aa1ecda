"""Every place bytes are kept in, behind one face."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from locum.blobs.base import BlobStore
from locum.blobs.disk import DiskBlobs
from locum.blobs.s3 import S3Blobs
from tests.blobs.buckets import BUCKET, S3Server


class Place(Protocol):
    """Blobs, and what only a test may know of where they are."""

    url: str
    blobs: BlobStore

    def left(self) -> set[str]:
        """Everything that takes room there."""

    def path(self, name: str) -> str:
        """Return the name under which `left` lists it."""

    def add_foreign(self) -> None:
        """Put something there that is no blob."""

    def take_away(self) -> None: ...
    def bring_back(self) -> None: ...


class DiskPlace:
    def __init__(self, directory: Path) -> None:
        self.url = directory.as_uri()
        self.blobs: BlobStore = DiskBlobs(directory)
        self._directory = directory
        self._elsewhere = directory.with_name("elsewhere")

    def left(self) -> set[str]:
        return {str(path.relative_to(self._directory)) for path in self._directory.rglob("*") if path.is_file()}

    def path(self, name: str) -> str:
        return name

    def add_foreign(self) -> None:
        for folder in ("my", "deleted/2026-01-01"):
            (self._directory / folder).mkdir(parents=True)
            (self._directory / folder / "thesis.doc").write_bytes(b"x")

    def take_away(self) -> None:
        self._directory.rename(self._elsewhere)

    def bring_back(self) -> None:
        self._elsewhere.rename(self._directory)


class S3Place:
    def __init__(self, server: S3Server) -> None:
        self.url = f"s3://{BUCKET}/some/prefix"
        self.blobs: BlobStore = S3Blobs(BUCKET, "some/prefix")
        self._server = server

    def left(self) -> set[str]:
        return self._server.objects() | self._server.uploads()

    def path(self, name: str) -> str:
        return f"some/prefix/{name}"

    def add_foreign(self) -> None:
        self._server.put("some/prefix/thesis.doc")
        self._server.put("some/prefix/deleted/2026-01-01/thesis.doc")
        self._server.put("a" * 24)  # above the prefix

    def take_away(self) -> None:
        self._server.stop()

    def bring_back(self) -> None:
        self._server.start()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The S3 store, empty, and named in the environment."""
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    yield s3_server
    s3_server.empty()


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return DiskPlace(tmp_path / "blobs")
    return S3Place(request.getfixturevalue("s3"))
