"""The API as a test meets it: one surface of one server, by SDK and by raw HTTP, every answer on record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
from openai.types.beta.threads import Message, Run
from openai.types.beta.threads.runs import RunStep

from tests.conformance.streams import Event
from tests.conformance.wire import Wire
from tests.models.upstream import Reply, ScriptedUpstream

SURFACES = ("openai", "azure")
V1_PREVIEW, V2_PREVIEW = "2024-02-15-preview", "2024-05-01-preview"
LONG = 60.0


class Api:
    """One surface (`openai`, `azure`, `azure_v1`) in one version. `upstream` is the model behind the server."""

    def __init__(
        self,
        endpoint: str,
        wire: Wire,
        upstream: ScriptedUpstream,
        surface: str = "openai",
        version: int = 2,
        key: str = "any",
    ) -> None:
        self.endpoint = endpoint
        self.wire = wire
        self.upstream = upstream
        self.surface = surface
        self.version = version
        self.key = key
        self._http = wire.client(headers=self._headers(), params=self._params())
        self.sdk = self._client()

    @property
    def is_azure(self) -> bool:
        return self.surface != "openai"

    @property
    def base(self) -> str:
        return self.endpoint + {"openai": "/v1", "azure": "/openai", "azure_v1": "/openai/v1"}[self.surface]

    def _headers(self) -> dict[str, str]:
        if self.is_azure:
            return {"api-key": self.key}
        return {"authorization": f"Bearer {self.key}", "openai-beta": f"assistants=v{self.version}"}

    def _params(self) -> dict[str, str]:
        versions = {1: V1_PREVIEW, 2: V2_PREVIEW}
        return {"api-version": versions[self.version]} if self.surface == "azure" else {}

    def _client(self) -> openai.OpenAI:
        common: dict[str, Any] = {"api_key": self.key, "max_retries": 0, "http_client": self.wire.client()}
        if self.surface == "azure":
            version = self._params()["api-version"]
            return openai.AzureOpenAI(azure_endpoint=self.endpoint, api_version=version, **common)
        return openai.OpenAI(base_url=self.base, **common)  # whatever the version: this SDK says v2 at every call

    def close(self) -> None:
        self._http.close()
        self.sdk.close()

    @contextmanager
    def speaking(self, *, surface: str | None = None, version: int = 2, key: str | None = None) -> Iterator[Api]:
        """The same server in another dialect, or with another key."""
        other = Api(self.endpoint, self.wire, self.upstream, surface or self.surface, version, key or self.key)
        try:
            yield other
        finally:
            other.close()

    # ---- raw HTTP

    def call(self, method: str, path: str, json: Any = None, **options: Any) -> httpx2.Response:
        """One request, `path` without its dialect. Nothing is raised for an error, which is an answer too."""
        if json is not None:
            options["json"] = json
        return self._http.request(method, self.base + path, **options)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The JSON of a call that must succeed."""
        response = self.call("GET", path, params=query)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def post(self, path: str, json: Any = None, **options: Any) -> dict[str, Any]:
        response = self.call("POST", path, json, **options)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def refused(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        message: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """The error of a call that must fail so; what is None here may be anything."""
        response = self.call(method, path, json, **options)
        assert response.status_code == status, f"{response.status_code}: {response.text}"
        error: dict[str, Any] = response.json()["error"]
        assert code is None or error["code"] == code, error
        assert param is None or error["param"] == param, error
        assert message is None or message in error["message"], error
        return error

    def stream(self, path: str, json: Any, **options: Any) -> list[Event]:
        """The events of a streamed call, read to the end of the connection."""
        before = len(self.wire.streams)
        response = self.call("POST", path, {**json, "stream": True}, **options)
        assert response.headers["content-type"].startswith("text/event-stream"), response.text
        assert len(self.wire.streams) == before + 1
        return self.wire.streams[-1]

    # ---- what most tests begin with

    def assistant(self, **options: Any) -> str:
        return self.sdk.beta.assistants.create(**{"model": "gpt-4o", **options}).id

    def thread(self, *texts: str) -> str:
        return self.sdk.beta.threads.create(
            messages=[{"role": "user", "content": text} for text in texts or ["hello"]]
        ).id

    def start(self, *replies: Reply, assistant: str | None = None, thread: str | None = None, **options: Any) -> Run:
        """A run whose model gives these replies, as it was created."""
        self.upstream.script(replies)
        run: Run = self.sdk.beta.threads.runs.create(
            thread or self.thread(), assistant_id=assistant or self.assistant(), **options
        )
        return run

    def run(self, *replies: Reply, assistant: str | None = None, thread: str | None = None, **options: Any) -> Run:
        """The same, once it has stopped: ended, or waiting for tool outputs."""
        return self.stopped(self.start(*replies, assistant=assistant, thread=thread, **options))

    def stopped(self, run: Run) -> Run:
        return self.sdk.beta.threads.runs.poll(run.id, thread_id=run.thread_id, timeout=LONG, poll_interval_ms=20)

    def until(self, run: Run, *statuses: str) -> Run:
        """The run once it has one of these statuses; read again and again, as clients do."""
        for _ in range(3000):
            run = self.sdk.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)
            if run.status in statuses:
                return run
        raise AssertionError(f"still {run.status}")

    def asked(self) -> list[dict[str, Any]]:
        """What the model was asked in this test, request by request."""
        return self.upstream.requests

    def messages(self, thread: str) -> list[Message]:
        """Oldest first."""
        return list(self.sdk.beta.threads.messages.list(thread, order="asc", limit=100))

    def texts(self, thread: str) -> list[tuple[str, str]]:
        """(role, text) of the messages, oldest first."""
        return [(each.role, text_of(each)) for each in self.messages(thread)]

    def steps(self, run: Run) -> list[RunStep]:
        """Oldest first."""
        return list(self.sdk.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc"))


def text_of(message: Message) -> str:
    return "".join(part.text.value for part in message.content if part.type == "text")


def seen(request: dict[str, Any]) -> list[tuple[str, Any]]:
    """(role, content) of the messages the model was sent."""
    return [(each["role"], each.get("content")) for each in request["messages"]]


WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}
