"""`/metrics` of a real server, read by Prometheus' own parser."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from locum import __version__
from tests.api.edge import EdgeServer
from tests.cli.commands import said
from tests.engine.test_code_interpreter import sandboxd_of
from tests.ingestion.ingesting import Ingestion, opened
from tests.models.upstream import Call, Hang, ScriptedUpstream, Text
from tests.sandbox.conftest import wait_until
from tests.serving import ServerProcess, serving


def scrape(server: ServerProcess, key: str | None = None) -> dict[str, Metric]:
    request = urllib.request.Request(server.azure_endpoint + "/metrics")
    if key is not None:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request) as response:
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return {family.name: family for family in text_string_to_metric_families(response.read().decode())}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    (found,) = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return found


def status_of(server: ServerProcess, key: str | None = None) -> int:
    try:
        scrape(server, key)
    except HTTPError as error:
        with error:
            return error.code
    return 200


def converse(server: ServerProcess, upstream: ScriptedUpstream, *codes: str) -> str:
    """A run that makes a call with each code; its thread."""
    upstream.script([*(Call("code_interpreter", {"code": code}) for code in codes), Text("Done.")])
    with server.openai() as client:
        assistant = client.beta.assistants.create(model="m", tools=[{"type": "code_interpreter"}]).id
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "go"}]).id
        run = client.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
        assert run.status == "completed", run.last_error
        return thread


def test_what_happens_to_sessions_and_cells_is_counted(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream, serving(tmp_path / "data", LOCUM_MODEL_BASE_URL=upstream.base_url) as server:
        burn = "import time\nwhile time.process_time() < 0.2: pass"
        kept = converse(server, upstream, burn, "1 / 0", "import os; os._exit(1)", "1")
        deleted = converse(server, upstream, "2")
        with server.openai() as client:
            client.beta.threads.delete(deleted)
        families = scrape(server)
        text = str(families)

    assert value(families, "locum_info", version=__version__) == 1
    (info,) = families["locum_sandbox_info"].samples
    assert info.labels == {
        "tier": "namespaces",
        "reason": "each session has its own namespaces and system call filter",
    }
    assert value(families, "locum_sandbox_sessions") == 1
    assert value(families, "locum_sandbox_busy_sessions") == 0
    assert value(families, "locum_sandbox_sessions_opened_total") == 2
    ended = {sample.labels["reason"]: sample.value for sample in families["locum_sandbox_sessions_ended"].samples}
    assert ended == {"idle": 0, "evicted": 0, "died": 1, "deleted": 1}
    cells = {sample.labels["outcome"]: sample.value for sample in families["locum_sandbox_cells"].samples}
    assert cells == {"ok": 3, "error": 1, "timeout": 0, "interrupted": 0, "died": 1}
    assert value(families, "locum_sandbox_cpu_seconds_total") > 0.15
    assert value(families, "locum_sandbox_memory_bytes") > 0
    assert value(families, "locum_sandbox_cell_seconds_count") == 5
    assert value(families, "locum_sandbox_cell_seconds_sum") > 0.15
    assert value(families, "locum_sandbox_cell_seconds_bucket", le="0.1") <= 4
    assert value(families, "locum_sandbox_session_start_seconds_count") == 3
    for name in ("cell_seconds", "session_start_seconds"):
        buckets = [s.value for s in families[f"locum_sandbox_{name}"].samples if s.name.endswith("_bucket")]
        assert buckets == sorted(buckets)
        assert buckets[-1] == value(families, f"locum_sandbox_{name}_count")
    assert value(families, "process_resident_memory_bytes") > 10 * 1024**2
    assert kept not in text
    assert deleted not in text


def test_runs_that_are_not_over_and_their_streams_are_counted(tmp_path: Path) -> None:
    env: dict[str, Any] = {"LOCUM_SANDBOX": "off"}
    with (
        ScriptedUpstream() as upstream,
        serving(tmp_path / "data", LOCUM_MODEL_BASE_URL=upstream.base_url, **env) as server,
        server.openai() as client,
    ):
        upstream.script([Hang("x")])
        assistant = client.beta.assistants.create(model="m").id
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "go"}]).id
        with client.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant) as stream:
            next(event for event in stream if event.event == "thread.message.delta")
            families = scrape(server)
            assert value(families, "locum_runs", status="in_progress") == 1
            assert value(families, "locum_runs", status="queued") == 0
            assert value(families, "locum_streams") == 1
        wait_until(lambda: value(scrape(server), "locum_streams") == 0)


def test_files_that_are_ingested_are_counted(tmp_path: Path) -> None:
    async def prepare() -> None:
        async with opened(tmp_path / "data") as (db, data):
            ingestion = Ingestion(db, data, tmp_path / "data")
            store = await ingestion.make_store()
            await ingestion.add(store, [await ingestion.upload(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old.doc")])
            await ingestion.close()

    (tmp_path / "data").mkdir()
    asyncio.run(prepare())
    with serving(tmp_path / "data", LOCUM_SANDBOX="off") as server:
        wait_until(lambda: value(scrape(server), "locum_files_ingested_total", outcome="unsupported_file") == 1)
        families = scrape(server)
    assert value(families, "locum_files_to_ingest") == 0
    for other in ("completed", "invalid_file", "server_error"):
        assert value(families, "locum_files_ingested_total", outcome=other) == 0


def test_without_a_sandbox_the_reason_is_told_and_nothing_of_sessions(tmp_path: Path) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off") as server:
        families = scrape(server)
    (info,) = families["locum_sandbox_info"].samples
    assert info.labels["tier"] == "off"
    assert info.labels["reason"] == "it is switched off by the settings. Fix: set LOCUM_SANDBOX=auto"
    assert [name for name in families if name.startswith("locum_sandbox")] == ["locum_sandbox_info"]


def test_figures_of_all_resources_need_the_owners_key_or_one_made_for_it(tmp_path: Path) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off", LOCUM_API_KEY="secret") as server:
        where = ("--data-dir", str(server.data_dir), "--resource", "watch")
        other = said("keys", "create", *where, cwd=tmp_path).strip()
        made_for_it = said("keys", "create", "--allow", "metrics:read", *where, cwd=tmp_path).strip()
        keys = [None, "wrong", other, made_for_it, "secret"]
        assert [status_of(server, key) for key in keys] == [401, 401, 403, 200, 200]
        assert value(scrape(server, "secret"), "locum_rejected_keys_total") == 1
    assert server.output.count("API keys rejected") == 1


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"host": "127.0.0.1", "origin": "https://evil.example"}])
def test_a_keyless_server_shows_its_figures_to_its_own_machine_only(headers: dict[str, str], tmp_path: Path) -> None:
    with EdgeServer(tmp_path) as edge:
        assert edge.request("GET", "/metrics", headers=headers).status == 403
        assert edge.request("GET", "/metrics").status == 200


@pytest.mark.long
def test_a_sandboxd_that_is_gone_does_not_hold_a_scrape_up(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream, serving(tmp_path / "data", LOCUM_MODEL_BASE_URL=upstream.base_url) as server:
        converse(server, upstream, "1")
        os.kill(sandboxd_of(server), signal.SIGKILL)
        began = time.monotonic()
        wait_until(lambda: "locum_sandbox_sessions" not in scrape(server))
        assert time.monotonic() - began < 10
        converse(server, upstream, "1")
        assert value(scrape(server), "locum_sandbox_sessions_opened_total") == 1
