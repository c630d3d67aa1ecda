"""The one way out: a transport that records every exchange of the suite and says what is wrong with each.

wire = Wire()
client = openai.OpenAI(..., http_client=wire.client())
...
assert wire.problems == []
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.conformance import shapes, spec, streams
from tests.conformance.shapes import ListOf

_MOUNTS = re.compile(
    r"/+(?:(?P<azure_v1>openai/v1)|(?P<azure>openai(?:/deployments/[^/]+)?)|(?P<openai>v1))(?P<path>/.+?)/*"
)
MAX_OF_FILES = 10_000


@dataclass(frozen=True)
class Call:
    """A request, seen as the API sees it."""

    surface: str
    """`openai`, `azure` (classic) or `azure_v1`."""
    version: int
    method: str
    path: str
    """Without its dialect: `/threads/thread_x/runs`."""
    request: httpx2.Request

    @property
    def spec_name(self) -> str:
        return "v1" if self.version == 1 else "azure" if self.surface == "azure" else "v2"

    @property
    def opening(self) -> str:
        """The first event where this call's answer is a stream."""
        if self.path == "/threads/runs":
            return "thread.created"
        return "thread.run.step.completed" if self.path.endswith("/submit_tool_outputs") else "thread.run.created"


def read(request: httpx2.Request) -> Call | None:
    """The call in a request; None where its path is none of the API's."""
    match = _MOUNTS.fullmatch(request.url.path)
    if match is None:
        return None
    surface = "azure_v1" if match["azure_v1"] else "azure" if match["azure"] else "openai"
    if surface == "azure":
        version = 1 if request.url.params.get("api-version", "") < "2024-05-01" else 2
    else:
        version = 1 if "assistants=v1" in request.headers.get("openai-beta", "") else 2
    return Call(surface, version, request.method, match["path"], request)


class Wire:
    """Records and judges. `problems` are what the server did wrong so far."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.exchanges: list[tuple[httpx2.Request, httpx2.Response]] = []
        self.streams: list[list[streams.Event]] = []
        """The events of each stream that was read, in the order they ended."""
        self._transport = httpx2.HTTPTransport(retries=0)

    def forget(self) -> None:
        self.problems.clear()
        self.exchanges.clear()
        self.streams.clear()

    def end_runs(self) -> None:
        """Delete the threads in which runs were begun: a run that is left would take another's answer of the model."""
        for path, request in {_thread_of(*exchange): exchange[0] for exchange in self.exchanges}.items():
            if path is not None:
                gone = httpx2.Request("DELETE", request.url.copy_with(path=path), headers=_who(request))
                with suppress(httpx2.TransportError):
                    self._transport.handle_request(gone).close()

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(transport=_Recording(self), timeout=60, **options)

    def close(self) -> None:
        self._transport.close()

    def send(self, request: httpx2.Request) -> httpx2.Response:
        response = self._transport.handle_request(request)
        response.request = request
        call = read(request)
        self.exchanges.append((request, response))
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.SyncByteStream)
            response.stream = _Tee(response.stream, lambda body, whole: self._heard(call, body, is_whole=whole))
        else:
            response.read()
            self._note(request, check(call, response))
        self._note(request, check_headers(call, response))
        return response

    def _heard(self, call: Call | None, body: bytes, *, is_whole: bool) -> None:
        if call is None:
            return
        self.streams.append(streams.parse(body)[0])
        found = streams.check(body, opening=call.opening, spec_name=call.spec_name, is_whole=is_whole)
        self._note(call.request, found)

    def _note(self, request: httpx2.Request, problems: Iterator[str]) -> None:
        self.problems += [f"{request.method} {request.url.raw_path.decode()}: {problem}" for problem in problems]


def _thread_of(request: httpx2.Request, response: httpx2.Response) -> str | None:
    """The path of the thread in which this exchange began a run."""
    if request.method != "POST" or response.status_code != 200 or not request.url.path.endswith("/runs"):
        return None
    if not request.url.path.endswith("/threads/runs"):
        return request.url.path.removesuffix("/runs")
    found = (
        re.search(rb'"thread_id": ?"(thread_[A-Za-z0-9]+)"', response.content) if response.is_stream_consumed else None
    )
    return request.url.path.removesuffix("runs") + found[1].decode() if found else None


def _who(request: httpx2.Request) -> dict[str, str]:
    names = ("authorization", "api-key", "openai-beta")
    return {name: request.headers[name] for name in names if name in request.headers}


class _Recording(httpx2.BaseTransport):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._wire.send(request)


class _Tee(httpx2.SyncByteStream):
    """A stream whose bytes are also kept; `heard` gets them, and whether they are all."""

    def __init__(self, inner: httpx2.SyncByteStream, heard: Any) -> None:
        self._inner = inner
        self._heard = heard
        self._body = b""
        self._is_told = False

    def __iter__(self) -> Iterator[bytes]:
        for block in self._inner:
            self._body += block
            yield block
        self._tell(whole=True)

    def close(self) -> None:
        self._tell(whole=b"event: done\n" in self._body)  # the SDK closes when it has seen done
        self._inner.close()

    def _tell(self, *, whole: bool) -> None:
        if not self._is_told:
            self._is_told = True
            self._heard(self._body, whole)


def check_headers(call: Call | None, response: httpx2.Response) -> Iterator[str]:
    if not response.headers.get("x-request-id"):
        yield "no x-request-id"
    if call is not None and call.surface != "openai" and not response.headers.get("apim-request-id"):
        yield "no apim-request-id"
    poll = response.headers.get("openai-poll-after-ms")
    if poll is not None and not re.fullmatch(r"[1-9]\d*", poll):
        yield f"openai-poll-after-ms is {poll!r}"


def check(call: Call | None, response: httpx2.Response) -> Iterator[str]:
    """What is wrong with an answer that is no stream."""
    if response.status_code == 409 or response.status_code >= 500:
        yield f"the status is {response.status_code}"
    if response.status_code >= 400:
        yield from check_error(call, response)
        return
    if call is None or (shape := shapes.expected(call.method, call.path)) is None:
        return
    if not response.headers.get("content-type", "").startswith("application/json"):
        yield f"the content type is {response.headers.get('content-type')!r}"
    body = response.json()
    if isinstance(shape, ListOf):
        is_files = call.path == "/files"
        yield from shapes.check_list(
            body,
            shape,
            call.version,
            limit=int(call.request.url.params.get("limit", MAX_OF_FILES if is_files else 20)),
            order=call.request.url.params.get("order", "desc"),
        )
    else:
        yield from shapes.check(body, shape, call.version)
    yield from spec.check(call.spec_name, call.method, call.path, body)


def check_error(call: Call | None, response: httpx2.Response) -> Iterator[str]:
    """An error is JSON in one of the two envelopes, and nothing else."""
    if not response.headers.get("content-type", "").startswith("application/json"):
        yield f"the content type of an error is {response.headers.get('content-type')!r}"
        return
    try:
        body = response.json()
    except json.JSONDecodeError:
        yield "an error is not JSON"
        return
    if not isinstance(body, dict) or body.keys() != {"error"} or not isinstance(body["error"], dict):
        yield f"an error is not {{'error': {{...}}}}: {body!r}"
        return
    error = body["error"]
    of_gateway = call is None or call.surface == "azure"
    if error.keys() != {"message", "type", "param", "code"} and not (
        of_gateway and error.keys() == {"code", "message"}
    ):
        yield f"an error has {sorted(error)}"
        return
    for key, value in error.items():
        if not isinstance(value, str) and not (value is None and key in ("param", "code")):
            yield f"error.{key} is {value!r}"
