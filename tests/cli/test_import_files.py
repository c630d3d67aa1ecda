"""`locum import-files`: against a real server, as an owner types it."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from tests.cli.commands import assert_one_line, locum
from tests.serving import ServerProcess


@pytest.fixture
def store(client: openai.OpenAI) -> str:
    return client.vector_stores.create(name="imported").id


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "sea.md").write_text("The sea is blue.")
    (folder / "deep" / "deeper" / "한국어.txt").write_text("바다는 파랗다.")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    return folder


def test_files_of_folders_are_uploaded_added_and_waited_for(
    server: ServerProcess, client: openai.OpenAI, store: str, documents: Path
) -> None:
    done = locum("import-files", store, str(documents), "--url", server.azure_endpoint, cwd=documents)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 files can be searched." in done.stdout
    counts = client.vector_stores.retrieve(store).file_counts
    assert (counts.completed, counts.total) == (2, 2)
    names = {client.files.retrieve(file.id).filename for file in client.vector_stores.files.list(store)}
    assert names == {"sea.md", "한국어.txt"}


def test_files_that_cannot_be_searched_are_listed_and_the_others_can_be(
    server: ServerProcess, store: str, documents: Path
) -> None:
    (documents / "broken.pdf").write_bytes(b"no PDF")
    picture = documents / "photo.png"  # named, and so taken
    done = locum("import-files", store, str(documents), str(picture), "--url", server.base_url, cwd=documents)
    assert done.returncode == 1
    assert "2 of 4 files can be searched." in done.stdout
    listed = done.stderr.splitlines()
    assert [line.partition(": ")[0] for line in listed] == [str(documents / "broken.pdf"), str(picture)]
    assert "[.png] are not supported" in listed[1]


def test_a_store_that_is_not_there_is_said_before_anything_is_uploaded(
    server: ServerProcess, client: openai.OpenAI, store: str, documents: Path
) -> None:
    before = len(client.files.list().data)
    done = locum("import-files", f"{store}x", "sea.md", "--url", server.base_url, cwd=documents)
    assert_one_line(done, f"{store}x")
    assert len(client.files.list().data) == before


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.md").write_text("text")
    assert_one_line(locum("import-files", "vs_1", "absent.md", cwd=tmp_path), "no file or folder absent.md")
    assert_one_line(locum("import-files", "vs_1", "empty", cwd=tmp_path), "no file that can be searched")
    nowhere = locum("import-files", "vs_1", "a.md", cwd=tmp_path, LOCUM_PORT="9")
    assert_one_line(nowhere, "does not answer", "--url")
