"""Clients of `GET /threads/{thread_id}/runs/{run_id}/events`: raw, and the unmodified SDK's event handlers."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import openai
from openai import AssistantEventHandler, AsyncAssistantEventHandler, AsyncStream, Stream
from openai.lib.streaming import AssistantStreamManager, AsyncAssistantStreamManager
from openai.types.beta import AssistantStreamEvent

BETA = {"OpenAI-Beta": "assistants=v2"}


class Event:
    """One event, and where it stands."""

    def __init__(self, name: str, data: str, id_: str | None) -> None:
        self.name = name.removeprefix("thread.")
        self.raw = data
        self.id = id_

    @property
    def data(self) -> Any:
        return json.loads(self.raw)


@contextmanager
def following(
    base_url: str, thread: str, run: str, *, after: str | None = None, query: str = ""
) -> Iterator[Iterator[Event]]:
    """The events as they come; the connection is dropped at the end."""
    address = urlsplit(base_url)
    connection = http.client.HTTPConnection(address.netloc, timeout=30)
    headers = {**BETA, **({"Last-Event-ID": after} if after is not None else {})}
    try:
        connection.request("GET", f"{address.path}/threads/{thread}/runs/{run}/events{query}", headers=headers)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        yield _events(response)
    finally:
        connection.close()


def read(base_url: str, thread: str, run: str, **options: Any) -> list[Event]:
    """The whole stream, to its end."""
    with following(base_url, thread, run, **options) as events:
        return list(events)


def _events(response: http.client.HTTPResponse) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in response:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "event" in fields:
            yield Event(fields["event"], fields["data"], fields.get("id"))
            fields = {}


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def said(events: list[Event]) -> str:
    """The text that a client has which begins anew with every `message.created`, as the SDKs do."""
    text = ""
    for event in events:
        if event.name == "message.created":
            text = ""
        elif event.name == "message.delta":
            text += "".join(part["text"].get("value", "") for part in event.data["delta"]["content"] if "text" in part)
    return text


H = TypeVar("H", bound=AssistantEventHandler)


def handled(api: openai.OpenAI, thread: str, run: str, handler: H) -> H:
    """An event handler of the SDK that has been given the run's events."""

    def request() -> Stream[AssistantStreamEvent]:
        return api.get(
            f"/threads/{thread}/runs/{run}/events",
            cast_to=cast(Any, AssistantStreamEvent),
            options={"headers": BETA},
            stream=True,
            stream_cls=Stream[AssistantStreamEvent],
        )

    with AssistantStreamManager(request, event_handler=handler) as stream:
        stream.until_done()
    return handler


async def handled_async(api: openai.AsyncOpenAI, thread: str, run: str) -> AsyncAssistantEventHandler:
    """The same of the asynchronous SDK."""
    request = api.get(
        f"/threads/{thread}/runs/{run}/events",
        cast_to=cast(Any, AssistantStreamEvent),
        options={"headers": BETA},
        stream=True,
        stream_cls=AsyncStream[AssistantStreamEvent],
    )
    handler = AsyncAssistantEventHandler()
    async with AsyncAssistantStreamManager(request, event_handler=handler) as stream:
        await stream.until_done()
    return handler
