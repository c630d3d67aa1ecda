"""`locum migrate`: from whatever revision to this release's."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from locum.store.migrations import HEAD, upgrade
from locum.store.sqlite import sqlite_engine
from tests.cli.commands import assert_one_line, locum, said
from tests.databases import PostgresServer
from tests.serving import ServerProcess


def database_of_the_first_release(path: Path) -> None:
    """With the key of the settings in it."""
    engine = sqlite_engine(path)
    with engine.begin() as connection:
        upgrade(connection, to="0001")
        connection.execute(sa.text("INSERT INTO keys VALUES ('key_default', 'default', 'abc', 1)"))
    engine.dispose()


def set_revision(path: Path, revision: str) -> None:
    engine = sqlite_engine(path)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    engine.dispose()


def test_an_empty_directory_gets_a_database_which_then_is_left_alone(tmp_path: Path) -> None:
    assert f"from empty to revision {HEAD}" in said("migrate", "--data-dir", "data", cwd=tmp_path)
    assert f"at revision {HEAD} already" in said("migrate", "--data-dir", "data", cwd=tmp_path)


def test_a_database_of_the_first_release_keeps_what_it_has(tmp_path: Path) -> None:
    database_of_the_first_release(tmp_path / "locum.db")
    assert f"from revision 0001 to revision {HEAD}" in said("migrate", "--data-dir", ".", cwd=tmp_path)
    (row,) = said("keys", "list", "--data-dir", ".", cwd=tmp_path).splitlines()[1:]
    assert row.split()[:2] == ["key_default", "default"]
    assert row.endswith("LOCUM_API_KEY")


def test_a_database_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    said("migrate", "--data-dir", ".", cwd=tmp_path)
    set_revision(tmp_path / "locum.db", "9999")
    assert_one_line(locum("migrate", "--data-dir", ".", cwd=tmp_path), "newer version of Locum")


def test_a_running_server_is_not_disturbed(server: ServerProcess, tmp_path: Path) -> None:
    done = locum("migrate", "--data-dir", str(server.data_dir), cwd=tmp_path)
    assert_one_line(done, "in use by another Locum process")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "locum.db").write_text("not a database" * 100)
    assert_one_line(locum("migrate", "--data-dir", ".", cwd=tmp_path), "locum.db", "not a database")


def test_postgresql_is_brought_up_to_date_and_its_password_is_not_shown(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    url = sa.make_url(postgres.create()).set(password="secret").render_as_string(hide_password=False)
    text = said("migrate", cwd=tmp_path, LOCUM_DATABASE_URL=url)
    assert f"from empty to revision {HEAD}" in text
    assert "secret" not in text
    assert f"at revision {HEAD} already" in said("migrate", cwd=tmp_path, LOCUM_DATABASE_URL=url)


def test_a_postgresql_that_is_away_is_named_in_one_line(tmp_path: Path) -> None:
    done = locum("migrate", cwd=tmp_path, LOCUM_DATABASE_URL="postgresql://u:secret@127.0.0.1:9/x")
    assert_one_line(done, "127.0.0.1:9", "cannot be used")
    assert "secret" not in done.stderr
