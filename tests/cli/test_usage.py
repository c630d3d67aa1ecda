"""`locum usage`: with a server that runs, and without one."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from locum.domain.usage import SessionUsage
from locum.store import usage as store
from locum.store.sqlite import SQLite
from tests.cli.commands import assert_one_line, locum, said
from tests.databases import PostgresServer
from tests.serving import ServerProcess, serving

NOVEMBER_20 = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp())
DAY = 86_400


def usage(data_dir: Path, *options: str, **env: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(
        said("usage", "--json", "--data-dir", str(data_dir), *options, cwd=data_dir.parent, **env)
    )
    return rows


def solve(server: ServerProcess, key: str = "any") -> str:
    """A run of the demo model that calls the code interpreter once; its thread."""
    with server.openai(api_key=key) as client:
        assistant = client.beta.assistants.create(model="demo", tools=[{"type": "code_interpreter"}]).id
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "solve x + 1 = 2"}]).id
        run = client.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
        assert run.status == "completed", run.last_error
        return thread


def test_what_resources_and_threads_used_is_told_by_a_running_server_and_without_one(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        ann, bob = (
            said("keys", "create", "--resource", name, cwd=tmp_path, LOCUM_DATA_DIR="data").strip()
            for name in ("ann", "bob")
        )
        threads = [solve(server, ann), solve(server, ann), solve(server, bob)]
        by_resource = usage(server.data_dir)
        assert [(row["resource"], row["sessions"], row["hours"], row["cells"]) for row in by_resource] == [
            ("ann", 2, 2, 2),
            ("bob", 1, 1, 1),
        ]
        assert all(0 <= row["cpu_seconds"] < 30 and row["peak_memory_bytes"] > 0 for row in by_resource)
        with server.openai(api_key=ann) as client:
            client.beta.threads.delete(threads[0])
    by_thread = usage(server.data_dir, "--by", "thread")
    assert [row["thread_id"] for row in by_thread] == [*sorted(threads[:2]), threads[2]]


def record(data_dir: Path, *sessions: tuple[str, str, SessionUsage]) -> None:
    async def write() -> None:
        db = SQLite(data_dir / "locum.db")
        for resource, thread, used in sessions:
            await db.write(lambda conn, row=(resource, thread, used): store.record(conn, *row))  # type: ignore[misc]
        await db.close()

    data_dir.mkdir(exist_ok=True)
    asyncio.run(write())


def session(name: str, opened_at: int, **figures: Any) -> SessionUsage:
    defaults = {"last_used_at": opened_at, "cells": 1, "cpu_seconds": 1.5, "peak_memory_bytes": 64 * 1024**2}
    return SessionUsage(instance=name, opened_at=opened_at, **{**defaults, **figures})


@pytest.fixture
def booked(tmp_path: Path) -> Path:
    """A data directory in which three sessions are recorded."""
    data_dir = tmp_path / "data"
    record(
        data_dir,
        ("ann", "thread_1", session("a", NOVEMBER_20 - 1)),
        ("ann", "thread_2", session("b", NOVEMBER_20, last_used_at=NOVEMBER_20 + 7200, cells=12, cpu_seconds=90.25)),
        ("bob", "thread_3", session("c", NOVEMBER_20 + DAY, peak_memory_bytes=1024**3)),
    )
    return data_dir


def lines(data_dir: Path, *options: str) -> list[list[str]]:
    return [line.split() for line in said("usage", "--data-dir", str(data_dir), *options, cwd=data_dir).splitlines()]


def test_the_table_has_a_line_for_each_and_a_total(booked: Path) -> None:
    assert lines(booked) == [
        ["RESOURCE", "SESSIONS", "HOURS", "CELLS", "CPU", "SECONDS", "PEAK", "MIB"],
        ["ann", "2", "4", "13", "91.75", "64"],
        ["bob", "1", "1", "1", "1.50", "1024"],
        ["TOTAL", "3", "5", "14", "93.25", "1024"],
    ]
    assert lines(booked, "--by", "day")[1:-1] == [
        ["2026-11-19", "1", "1", "1", "1.50", "64"],
        ["2026-11-20", "1", "3", "12", "90.25", "64"],
        ["2026-11-21", "1", "1", "1", "1.50", "1024"],
    ]
    assert lines(booked, "--by", "thread", "--resource", "bob") == [
        ["RESOURCE", "THREAD", "SESSIONS", "HOURS", "CELLS", "CPU", "SECONDS", "PEAK", "MIB"],
        ["bob", "thread_3", "1", "1", "1", "1.50", "1024"],
    ]


def test_since_is_the_beginning_of_a_day_in_utc(booked: Path) -> None:
    assert [row["day"] for row in usage(booked, "--by", "day", "--since", "2026-11-20", TZ="Asia/Seoul")] == [
        "2026-11-20",
        "2026-11-21",
    ]


def test_that_nothing_was_used_is_said(tmp_path: Path) -> None:
    record(tmp_path / "data")
    done = locum("usage", "--data-dir", "data", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "No session" in done.stderr


def test_a_directory_named_wrongly_is_not_made_to_find_nothing_in_it(tmp_path: Path) -> None:
    assert_one_line(locum("usage", "--data-dir", "wrong", cwd=tmp_path), "wrong", "--data-dir")
    assert list(tmp_path.iterdir()) == []


def test_a_date_that_is_none_is_named(booked: Path) -> None:
    done = locum("usage", "--since", "yesterday", "--data-dir", str(booked), cwd=booked)
    assert done.returncode == 2
    assert "yesterday" in done.stderr


@pytest.mark.long
def test_usage_in_postgresql_is_told_wherever_the_command_runs(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.create()
    with serving(tmp_path / "data", LOCUM_DATABASE_URL=url) as server:
        thread = solve(server)
    (tmp_path / "elsewhere").mkdir()
    (row,) = usage(tmp_path / "elsewhere", "--by", "thread", LOCUM_DATABASE_URL=url)
    assert (row["thread_id"], row["sessions"], row["cells"]) == (thread, 1, 1)
