"""What Locum adds to the API: waiting, lists of threads, forks, idempotency keys, busy threads."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import openai
import pytest

from locum.access.principals import PERMISSIONS
from tests.api.edge import Answer, EdgeServer, wait_until
from tests.cli.commands import said
from tests.databases import PostgresServer
from tests.models.upstream import Call, Held, ScriptedUpstream, Text
from tests.programs import run_code
from tests.serving import ServerProcess, serving


@pytest.fixture(scope="module")
def assistant(edge: EdgeServer) -> str:
    return str(edge.request("POST", "/v1/assistants", {"model": "m"}).json["id"])


def new_thread(edge: EdgeServer, *words: str, **fields: Any) -> str:
    messages = [{"role": "user", "content": word} for word in words]
    return str(edge.request("POST", "/v1/threads", {"messages": messages, **fields}).json["id"])


def new_run(edge: EdgeServer, thread: str, assistant: str) -> str:
    return str(edge.request("POST", f"/v1/threads/{thread}/runs", {"assistant_id": assistant}).json["id"])


def messages_of(edge: EdgeServer, thread: str) -> list[dict[str, Any]]:
    return list(edge.request("GET", f"/v1/threads/{thread}/messages?order=asc&limit=100").json["data"])


def words(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"][0]["text"]["value"] for message in messages]


@contextmanager
def asking(
    server: EdgeServer | ServerProcess, method: str, path: str, body: Any = None, **headers: str
) -> Iterator[socket.socket]:
    """A request that has been sent; its answer may take a while."""
    payload = json.dumps(body).encode() if body is not None else b""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "openai-beta: assistants=v2"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    address = urlsplit(server.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as raw:
        raw.sendall("\r\n".join([*lines, f"content-length: {len(payload)}", "", ""]).encode() + payload)
        yield raw


def answer(raw: socket.socket) -> Answer:
    response = http.client.HTTPResponse(raw)
    response.begin()
    return Answer(response.status, dict(response.headers), response.read())


def is_silent(raw: socket.socket) -> bool:
    """Nothing has come yet, after a moment in which it could have."""
    raw.settimeout(0.2)
    try:
        raw.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return True
    finally:
        raw.settimeout(20)
    return False


# ---- wait


def test_a_run_can_be_waited_for(edge: EdgeServer, assistant: str) -> None:
    thread = new_thread(edge)
    run = new_run(edge, thread, assistant)
    with asking(edge, "GET", f"/v1/threads/{thread}/runs/{run}?wait=20") as raw:
        assert is_silent(raw)
        edge.change_run(run, thread_id=thread, status="failed")
        assert answer(raw).json["status"] == "failed"


def test_waiting_ends_when_the_time_is_over(edge: EdgeServer, assistant: str) -> None:
    thread = new_thread(edge)
    run = new_run(edge, thread, assistant)
    for seconds in ("0", "0.05"):
        said = edge.request("GET", f"/v1/threads/{thread}/runs/{run}?wait={seconds}")
        assert (said.status, said.json["status"]) == (200, "queued")


@pytest.mark.parametrize("seconds", ["61", "-1", "x", "1e1", "nan", "٣", "1" * 400])
def test_a_wait_that_is_no_time_is_refused(edge: EdgeServer, assistant: str, seconds: str) -> None:
    thread = new_thread(edge)
    run = new_run(edge, thread, assistant)
    said = edge.request("GET", f"/v1/threads/{thread}/runs/{run}?wait={quote(seconds)}")
    assert (said.status, said.error["param"], said.error["code"]) == (400, "wait", "invalid_value")


# ---- lists of threads


def test_threads_are_listed_and_paged(tmp_path: Path) -> None:
    with EdgeServer(tmp_path) as edge:
        threads = [new_thread(edge) for _ in range(5)]
        page = edge.request("GET", "/v1/threads?limit=2").json
        assert [each["id"] for each in page["data"]] == threads[:2:-1]
        assert page["has_more"]
        rest = edge.request("GET", f"/v1/threads?after={page['last_id']}").json
        assert [each["id"] for each in rest["data"]] == threads[2::-1]
        ascending = edge.request("GET", f"/v1/threads?order=asc&before={threads[2]}").json
        assert [each["id"] for each in ascending["data"]] == threads[:2]


def test_threads_are_found_by_their_metadata(edge: EdgeServer) -> None:
    ann = new_thread(edge, metadata={"user": "앤 & co", "kind": "a"})
    bob = new_thread(edge, metadata={"user": "bob", "kind": "a"})

    def found(**pairs: str) -> list[str]:
        query = "&".join(f"metadata[{quote(key)}]={quote(value)}" for key, value in pairs.items())
        return [each["id"] for each in edge.request("GET", f"/v1/threads?{query}").json["data"]]

    assert found(user="앤 & co") == [ann]
    assert found(kind="a") == [bob, ann]
    assert found(kind="a", user="bob") == [bob]
    assert found(kind="b") == []
    edge.request("POST", f"/v1/threads/{bob}", {"metadata": {"user": "앤 & co"}})
    assert found(user="앤 & co") == [bob, ann]
    assert found(kind="a") == [ann]
    edge.request("DELETE", f"/v1/threads/{ann}")
    assert found(user="앤 & co") == [bob]


def test_an_attachment_changes_no_label(edge: EdgeServer) -> None:
    thread = new_thread(edge, metadata={"user": "carol"})
    edge.request("POST", f"/v1/threads/{thread}", {"tool_resources": {}})
    listed = edge.request("GET", "/v1/threads?metadata[user]=carol").json["data"]
    assert [each["id"] for each in listed] == [thread]


@pytest.mark.parametrize(
    "query",
    [
        "metadata[a]=1&metadata[a]=2",
        "metadata[a]=%00",
        "metadata=a",
        "metadata[]=a",
        "metadata[a][b]=c",
        "metadata[a=b",
        "&".join(f"metadata[k{number}]=v" for number in range(17)),
        "limit=0",
        "after=thread_unknown",
    ],
)
def test_a_list_of_threads_that_cannot_be_is_refused(edge: EdgeServer, query: str) -> None:
    assert edge.request("GET", f"/v1/threads?{query}").status in (400, 404)


def test_only_a_key_that_may_lists_threads(tmp_path: Path) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off", LOCUM_API_KEY="the-owners-key") as server:
        where = ("--data-dir", str(server.data_dir))
        plain = said("keys", "create", *where, cwd=tmp_path).strip()
        allowed = said("keys", "create", "--allow", "threads:list", *where, cwd=tmp_path).strip()
        others = said("keys", "create", "--resource", "other", "--allow", "threads:list", *where, cwd=tmp_path).strip()
        with server.openai(api_key=plain) as client:
            thread = client.beta.threads.create().id

        def listed(key: str) -> list[str]:
            with server.openai(api_key=key, max_retries=0) as client:
                page = client.get("/threads", cast_to=object, options={"headers": {"OpenAI-Beta": "assistants=v2"}})
                return [each["id"] for each in page["data"]]  # type: ignore[index]

        assert listed("the-owners-key") == listed(allowed) == [thread]
        assert listed(others) == []
        with pytest.raises(openai.PermissionDeniedError, match="threads:list"):
            listed(plain)
        assert "threads:list" in said("keys", "list", *where, cwd=tmp_path)


# ---- forks


def test_a_fork_has_copies_of_all_messages(edge: EdgeServer) -> None:
    thread = new_thread(edge, "a", "b", metadata={"user": "dan"})
    fork = edge.request("POST", f"/v1/threads/{thread}/fork", {}).json
    assert fork["object"] == "thread"
    assert fork["metadata"] == {"user": "dan"}
    old, new = messages_of(edge, thread), messages_of(edge, fork["id"])
    assert words(new) == ["a", "b"]
    assert not {each["id"] for each in old} & {each["id"] for each in new}
    assert {each["thread_id"] for each in new} == {fork["id"]}
    same = ("role", "content", "attachments", "metadata", "created_at", "completed_at", "status", "assistant_id")
    assert [[each[name] for name in same] for each in new] == [[each[name] for name in same] for each in old]
    edge.request("POST", f"/v1/threads/{fork['id']}/messages", {"role": "user", "content": "c"})
    assert words(messages_of(edge, fork["id"])) == ["a", "b", "c"]
    assert words(messages_of(edge, thread)) == ["a", "b"]


def test_a_fork_ends_with_the_message_it_was_made_at(edge: EdgeServer) -> None:
    thread = new_thread(edge, "a", "b", "c")
    at = messages_of(edge, thread)[1]["id"]
    fork = edge.request("POST", f"/v1/threads/{thread}/fork", {"message_id": at, "metadata": {"new": "yes"}}).json
    assert fork["metadata"] == {"new": "yes"}
    assert words(messages_of(edge, fork["id"])) == ["a", "b"]
    listed = edge.request("GET", "/v1/threads?metadata[new]=yes").json["data"]
    assert [each["id"] for each in listed] == [fork["id"]]


def test_a_fork_keeps_the_files_of_the_thread(edge: EdgeServer, sdk: openai.OpenAI) -> None:
    file = sdk.files.create(file=("a.csv", b"a,b"), purpose="assistants").id
    resources = {"code_interpreter": {"file_ids": [file]}}
    thread = new_thread(edge, "a", tool_resources=resources)
    fork = edge.request("POST", f"/v1/threads/{thread}/fork").json
    assert fork["tool_resources"] == resources


def test_a_busy_thread_can_be_forked(edge: EdgeServer, assistant: str) -> None:
    thread = new_thread(edge, "a")
    new_run(edge, thread, assistant)
    fork = edge.request("POST", f"/v1/threads/{thread}/fork", {}).json["id"]
    assert words(messages_of(edge, fork)) == ["a"]
    assert edge.request("POST", f"/v1/threads/{fork}/messages", {"role": "user", "content": "b"}).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"message_id": "msg_unknown"}, 404),
        ({"message_id": 1}, 400),
        ({"other": 1}, 400),
        ({"metadata": {"a": 1}}, 400),
    ],
)
def test_a_fork_that_cannot_be_is_refused(edge: EdgeServer, body: dict[str, Any], status: int) -> None:
    assert edge.request("POST", f"/v1/threads/{new_thread(edge)}/fork", body).status == status


def test_a_message_of_another_thread_is_no_place_to_fork_at(edge: EdgeServer) -> None:
    other = messages_of(edge, new_thread(edge, "x"))[0]["id"]
    assert edge.request("POST", f"/v1/threads/{new_thread(edge)}/fork", {"message_id": other}).status == 404
    assert edge.request("POST", "/v1/threads/thread_unknown/fork", {}).status == 404


# ---- idempotency keys


def test_the_same_request_makes_one_object(edge: EdgeServer, assistant: str) -> None:
    thread = new_thread(edge)
    for number, (path, body) in enumerate(
        [
            ("/v1/threads", {"metadata": {"a": "b"}}),
            (f"/v1/threads/{thread}/messages", {"role": "user", "content": "once"}),
            (f"/v1/threads/{thread}/fork", {}),
            (f"/v1/threads/{thread}/runs", {"assistant_id": assistant}),
            ("/v1/threads/runs", {"assistant_id": assistant, "thread": {}}),
        ]
    ):
        key = {"Idempotency-Key": f"same-{number}-{thread}"}
        first, second = (edge.request("POST", path, body, key) for _ in range(2))
        assert (first.status, second.status) == (200, 200), path
        assert first.json == second.json
    assert words(messages_of(edge, thread)) == ["once"]


def test_assistants_and_files_are_made_once(sdk: openai.OpenAI) -> None:
    once: Any = {"Idempotency-Key": "assistant"}
    first, again = (sdk.beta.assistants.create(model="m", extra_headers=once).id for _ in range(2))
    assert first == again

    def upload(content: bytes) -> str:
        # Every request has a boundary of its own: it is what is in it that counts.
        return sdk.files.create(
            file=("a.csv", content), purpose="assistants", extra_headers={"Idempotency-Key": "file"}
        ).id

    assert upload(b"a,b") == upload(b"a,b")
    with pytest.raises(openai.BadRequestError, match="can only be used for the same request"):
        upload(b"a,c")


def test_what_is_found_again_is_the_object_as_it_is_now(edge: EdgeServer) -> None:
    key = {"Idempotency-Key": "as it is now"}
    thread = edge.request("POST", "/v1/threads", {}, key).json["id"]
    edge.request("POST", f"/v1/threads/{thread}", {"metadata": {"a": "b"}})
    assert edge.request("POST", "/v1/threads", {}, key).json["metadata"] == {"a": "b"}
    edge.request("DELETE", f"/v1/threads/{thread}")
    assert edge.request("POST", "/v1/threads", {}, key).status == 404


def test_a_key_belongs_to_one_request(edge: EdgeServer) -> None:
    key = {"Idempotency-Key": "one request"}
    thread = edge.request("POST", "/v1/threads", {}, key).json["id"]
    for path, body in (("/v1/threads", {"metadata": {"a": "b"}}), (f"/v1/threads/{thread}/fork", {})):
        said = edge.request("POST", path, body, key)
        assert (said.status, said.error["code"]) == (400, "idempotency_error")
        assert "same request" in said.error["message"]


@pytest.mark.parametrize("key", ["", "x" * 256, "\xe9"])
def test_a_key_that_is_none_is_refused(edge: EdgeServer, key: str) -> None:
    said = edge.request("POST", "/v1/threads", {}, {"Idempotency-Key": key})
    assert (said.status, said.error["param"]) == (400, "Idempotency-Key")


def test_a_request_that_was_refused_does_not_use_up_its_key(edge: EdgeServer, assistant: str) -> None:
    thread = new_thread(edge)
    run = new_run(edge, thread, assistant)
    key = {"Idempotency-Key": f"refused {thread}"}
    body = {"role": "user", "content": "later"}
    assert edge.request("POST", f"/v1/threads/{thread}/messages", body, key).status == 400
    edge.change_run(run, thread_id=thread, status="failed")
    assert edge.request("POST", f"/v1/threads/{thread}/messages", body, key).status == 200


def test_a_key_is_good_for_a_day(tmp_path: Path) -> None:
    now = 1_000_000.0
    with EdgeServer(tmp_path, clock=lambda: now) as edge:
        key = {"Idempotency-Key": "k"}
        first = edge.request("POST", "/v1/threads", {}, key).json["id"]
        now += 24 * 3600 - 1
        assert edge.request("POST", "/v1/threads", {}, key).json["id"] == first
        now += 1
        assert edge.request("POST", "/v1/threads", {}, key).json["id"] != first


def test_outputs_are_submitted_once_and_a_streamed_run_is_followed_again(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path / "data", env=env) as server, server.openai(max_retries=0) as api:
        upstream.script([Call("f", {}), Text("Done.")])
        function: Any = {"type": "function", "function": {"name": "f"}}
        assistant = api.beta.assistants.create(model="m", tools=[function]).id
        thread = api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id
        run = api.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
        assert run.required_action is not None
        outputs: Any = [{"tool_call_id": run.required_action.submit_tool_outputs.tool_calls[0].id, "output": "1"}]
        key = {"Idempotency-Key": "submit"}
        for _ in range(2):
            with api.beta.threads.runs.submit_tool_outputs_stream(
                run_id=run.id, thread_id=thread, tool_outputs=outputs, extra_headers=key
            ) as stream:
                assert stream.get_final_run().status == "completed"
                assert [each.content[0].text.value for each in stream.get_final_messages()] == ["Done."]  # type: ignore[union-attr]
        assert len(upstream.requests) == 2


def test_a_key_holds_over_a_kill(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": "off"}) as server:
        key = {"Idempotency-Key": "over a kill"}
        with server.openai(max_retries=0) as api:
            assistant = api.beta.assistants.create(model="m").id
            first = api.beta.threads.create_and_run(assistant_id=assistant, extra_headers=key)
        server.kill()
        server.start()
        with server.openai(max_retries=0) as api:
            assert api.beta.threads.create_and_run(assistant_id=assistant, extra_headers=key).id == first.id
            assert len(api.beta.threads.runs.list(first.thread_id).data) == 1


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "sqlite":
        return {}
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return {"LOCUM_DATABASE_URL": postgres.create()}


def test_requests_with_one_key_at_one_time_make_one_object(tmp_path: Path, database: dict[str, str]) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX="off", **database) as server, server.openai(max_retries=0) as api:
        for number in range(5):
            key = {"Idempotency-Key": f"at once {number}"}

            def create(_: int, key: dict[str, str] = key) -> str:
                return api.beta.threads.create(metadata={"n": "1"}, extra_headers=key).id

            with ThreadPoolExecutor(8) as pool:
                assert len(set(pool.map(create, range(8)))) == 1


# ---- busy threads


def test_a_message_waits_for_a_busy_thread(edge: EdgeServer, assistant: str) -> None:
    thread = new_thread(edge)
    run = new_run(edge, thread, assistant)
    body = {"role": "user", "content": "patient"}
    with asking(edge, "POST", f"/v1/threads/{thread}/messages?wait_for_thread=20", body) as raw:
        assert is_silent(raw)
        edge.change_run(run, thread_id=thread, status="failed")
        assert answer(raw).status == 200
    assert words(messages_of(edge, thread)) == ["patient"]


def test_who_waits_for_a_busy_thread_is_served_in_order(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path / "data", env=env) as server, server.openai(max_retries=0) as api:
        one, two = Held(Text("one")), Held(Text("two"))
        upstream.script([one, two])
        assistant = api.beta.assistants.create(model="m").id
        thread = api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id
        api.beta.threads.runs.create(thread, assistant_id=assistant)
        path = f"/v1/threads/{thread}/messages?wait_for_thread=20"
        runs = f"/v1/threads/{thread}/runs?wait_for_thread=20"
        with asking(server, "POST", path, {"role": "user", "content": "1"}) as first:
            assert is_silent(first)
            with asking(server, "POST", runs, {"assistant_id": assistant}) as second:
                assert is_silent(second)
                with asking(server, "POST", path, {"role": "user", "content": "2"}) as third:
                    assert is_silent(third)
                    one.release()
                    assert answer(first).status == 200
                    assert answer(second).status == 200
                    assert is_silent(third)
                    two.release()
                    assert answer(third).status == 200
        kept = api.beta.threads.messages.list(thread, order="asc").data
        assert [each.content[0].text.value for each in kept] == ["x", "one", "1", "two", "2"]  # type: ignore[union-attr]


def test_at_the_end_of_its_time_a_request_is_refused_as_the_hosted_api_did(edge: EdgeServer, assistant: str) -> None:
    thread = new_thread(edge)
    run = new_run(edge, thread, assistant)
    for path, body, message in (
        ("messages", {"role": "user", "content": "x"}, f"Can't add messages to {thread} while a run {run} is active."),
        ("runs", {"assistant_id": assistant}, f"Thread {thread} already has an active run {run}."),
    ):
        began = time.monotonic()
        said = edge.request("POST", f"/v1/threads/{thread}/{path}?wait_for_thread=0.3", body)
        assert (said.status, said.error["message"]) == (400, message)
        assert 0.3 <= time.monotonic() - began < 5


def test_a_client_that_goes_away_leaves_the_queue(edge: EdgeServer, assistant: str) -> None:
    thread = new_thread(edge)
    run = new_run(edge, thread, assistant)
    path = f"/v1/threads/{thread}/messages?wait_for_thread=20"
    with asking(edge, "POST", path, {"role": "user", "content": "gone"}) as raw:
        assert is_silent(raw)
    with asking(edge, "POST", path, {"role": "user", "content": "patient"}) as raw:
        assert is_silent(raw)
        edge.change_run(run, thread_id=thread, status="failed")
        assert answer(raw).status == 200
    assert words(messages_of(edge, thread)) == ["patient"]


def test_a_streamed_run_waits_for_its_thread_too(edge: EdgeServer, assistant: str) -> None:
    thread = new_thread(edge)
    run = new_run(edge, thread, assistant)
    body = {"assistant_id": assistant, "stream": True}
    with asking(edge, "POST", f"/v1/threads/{thread}/runs?wait_for_thread=20", body) as raw:
        assert is_silent(raw)
        edge.change_run(run, thread_id=thread, status="failed")
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert response.readline() == b"event: thread.run.created\n"
        new = json.loads(response.readline().removeprefix(b"data: "))["id"]
        response.close()
    wait_until(lambda: not edge.is_read(new))


def test_a_thread_that_is_deleted_is_not_waited_for_any_longer(edge: EdgeServer, assistant: str) -> None:
    thread = new_thread(edge)
    new_run(edge, thread, assistant)
    with asking(
        edge, "POST", f"/v1/threads/{thread}/messages?wait_for_thread=20", {"role": "user", "content": "x"}
    ) as raw:
        assert is_silent(raw)
        edge.request("DELETE", f"/v1/threads/{thread}")
        assert answer(raw).status == 404


@pytest.mark.parametrize("seconds", ["301", "x"])
def test_a_time_that_is_too_long_to_wait_for_a_thread_is_refused(edge: EdgeServer, seconds: str) -> None:
    thread = new_thread(edge)
    said = edge.request(
        "POST", f"/v1/threads/{thread}/messages?wait_for_thread={seconds}", {"role": "user", "content": "x"}
    )
    assert (said.status, said.error["param"]) == (400, "wait_for_thread")


def test_two_conversations_through_one_thread_take_turns(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path / "data", env=env) as server, server.openai(max_retries=0) as api:
        held = Held(Text("first"))
        upstream.script([held, Text("second")])
        assistant = api.beta.assistants.create(model="m").id
        thread = api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id
        first = api.beta.threads.runs.create(thread, assistant_id=assistant)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(
                api.beta.threads.runs.create, thread, assistant_id=assistant, extra_query={"wait_for_thread": "30"}
            )
            upstream.wait(lambda: len(upstream.requests) == 1)
            held.release()
            run = second.result(30)
        assert api.beta.threads.runs.retrieve(first.id, thread_id=thread).status == "completed"
        assert api.beta.threads.runs.poll(run.id, thread_id=thread).status == "completed"


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def _fresh(upstream: ScriptedUpstream) -> None:
    upstream.forget()
    upstream.requests.clear()


# ---- documentation


PAGE = Path(__file__).parents[2] / "docs" / "additions.md"


@pytest.mark.parametrize("code", re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE))
def test_the_programs_of_the_page_run(code: str, server: ServerProcess, tmp_path: Path) -> None:
    here = code.replace("http://127.0.0.1:8000", server.azure_endpoint)
    done = run_code(here, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"completed|threads|Hello|True", done.stdout), done.stdout


def test_the_page_names_every_addition() -> None:
    page = PAGE.read_text()
    for path in ("/threads/{thread}/runs/{run}/events", "GET /threads`", "/fork", "Idempotency-Key", "wait_for_thread"):
        assert path in page
    assert all(permission in page for permission in PERMISSIONS)
