"""A server whose model is a scripted one."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.models.upstream import ScriptedUpstream
from tests.serving import ServerProcess

TABLE_OF_EVERY_RUN = "test_a_run_with_tools_survives_a_crash_at_every_point[sqlite-code]"
SLOW_ON_BOTH = {
    "test_files_of_earlier_runs_come_back_into_a_session_that_is_built_anew[postgresql]",
    "test_rows_make_sense_whatever_happens[postgresql]",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the crash tables one is tried in every run, on one database; all in the long one, with what is slow twice."""
    for item in items:
        is_of_the_tables = item.path.name == "test_crashes.py"
        if (is_of_the_tables and item.name != TABLE_OF_EVERY_RUN) or item.name in SLOW_ON_BOTH:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """The variables that choose a database; who takes this runs on both."""
    return {} if request.param == "sqlite" else {"LOCUM_DATABASE_URL": request.getfixturevalue("postgres").create()}


@pytest.fixture
def own_database(request: pytest.FixtureRequest, database: dict[str, str]) -> dict[str, str]:
    """The same, but no other test's rows are in it."""
    return {"LOCUM_DATABASE_URL": request.getfixturevalue("postgres").create()} if database else {}


@pytest.fixture(scope="module")
def scripted_server(
    request: pytest.FixtureRequest,
    upstream: ScriptedUpstream,
    database: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServerProcess]:
    """Its model is `upstream`; runs expire after a minute, so that a test that went wrong ends. There is a sandbox
    where the module says RUNS_CODE: it takes longer to start than all else."""
    data_dir = tmp_path_factory.mktemp("scripted") / "data"
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_RUN_EXPIRY_SECONDS": "60", **database}
    if not getattr(request.module, "RUNS_CODE", False):
        env["LOCUM_SANDBOX"] = "off"
    with ServerProcess(data_dir, env=env) as server:
        yield server


@pytest.fixture(autouse=True)
def _fresh_script(upstream: ScriptedUpstream) -> None:
    """What a test did not use up is not the next one's."""
    upstream.answer = None
    upstream.forget()


@pytest.fixture
def api(scripted_server: ServerProcess, _fresh_script: None) -> Iterator[openai.AzureOpenAI]:
    with scripted_server.azure(max_retries=0) as client:
        yield client


@pytest.fixture
def assistant(api: openai.AzureOpenAI) -> str:
    return api.beta.assistants.create(model="gpt-4o", instructions="Be brief.", tools=[{"type": "code_interpreter"}]).id


@pytest.fixture
def thread(api: openai.AzureOpenAI) -> str:
    return api.beta.threads.create(messages=[{"role": "user", "content": "hello"}]).id
