"""`locum doctor`: one line for each thing the server stands on, and the fix of what is wrong."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from locum.cli.doctor import about_sqlite, about_stored_files
from locum.store.migrations import HEAD, upgrade
from locum.store.sqlite import sqlite_engine
from tests.certificates import Certificate
from tests.cli.commands import assert_one_line, locum
from tests.databases import PostgresServer
from tests.models.upstream import ScriptedUpstream, Status, Text
from tests.search.embedding_server import EmbeddingServer
from tests.search.model_directory import make_model
from tests.search.rerank_server import RerankServer
from tests.serving import ServerProcess

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def examined(*options: str, cwd: Path, fails: bool = False, **env: str) -> dict[str, tuple[str, str]]:
    """What the doctor says: about -> mark and words. The port is a free one unless it is what matters."""
    done = locum("doctor", *options, cwd=cwd, **{"LOCUM_PORT": "0", "LOCUM_SANDBOX": "off", **env})
    assert done.returncode == int(fails), done.stdout + done.stderr
    assert done.stderr == ""
    return {line[6:22].strip(): (line[:4].strip(), line[24:]) for line in done.stdout.splitlines()}


def assert_fix(found: tuple[str, str], *words: str) -> None:
    assert found[0] == "fix"
    for word in words:
        assert word in found[1]


def test_a_healthy_machine_has_nothing_to_fix_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    found = examined(cwd=tmp_path, LOCUM_SANDBOX="auto", TMPDIR=str(tmp_path / "tmp"))
    things = (
        "Python, SQLite, Data directory, Disk space, Database, Stored files, Code interpreter, Its Python, CJK fonts, "
        "Model, File search, File parser, Port"
    )
    assert list(found) == things.split(", ")
    documented = re.findall(r"^\| ([^|]+) \|", OPERATIONS.read_text().partition("## What is wrong")[2], re.MULTILINE)
    assert {*found, "API key", "Search data", "Reranker", "Query rewriting"} <= {
        about for line in documented for about in line.split(", ")
    }
    assert found["Code interpreter"] == ("ok", "namespaces: each session has its own namespaces and system call filter")
    assert "will be made" in found["Data directory"][1]
    assert "demo model" in found["Model"][1]
    assert found["File search"][0] == "note"
    assert "by words alone: set LOCUM_EMBEDDING_BASE_URL" in found["File search"][1]
    assert found["File parser"] == found["Code interpreter"]
    assert not (tmp_path / "locum-data").exists()
    assert [path.name for path in (tmp_path / "tmp").iterdir() if path.name.startswith("locum")] == []


@pytest.mark.long
def test_scripts_that_charts_have_letters_for_are_named(tmp_path: Path) -> None:
    found = examined(cwd=tmp_path, LOCUM_SANDBOX="auto")
    assert found["CJK fonts"] == ("ok", "Korean, Japanese, Chinese")  # noto-cjk-sans-otc is a dependency of the tests
    assert found["Its Python"][0] == "ok"


def test_what_the_python_of_the_sessions_lacks_is_named(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    found = examined(cwd=tmp_path, LOCUM_SANDBOX="auto", LOCUM_SANDBOX_PYTHON=str(tmp_path / "bare"))
    mark, words = found["Its Python"]
    assert mark == "note"
    assert f"({tmp_path}/bare/bin/python)" in words
    assert "numpy, pandas, matplotlib" in words
    assert found["CJK fonts"] == ("note", "there is no matplotlib to draw with")


def test_a_python_that_is_none_is_to_be_fixed(tmp_path: Path) -> None:
    found = examined(cwd=tmp_path, LOCUM_SANDBOX="auto", LOCUM_SANDBOX_PYTHON=str(tmp_path / "no"), fails=True)
    assert_fix(found["Code interpreter"], "LOCUM_SANDBOX_PYTHON", f"{tmp_path}/no does not exist")


def test_a_code_interpreter_that_was_switched_off_is_no_fault(tmp_path: Path) -> None:
    found = examined(cwd=tmp_path)
    for about in ("Code interpreter", "File parser"):
        mark, words = found[about]
        assert mark == "note"
        assert "LOCUM_SANDBOX=auto" in words
    assert "only plain text in UTF-8 or UTF-16 can be searched" in found["File parser"][1]


def test_the_parser_says_that_the_python_of_the_sessions_is_not_its_own(tmp_path: Path) -> None:
    _, words = examined(cwd=tmp_path, LOCUM_SANDBOX_PYTHON=sys.executable)["File parser"]
    assert f"LOCUM_SANDBOX_PYTHON is not asked: the parser is in the server's own, {sys.executable}" in words


@pytest.mark.parametrize(("version", "mark"), [((3, 40, 1), "note"), ((3, 51, 2), "note"), ((3, 51, 3), "ok")])
def test_an_older_sqlite_is_a_note_only(version: tuple[int, ...], mark: str) -> None:
    finding = about_sqlite(version)
    assert finding.mark == mark
    assert ("not exposed" in finding.words) == (mark == "note")


def test_a_running_server_is_recognised_and_not_disturbed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": "off"}) as server:
        port = server.azure_endpoint.rpartition(":")[2]
        found = examined("--data-dir", "data", "--port", port, cwd=tmp_path)
        assert f"process {server.pid}" in found["Data directory"][1]
        assert found["Database"] == ("ok", f"SQLite in data/locum.db, revision {HEAD}")
        assert found["Port"] == ("ok", f"{port} on 127.0.0.1, where the server answers")
        assert_fix(examined("--port", port, cwd=tmp_path, fails=True)["Port"], "in use", "--port")
    found = examined("--data-dir", "data", cwd=tmp_path)
    assert "no server is running" in found["Data directory"][1]
    assert found["Database"] == ("ok", f"SQLite in data/locum.db, revision {HEAD}")


def test_server_with_tls_is_recognised(tmp_path: Path) -> None:
    tls = Certificate(tmp_path / "tls", address=None).env
    with ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": "off", **tls}) as server:
        port = server.azure_endpoint.rpartition(":")[2]
        words = examined("--data-dir", "data", "--port", port, cwd=tmp_path, **tls)["Port"]
        assert words == ("ok", f"{port} on 127.0.0.1, where the server answers")


def test_damaged_databases_are_to_be_restored_or_removed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": "off"}):
        pass
    for name in ("locum.db", "search.db"):
        (tmp_path / "data" / name).write_bytes(b"not a database" * 1000)
    findings = examined("--data-dir", "data", cwd=tmp_path, fails=True)
    assert_fix(findings["Database"], "data/locum.db is damaged (file is not a database)", "restore a backup")
    assert_fix(findings["Search data"], "data/search.db is damaged", "remove the file")
    assert_one_line(locum("keys", "list", "--data-dir", "data", cwd=tmp_path), "data/locum.db is damaged")


def test_short_key_is_to_be_replaced_on_an_address_others_can_reach(tmp_path: Path) -> None:
    findings = examined("--host", "0.0.0.0", cwd=tmp_path, fails=True, LOCUM_API_KEY="short")
    assert_fix(findings["API key"], "LOCUM_API_KEY has 5 characters", "at least 16")
    assert "API key" not in examined(cwd=tmp_path, LOCUM_API_KEY="short")


@pytest.mark.parametrize(
    ("owner", "database_id", "is_empty", "is_served", "mark", "words"),
    [
        (None, None, True, False, "ok", "none yet"),
        (None, "db_1", False, False, "note", "/x/database-id is missing: the next start writes it if"),
        (None, "db_1", False, True, "fix", "/x/database-id is missing"),
        ("db_1", "db_1", False, True, "ok", "belong to the configured database"),
        ("db_2", "db_1", False, True, "fix", "/x/database-id names db_2, and db_1 is configured"),
        ("db_2", None, False, False, "fix", "/x/database-id names db_2, and the configured one is new"),
    ],
)
def test_stored_files_of_another_database_are_to_be_fixed(
    owner: str | None, database_id: str | None, is_empty: bool, is_served: bool, mark: str, words: str
) -> None:
    finding = about_stored_files(owner, database_id, marker="/x/database-id", is_empty=is_empty, is_served=is_served)
    assert finding.mark == mark
    assert words in finding.words
    assert (mark == "fix") == ("locum migrate --adopt-blobs" in finding.words)


def test_a_port_taken_by_another_program_is_to_be_changed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_fix(examined(cwd=tmp_path, fails=True, LOCUM_PORT=port)["Port"], port, "in use", "LOCUM_PORT")


def test_an_address_of_another_machine_is_to_be_changed(tmp_path: Path) -> None:
    port = examined("--host", "192.0.2.1", "--port", "8000", cwd=tmp_path, fails=True)["Port"]
    assert_fix(port, "192.0.2.1", "--host")


def test_a_data_directory_that_is_a_file_is_to_be_changed(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert_fix(examined("--data-dir", "data", cwd=tmp_path, fails=True)["Data directory"], "data", "--data-dir")


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "locum.db").write_text("not a database" * 100)
    assert_fix(examined("--data-dir", ".", cwd=tmp_path, fails=True)["Database"], "locum.db", "not a database")


def test_a_database_of_an_older_release_is_a_note(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "locum.db")
    with engine.begin() as connection:
        upgrade(connection, to="0001")
    engine.dispose()
    for _ in range(2):
        mark, words = examined("--data-dir", ".", cwd=tmp_path)["Database"]
        assert mark == "note"
        assert "0001" in words
        assert "locum migrate" in words


def test_a_postgresql_is_looked_at_and_left_as_it_is(postgres: PostgresServer, tmp_path: Path) -> None:
    url = sa.make_url(postgres.create()).set(password="secret").render_as_string(hide_password=False)
    for _ in range(2):
        mark, words = examined(cwd=tmp_path, LOCUM_DATABASE_URL=url)["Database"]
        assert mark == "ok"
        assert "still empty" in words
        assert "secret" not in words


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("postgresql://u:secret@127.0.0.1:9/x", "cannot be used"),
        ("mysql://u:secret@127.0.0.1/x", "postgresql://"),
        ("nonsense", "postgresql://"),
    ],
)
def test_a_database_that_cannot_be_reached_is_named_without_its_password(url: str, word: str, tmp_path: Path) -> None:
    database = examined(cwd=tmp_path, fails=True, LOCUM_DATABASE_URL=url)["Database"]
    assert_fix(database, word)
    assert "secret" not in database[1]


def test_a_model_server_that_answers_is_fine(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.models = ["a", "b:latest"]
        env = {"LOCUM_MODEL_BASE_URL": upstream.base_url}
        assert examined(cwd=tmp_path, **env)["Model"] == ("ok", f"{upstream.base_url} answers and lists 2 models")
        assert examined(cwd=tmp_path, **env, LOCUM_MODEL="b")["Model"][0] == "ok"


def test_a_wrong_address_key_or_model_is_named_with_its_setting(tmp_path: Path) -> None:
    away = examined(cwd=tmp_path, fails=True, LOCUM_MODEL_BASE_URL="http://127.0.0.1:9/v1")["Model"]
    assert_fix(away, "127.0.0.1:9", "LOCUM_MODEL_BASE_URL")
    with ScriptedUpstream() as upstream:
        env = {"LOCUM_MODEL_BASE_URL": upstream.base_url}
        assert_fix(examined(cwd=tmp_path, fails=True, **env, LOCUM_MODEL="gtp")["Model"], "'gtp'", "LOCUM_MODEL to")
        upstream.models = Status(401)
        assert_fix(examined(cwd=tmp_path, fails=True, **env)["Model"], "401", "LOCUM_MODEL_API_KEY")
        upstream.models = Status(404)
        assert_fix(examined(cwd=tmp_path, fails=True, **env)["Model"], "404", "LOCUM_MODEL_BASE_URL")


def test_mapped_models_are_looked_for_where_they_lead(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.models = ["there"]
        (tmp_path / "locum.toml").write_text(
            f'[models."good"]\nbase_url = "{upstream.base_url}"\nmodel = "there"\n'
            f'[models."bad"]\nbase_url = "{upstream.base_url}"\nmodel = "elsewhere"\n'
        )
        found = examined(cwd=tmp_path, fails=True)
    assert found["Model good"][0] == "ok"
    assert_fix(found["Model bad"], "elsewhere", 'model in [models."bad"]', "there")


def test_a_setting_that_cannot_be_is_named_in_one_line(tmp_path: Path) -> None:
    assert_one_line(locum("doctor", cwd=tmp_path, LOCUM_PORT="http"), "LOCUM_PORT")


def test_an_embedding_server_is_tried_once_and_named(tmp_path: Path) -> None:
    with EmbeddingServer() as server:
        env = {"LOCUM_EMBEDDING_BASE_URL": server.base_url, "LOCUM_EMBEDDING_MODEL": "m"}
        mark, words = examined(cwd=tmp_path, **env)["File search"]
        assert mark == "ok"
        assert f"by words and by meaning, with m at {server.base_url} (8 dimensions)" in words
        assert "Korean" in words
        assert len(server.received) == 1
        server.trouble.append(Status(401, body={"error": {"message": "no"}}))
        assert_fix(examined(cwd=tmp_path, fails=True, **env)["File search"], "check LOCUM_EMBEDDING_API_KEY")
    assert_fix(examined(cwd=tmp_path, fails=True, LOCUM_EMBEDDING_BASE_URL="http://x/v1")["File search"], "_MODEL")


@pytest.mark.long
def test_a_model_on_this_machine_is_tried_once_and_named(tmp_path: Path) -> None:
    directory = make_model(tmp_path / "model")
    mark, words = examined(cwd=tmp_path, LOCUM_EMBEDDING_DIRECTORY=str(directory))["File search"]
    assert mark == "ok"
    assert "the model in" in words
    (directory / "model.onnx").write_bytes(b"broken")
    found = examined(cwd=tmp_path, fails=True, LOCUM_EMBEDDING_DIRECTORY=str(directory))["File search"]
    assert_fix(found, "cannot be used")
    both = {"LOCUM_EMBEDDING_DIRECTORY": str(directory), "LOCUM_EMBEDDING_BASE_URL": "http://x/v1"}
    assert_fix(examined(cwd=tmp_path, fails=True, **both)["File search"], "set one of them")


@pytest.mark.long
def test_a_reranker_is_tried_once_and_named(tmp_path: Path) -> None:
    assert "Reranker" not in examined(cwd=tmp_path)
    with RerankServer() as server:
        env = {"LOCUM_RERANK_BASE_URL": server.base_url, "LOCUM_RERANK_MODEL": "judge"}
        assert examined(cwd=tmp_path, **env)["Reranker"] == (
            "ok",
            "judge answers, and decides the order of what is found",
        )
        assert [asked["model"] for asked in server.asked] == ["judge"]
        server.trouble = Status(401)
        found = examined(cwd=tmp_path, fails=True, **env)["Reranker"]
        assert_fix(found, "status 401", "LOCUM_RERANK_API_KEY", "keep the order")
    assert_fix(examined(cwd=tmp_path, fails=True, **env)["Reranker"], "cannot be reached", "LOCUM_RERANK_BASE_URL")
    found = examined(cwd=tmp_path, fails=True, LOCUM_RERANK_BASE_URL="http://x/v1")["Reranker"]
    assert_fix(found, "needs LOCUM_RERANK_MODEL")


@pytest.mark.long
def test_a_model_that_rewrites_queries_is_tried_once_and_named(tmp_path: Path) -> None:
    env = {"LOCUM_SEARCH_REWRITE_MODEL": "small"}
    mark, words = examined(cwd=tmp_path, **env)["Query rewriting"]
    assert (mark, words) == ("note", "the demo model rewrites no queries: they are searched as they are asked")
    with ScriptedUpstream() as upstream:
        env["LOCUM_MODEL_BASE_URL"] = upstream.base_url
        upstream.models = ["small"]
        upstream.answer = lambda body: Text("location of the key")
        found = examined(cwd=tmp_path, **env)["Query rewriting"]
        assert found == ("ok", "small answers, where a search says rewrite_query")
        assert len(upstream.requests) == 1
        upstream.answer = lambda body: Text("The key is under the mat. " * 20)
        found = examined(cwd=tmp_path, fails=True, **env)["Query rewriting"]
        assert_fix(found, "no query", "LOCUM_SEARCH_REWRITE_MODEL")
