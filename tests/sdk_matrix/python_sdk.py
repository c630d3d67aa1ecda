"""What the behaviours of the Python SDK stand on: one client, sync or async, and a report of one line per behaviour.

Runs in the SDK's own environment, which has the SDK and nothing of Locum.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import struct
import sys
import traceback
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai

try:  # what the SDK speaks HTTP with since 3.0
    import httpx2 as httpx
except ImportError:
    import httpx


class NotInSdk(Exception):
    """This version of the SDK has no such thing; the text says what."""


def must_take(call: Callable[..., Any], parameter: str) -> None:
    """Raises NotInSdk unless the call knows the parameter."""
    if parameter not in inspect.signature(call).parameters:
        raise NotInSdk(parameter)


class Sdk:
    """The SDK of this environment as one kind of client, and the server it talks to."""

    def __init__(self, mode: str) -> None:
        self.is_async = mode == "async"
        self.endpoint = os.environ["MATRIX_ENDPOINT"]
        self.key = os.environ["MATRIX_KEY"]
        self._opened: list[Any] = []
        self.client = self.openai()
        self.speaks_v1 = hasattr(self.client.beta.assistants, "files")
        """Whether its OpenAI client sends `OpenAI-Beta: assistants=v1`."""

    def openai(self, **options: Any) -> Any:
        kind = openai.AsyncOpenAI if self.is_async else openai.OpenAI
        return self._keep(kind(**{"base_url": f"{self.endpoint}/v1", "api_key": self.key, "timeout": 20, **options}))

    def azure(self, **options: Any) -> Any:
        kind = openai.AsyncAzureOpenAI if self.is_async else openai.AzureOpenAI
        where = {} if "base_url" in options else {"azure_endpoint": self.endpoint}
        usual = {"api_key": self.key, "api_version": "2024-05-01-preview", "timeout": 20}
        return self._keep(kind(**{**where, **usual, **options}))

    def counting(self) -> tuple[Any, list[str]]:
        """A client, and the list to which every request it sends is added: retries show."""
        sent: list[str] = []

        def count(request: httpx.Request) -> None:
            sent.append(f"{request.method} {request.url.path}")

        async def count_async(request: httpx.Request) -> None:
            count(request)

        if self.is_async:
            return self.openai(http_client=httpx.AsyncClient(event_hooks={"request": [count_async]})), sent
        return self.openai(http_client=httpx.Client(event_hooks={"request": [count]})), sent

    def listener(self) -> Any:
        """An event handler that keeps what it hears, as (callback, what it was called with)."""
        base = openai.AsyncAssistantEventHandler if self.is_async else openai.AssistantEventHandler
        callbacks = [name for name in dir(base) if name.startswith("on_")]
        return type("Listener", (base,), {"heard": [], **{name: self._note(name) for name in callbacks}})()

    def _note(self, name: str) -> Callable[..., Any]:
        def note(listener: Any, *seen: Any) -> None:
            listener.heard.append((name, *seen))

        async def note_async(listener: Any, *seen: Any) -> None:
            note(listener, *seen)

        return note_async if self.is_async else note

    def _keep(self, client: Any) -> Any:
        self._opened.append(client)
        return client

    async def close(self) -> None:
        for client in self._opened:
            await now(client.close())


async def now(value: Any) -> Any:
    """What a sync client has returned, or what an async one returns."""
    return await value if inspect.isawaitable(value) else value


async def items_of(items: Any) -> AsyncIterator[Any]:
    """Iterate what either kind of client gave."""
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def all_of(items: Any) -> list[Any]:
    return [item async for item in items_of(items)]


@asynccontextmanager
async def opened(manager: Any) -> AsyncIterator[Any]:
    """Enter what either kind of client gave."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


def equal(actual: Any, expected: Any) -> None:
    if actual != expected:
        raise AssertionError(f"{actual!r} came, {expected!r} was expected")


def contains(whole: Any, part: Any) -> None:
    if part not in whole:
        raise AssertionError(f"{part!r} is not in {whole!r}")


def holds(condition: Any, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)


async def refused(kind: type[Exception], call: Callable[[], Any]) -> Any:
    """The error of this kind that the call must raise."""
    try:
        value = await now(call())
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} but {value!r}")


def is_png(data: bytes) -> None:
    """Fails unless these bytes are a whole PNG: each checksum right, its pixels there."""
    equal(data[:8], b"\x89PNG\r\n\x1a\n")
    kinds, pixels, at = [], b"", 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        (checksum,) = struct.unpack(">I", data[at + 8 + size : at + 12 + size])
        equal(checksum, zlib.crc32(kind + body))
        kinds.append(kind)
        pixels += body if kind == b"IDAT" else b""
        at += 12 + size
    equal((kinds[0], kinds[-1]), (b"IHDR", b"IEND"))
    holds(zlib.decompress(pixels), "the picture has no pixels")


Behaviour = Callable[[Sdk], Awaitable[None]]
SECONDS = 60
"""What a behaviour may take at most."""

_behaviours: list[Behaviour] = []


def behaviour(does: Behaviour) -> Behaviour:
    """Put it on the list that `report` goes through."""
    _behaviours.append(does)
    return does


async def report(mode: str, *parts_of_names: str) -> None:
    """Print the SDK's version, try each behaviour and print its line: name, outcome and why, as JSON."""
    sdk = Sdk(mode)
    signal.signal(signal.SIGALRM, _ring)
    print(json.dumps(openai.__version__), flush=True)
    for each in _behaviours:
        if not parts_of_names or any(part in each.__name__ for part in parts_of_names):
            print(json.dumps([each.__name__, *await _outcome(each, sdk)]), flush=True)
    await sdk.close()


def _ring(*_: object) -> None:
    raise TimeoutError(f"a call of the sync client did not return within {SECONDS} s")


async def _outcome(behaviour: Behaviour, sdk: Sdk) -> tuple[str, str]:
    signal.alarm(SECONDS)
    try:
        await asyncio.wait_for(behaviour(sdk), SECONDS / 2)
    except NotInSdk as missing:
        return "not in this SDK", str(missing)
    except Exception as error:
        where = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == sys.argv[0]]
        line = f" (line {where[-1].lineno}: {where[-1].line})" if where else ""
        return "failed", f"{type(error).__name__}: {error}{line}"
    finally:
        signal.alarm(0)
    return "ok", ""
