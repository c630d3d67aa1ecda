"""Errors of model servers: the caller reads a safe sentence, the log has the server's address and words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from locum.app.adapters import explains_errors
from locum.settings import Settings
from tests.models.upstream import Cut, Raw, ScriptedUpstream, Status
from tests.search.embedding_server import EmbeddingServer
from tests.serving import ServerProcess

KEY = "sk-right-key-of-this-test"
SECRET = "node-7.internal"
"""Word of the model server that no caller may read."""
BODY = {"error": {"message": f"worker on {SECRET} is sick"}}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def keyed(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a key, which explains nothing to callers."""
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_API_KEY": KEY, "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path_factory.mktemp("keyed") / "data", env=env) as server:
        yield server


def failed_run(server: ServerProcess, upstream: ScriptedUpstream, replies: list[Any]) -> tuple[str, str]:
    """Let a streamed run fail with these replies; return its id and all that its caller can read of it."""
    upstream.forget()
    upstream.script(replies)
    with server.openai(api_key=KEY, max_retries=0) as api:
        assistant = api.beta.assistants.create(model="gpt-4o").id
        thread = api.beta.threads.create(messages=[{"role": "user", "content": "hello"}]).id
        with api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream:
            events = [event.model_dump_json() for event in stream]
        (run,) = api.beta.threads.runs.list(thread).data
        assert run.status == "failed"
        steps = api.beta.threads.runs.steps.list(run.id, thread_id=thread)
        return run.id, "\n".join([*events, run.model_dump_json(), steps.model_dump_json()])


SORRY = "Sorry, something went wrong."


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        ([Status(500, body=BODY)] * 3, f"{SORRY} The model server gave no usable answer."),
        (
            [Status(429, {"Retry-After": "0"}, BODY)] * 3,
            "You exceeded your current quota, please check your plan and billing details. "
            "The model server takes no more requests at the moment.",
        ),
        ([Status(401, body=BODY)], f"{SORRY} This server is not set up for the model."),
        ([Status(307, {"Location": f"http://{SECRET}/"})], f"{SORRY} This server is not set up for the model."),
        ([Status(400, body=BODY)], f"{SORRY} The model server refused the request."),
        (
            [Raw(f"<html>{SECRET}".encode(), content_type="text/html")],
            f"{SORRY} The model server gave no usable answer.",
        ),
        (
            [Raw(f"data: {json.dumps(BODY)}\n\n".encode())],
            f"{SORRY} The model server gave no usable answer.",
        ),
        ([Cut("half an ans")], f"{SORRY} The model's answer broke off."),
    ],
)
def test_caller_reads_a_safe_sentence_and_the_log_has_the_model_servers_words(
    keyed: ServerProcess, upstream: ScriptedUpstream, replies: list[Any], message: str
) -> None:
    run_id, shown = failed_run(keyed, upstream, replies)
    address = upstream.base_url.removesuffix("/v1")
    assert f'"message":"{message}"' in shown
    for secret in (SECRET, address, "LOCUM_"):
        assert secret not in shown
    keyed.wait_for(f"run_id={run_id}")
    (line,) = [line for line in keyed.output.splitlines() if "gave no answer" in line and f"run_id={run_id}" in line]
    assert address in line
    if not isinstance(replies[0], Cut):
        assert SECRET in line


def test_setting_explains_errors_to_callers_with_a_key(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_API_KEY": KEY, "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path / "data", env={**env, "LOCUM_EXPLAIN_ERRORS": "true"}) as server:
        _, shown = failed_run(server, upstream, [Status(401, body=BODY)])
    assert SECRET in shown
    assert "check LOCUM_MODEL_API_KEY" in shown


def test_setting_hides_errors_on_a_server_without_keys(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off", "LOCUM_EXPLAIN_ERRORS": "false"}
    with ServerProcess(tmp_path / "data", env=env) as server:
        _, shown = failed_run(server, upstream, [Status(401, body=BODY)])
    assert f"{SORRY} This server is not set up for the model." in shown
    assert SECRET not in shown


def test_model_without_a_server_is_named_in_the_log_alone(tmp_path: Path) -> None:
    (tmp_path / "locum.toml").write_text('[models."mapped"]\nbase_url = "http://127.0.0.1:9/v1"\n')
    env = {"LOCUM_API_KEY": KEY, "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path / "data", env=env) as server, ScriptedUpstream() as upstream:
        run_id, shown = failed_run(server, upstream, [])
        assert f"{SORRY} This server is not set up for the model." in shown
        assert "locum.toml" not in shown
        server.wait_for(f"run_id={run_id}")
        assert "map the name in" in server.output


@pytest.mark.parametrize(
    ("setting", "keyless", "host", "explains"),
    [
        (None, True, "127.0.0.1", True),
        (None, True, "::1", True),
        (None, False, "127.0.0.1", False),
        (None, False, "0.0.0.0", False),
        (True, False, "0.0.0.0", True),
        (False, True, "127.0.0.1", False),
    ],
)
def test_errors_are_explained_by_default_where_all_callers_are_at_this_machine(
    setting: bool | None, keyless: bool, host: str, explains: bool
) -> None:
    settings = Settings(explain_errors=setting, host=host)
    assert explains_errors(settings, keyless=keyless) is explains


def test_file_and_search_show_nothing_of_the_embedding_server(tmp_path: Path) -> None:
    with EmbeddingServer() as embedder:
        embedder.trouble.extend([Status(401, body=BODY)] * 100)
        env = {
            "LOCUM_API_KEY": KEY,
            "LOCUM_SANDBOX": "off",
            "LOCUM_EMBEDDING_BASE_URL": embedder.base_url,
            "LOCUM_EMBEDDING_MODEL": "m",
            "LOCUM_RERANK_BASE_URL": embedder.base_url,
            "LOCUM_RERANK_MODEL": "m",
        }
        with ServerProcess(tmp_path / "data", env=env) as server, server.openai(api_key=KEY) as api:
            store = api.vector_stores.create().id
            file = api.files.create(file=("a.txt", b"some words"), purpose="assistants").id
            failed = api.vector_stores.files.create_and_poll(file, vector_store_id=store)
            assert failed.last_error is not None
            assert (failed.last_error.code, failed.last_error.message) == (
                "server_error",
                "An internal error occurred. This server is not set up for the model.",
            )
            page = api.vector_stores.search(store, query="words").model_dump_json()
            assert SECRET not in page
            assert embedder.base_url not in page
            server.wait_for(f"file_id={file}")
            (line,) = [line for line in server.output.splitlines() if f"file_id={file}" in line]
            assert SECRET in line
            assert embedder.base_url in line
