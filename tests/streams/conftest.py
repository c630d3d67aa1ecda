"""A server whose model is a scripted one, on SQLite."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.models.upstream import ScriptedUpstream
from tests.serving import ServerProcess


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def scripted(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Runs expire after a minute, so that a test that went wrong ends."""
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_RUN_EXPIRY_SECONDS": "60", "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path_factory.mktemp("scripted") / "data", env=env) as server:
        yield server


@pytest.fixture
def api(scripted: ServerProcess, upstream: ScriptedUpstream) -> Iterator[openai.OpenAI]:
    upstream.answer = None
    upstream.forget()
    with scripted.openai(max_retries=0) as client:
        yield client


@pytest.fixture
def assistant(api: openai.OpenAI) -> str:
    function = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "code_interpreter"}, {"type": "function", "function": function}]
    return api.beta.assistants.create(model="m", tools=tools).id  # type: ignore[arg-type]


@pytest.fixture
def thread(api: openai.OpenAI) -> str:
    return api.beta.threads.create(messages=[{"role": "user", "content": "hello"}]).id
