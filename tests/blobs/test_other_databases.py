"""A start with another or an empty database deletes no stored file."""

from __future__ import annotations

import re
from pathlib import Path

import openai
import pytest

from tests.blobs.buckets import BUCKET, S3Server
from tests.cli.commands import locum
from tests.databases import PostgresServer
from tests.serving import ServerProcess, serving

OFF = {"LOCUM_SANDBOX": "off"}


def add_files(server: ServerProcess, count: int = 5) -> dict[str, bytes]:
    """Return the content of acknowledged files by their id."""
    contents = [f"content {number}".encode() for number in range(count)]
    with server.openai() as api:
        return {api.files.create(file=("a.txt", data), purpose="assistants").id: data for data in contents}


def assert_all_there(server: ServerProcess, files: dict[str, bytes]) -> None:
    with server.openai(max_retries=0) as api:
        assert {file.id: api.files.content(file.id).read() for file in api.files.list()} == files


def assert_refuses_to_sweep(server: ServerProcess, *, why: str = "belong to another database") -> None:
    """Wait for the log of the first sweep, which follows the start."""
    server.wait_for(why)
    assert "locum migrate --adopt-blobs" in server.output


def move_database(data_dir: Path, elsewhere: Path) -> None:
    elsewhere.mkdir(exist_ok=True)
    for file in data_dir.glob("locum.db*"):
        file.rename(elsewhere / file.name)


def doctor_line(data_dir: Path, **env: str) -> str:
    done = locum("doctor", "--data-dir", str(data_dir), cwd=data_dir.parent, LOCUM_PORT="0", **OFF, **env)
    return next(line for line in done.stdout.splitlines() if line[6:22].strip() == "Stored files")


@pytest.mark.parametrize("is_marked", [True, False], ids=["marked", "of an earlier release"])
def test_database_that_is_moved_away_and_restored_finds_its_files(tmp_path: Path, is_marked: bool) -> None:
    data = tmp_path / "data"
    with serving(data, **OFF) as server:
        files = add_files(server)
    if not is_marked:
        (data / "blobs" / "database-id").unlink()
    move_database(data, tmp_path / "away")
    with serving(data, **OFF) as server:
        assert_refuses_to_sweep(server, why="belong to another" if is_marked else "does not know")
        assert_all_there(server, {})
        others = add_files(server, 1)
        assert doctor_line(data).startswith("fix ")
    assert doctor_line(data).startswith("fix " if is_marked else "note")
    move_database(data, tmp_path / "empty")
    move_database(tmp_path / "away", data)
    with serving(data, **OFF) as server:
        assert_all_there(server, files)
        server.wait_for_file(data / "blobs" / "database-id")
        assert doctor_line(data).startswith("ok ")
    move_database(data, tmp_path / "away")
    move_database(tmp_path / "empty", data)
    with serving(data, **OFF) as server:
        assert_all_there(server, others)


def test_database_url_that_is_set_and_unset_loses_no_file(tmp_path: Path, postgres: PostgresServer) -> None:
    data, other = tmp_path / "data", {"LOCUM_DATABASE_URL": postgres.create()}
    with serving(data, **OFF) as server:
        files = add_files(server)
    with serving(data, **OFF, **other) as server:
        assert_refuses_to_sweep(server)
        others = add_files(server)
    assert "belong to another database" in doctor_line(data, **other)
    with serving(data, **OFF) as server:
        assert_all_there(server, files)
    with serving(data, **OFF, **other) as server:
        assert_all_there(server, others)


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_deployments_that_share_a_place_by_mistake_lose_no_file(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "file":
        env = {"LOCUM_BLOB_URL": (tmp_path / "shared").as_uri(), **OFF}
    else:
        s3: S3Server = request.getfixturevalue("s3")
        env = {"LOCUM_BLOB_URL": f"s3://{BUCKET}/files", **OFF, **s3.env}
    with serving(tmp_path / "one", **env) as one:
        files = add_files(one)
        with serving(tmp_path / "two", **env) as two:
            assert_refuses_to_sweep(two)
            others = add_files(two)
            assert_all_there(one, files)
        one.stop()
        one.start()
        assert_all_there(one, files)
    with serving(tmp_path / "two", **env) as two:
        assert_all_there(two, others)


def test_operator_makes_the_configured_database_the_owner(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, **OFF) as server:
        add_files(server)
        assert "in use" in locum("migrate", "--adopt-blobs", "--data-dir", "data", cwd=tmp_path).stderr
    move_database(data, tmp_path / "away")
    former = (data / "blobs" / "database-id").read_text().strip()
    for is_first in (True, False):
        output = locum("migrate", "--adopt-blobs", "--data-dir", "data", cwd=tmp_path).stdout
        assert (f"no longer {former}" in output) == is_first
        assert "database-id names this database now" in output
    assert doctor_line(data).startswith("ok ")
    with serving(data, **OFF) as server, server.openai() as api:
        add_files(server)
        assert len(api.files.list().data) == 5
    assert not re.search("another database", server.output)


def test_deleted_file_goes_to_the_trash_or_at_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for days, kept in (("7", 1), ("0", 0)):
        with serving(data, LOCUM_BLOB_KEEP_DAYS=days, **OFF) as server, server.openai() as api:
            (file_id,) = add_files(server, 1)
            key = file_id.removeprefix("file-")
            api.files.delete(file_id)
            with pytest.raises(openai.NotFoundError):
                api.files.content(file_id)
        assert [*(data / "blobs").glob(f"??/{key}")] == []
        assert len([*(data / "blobs" / "deleted").glob(f"*/{key}")]) == kept
