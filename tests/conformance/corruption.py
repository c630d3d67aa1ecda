"""Ways in which an answer can be wrong, and a proxy that makes a server's answers so: the suite must notice each.

A way names the behaviours whose tests have to turn red; one of them is enough.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import yarl
from aiohttp import web

from tests.conformance.streams import Event

Json = dict[str, Any]


@dataclass
class Answer:
    """An answer that may be changed in place before the client gets it."""

    method: str
    path: str
    """Without its dialect, as the API sees it."""
    query: Json
    request_headers: Json
    status: int
    headers: Json
    body: bytes
    memory: Json
    """Kept for as long as one corruption is in force."""

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.headers.get("content-type", "").startswith("application/json") else None

    @json.setter
    def json(self, value: Any) -> None:
        self.body = json.dumps(value).encode()

    @property
    def is_list(self) -> bool:
        return self.status == 200 and self.method == "GET" and (self.json or {}).get("object") == "list"


@dataclass(frozen=True)
class Corruption:
    name: str
    noticed_by: tuple[int, ...]
    answer: Callable[[Answer], None] | None = None
    event: Callable[[Event, Json], list[Event]] | None = None
    """What is told in place of an event. The mapping is kept for one stream."""


CORRUPTIONS: list[Corruption] = []


def answer(name: str, *noticed_by: int) -> Callable[[Callable[[Answer], None]], Callable[[Answer], None]]:
    """A way to falsify whole answers."""

    def add(change: Callable[[Answer], None]) -> Callable[[Answer], None]:
        CORRUPTIONS.append(Corruption(name, noticed_by, answer=change))
        return change

    return add


EventChange = Callable[[Event, Json], list[Event]]


def event(name: str, *noticed_by: int) -> Callable[[EventChange], EventChange]:
    """A way to falsify streams, event by event."""

    def add(change: EventChange) -> EventChange:
        CORRUPTIONS.append(Corruption(name, noticed_by, event=change))
        return change

    return add


def each(noun: str, name: str, *noticed_by: int) -> Callable[[Callable[[Json], None]], Callable[[Json], None]]:
    """A way to falsify every object of a kind in answers, those in lists too."""

    def add(change: Callable[[Json], None]) -> Callable[[Json], None]:
        def change_all(answer: Answer) -> None:
            body = answer.json
            for thing in _objects(body):
                if thing.get("object") == noun and answer.status == 200:
                    change(thing)
                    answer.json = body

        CORRUPTIONS.append(Corruption(name, noticed_by, answer=change_all))
        return change

    return add


def _objects(body: Any) -> Iterator[Json]:
    if isinstance(body, dict):
        yield body
        yield from (thing for thing in body.get("data", []) if isinstance(thing, dict))


# ---- objects


@each("assistant", "a required field is dropped", 20)
def _(assistant: Json) -> None:
    del assistant["description"]


@each("assistant", "a required field is null", 20)
def _(assistant: Json) -> None:
    assistant["model"] = None


@each("assistant", "a field nobody knows appears", 20)
def _(assistant: Json) -> None:
    assistant["resource_id"] = "default"


@each("assistant", "an empty list is null", 20)
def _(assistant: Json) -> None:
    assistant["tools"] = assistant["tools"] or None


@each("assistant", "zero is taken for unset", 26)
def _(assistant: Json) -> None:
    assistant["temperature"] = assistant["temperature"] or 1.0


@each("thread.run", "a text is a number", 62)
def _(run: Json) -> None:
    run["instructions"] = 1


@each("thread.message", "a number is a text", 43)
def _(message: Json) -> None:
    message["created_at"] = str(message["created_at"])


@each("thread.run", "the object has another name", 62)
def _(run: Json) -> None:
    run["object"] = "run"


@each("thread.message", "ids have another prefix", 43)
def _(message: Json) -> None:
    message["id"] = message["id"].replace("msg_", "message_")


@each("thread.message", "roles are swapped", 43)
def _(message: Json) -> None:
    message["role"] = {"user": "assistant", "assistant": "user"}[message["role"]]


@each("thread.message", "a user's message is a run's", 43)
def _(message: Json) -> None:
    message["run_id"] = message["run_id"] or "run_" + "x" * 24


@each("thread.message", "a text is altered by one character", 53, 61)
def _(message: Json) -> None:
    for part in message["content"]:
        if part["type"] == "text":
            part["text"]["value"] = part["text"]["value"][:-1] + "X"


@each("thread.message", "the image comes behind the text", 131, 159)
def _(message: Json) -> None:
    message["content"] = message["content"][::-1]


@each("thread.message", "annotation indexes are off by one", 131)
def _(message: Json) -> None:
    for part in message["content"]:
        for annotation in part["text"]["annotations"] if part["type"] == "text" else []:
            annotation["start_index"] += 1
            annotation["end_index"] += 1


@each("thread.message", "attachments are forgotten", 50)
def _(message: Json) -> None:
    message["attachments"] = []


@each("thread", "the thread's files are forgotten", 48)
def _(thread: Json) -> None:
    thread["tool_resources"] = {}


@each("thread", "metadata values are numbers", 61)
def _(thread: Json) -> None:
    thread["metadata"] = dict.fromkeys(thread["metadata"], 1)


@each("file", "the size of a file is wrong", 128)
def _(file: Json) -> None:
    if "bytes" in file:
        file["bytes"] += 1


@each("file", "a file stays unprocessed", 128)
def _(file: Json) -> None:
    if "status" in file:
        file["status"] = "running"


@answer("the bytes of a file are altered", 131)
def _(answer: Answer) -> None:
    if answer.path.endswith("/content"):
        answer.body = answer.body[:-1] + bytes([answer.body[-1] ^ 1])


@answer("an update gives a new created_at", 55, 78)
def _(answer: Answer) -> None:
    if answer.method == "POST" and re.search(r"/(messages|runs)/[^/]+$", answer.path) and answer.status == 200:
        answer.json = {**answer.json, "created_at": answer.json["created_at"] + 60}


@answer("metadata is merged instead of replaced", 31, 55, 78)
def _(answer: Answer) -> None:
    body = answer.json
    if answer.status == 200 and isinstance(body, dict) and isinstance(body.get("metadata"), dict):
        known = answer.memory.setdefault(body["id"], {})
        known.update(body["metadata"])
        answer.json = {**body, "metadata": dict(known)}


@answer("an answer of v1 has the shape of v2", 7, 10)
def _(answer: Answer) -> None:
    body = answer.json
    if answer.status == 200 and isinstance(body, dict) and body.get("object") == "assistant" and "file_ids" in body:
        del body["file_ids"]
        answer.json = {**body, "tool_resources": {}}


# ---- vector stores


def _object(answer: Answer, name: str) -> Json | None:
    body = answer.json if answer.status == 200 else None
    return body if isinstance(body, dict) and body.get("object") == name else None


@answer("a vector store counts no files", 133)
def _(answer: Answer) -> None:
    if (store := _object(answer, "vector_store")) is not None:
        answer.json = {**store, "file_counts": {**store["file_counts"], "total": store["file_counts"]["total"] + 1}}


@answer("a thread's vector store never expires", 49)
def _(answer: Answer) -> None:
    if (store := _object(answer, "vector_store")) is not None:
        answer.json = {**store, "expires_after": None, "expires_at": None}


@answer("chunks have always the same size", 147)
def _(answer: Answer) -> None:
    if (file := _object(answer, "vector_store.file")) is not None:
        static = {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}
        answer.json = {**file, "chunking_strategy": {"type": "static", "static": static}}


@answer("a batch has the name of the schema", 150)
def _(answer: Answer) -> None:
    if (batch := _object(answer, "vector_store.file_batch")) is not None:
        answer.json = {**batch, "object": "vector_store.files_batch"}


@answer("an assistant keeps the vector store it had", 32)
def _(answer: Answer) -> None:
    if (assistant := _object(answer, "assistant")) is not None:
        resources = assistant.get("tool_resources") or {}
        first = answer.memory.setdefault(assistant["id"], resources.get("file_search"))
        if first is not None:
            answer.json = {**assistant, "tool_resources": {**resources, "file_search": first}}


@answer("null does not end expires_after", 155)
def _(answer: Answer) -> None:
    if (store := _object(answer, "vector_store")) is not None:
        terms = answer.memory.setdefault(store["id"], {key: store[key] for key in ("expires_after", "expires_at")})
        answer.json = {**store, **terms}


# ---- what is gone, and what is another's


def _remember(answer: Answer) -> None:
    if answer.method == "GET" and answer.status == 200:
        answer.memory[answer.path] = answer.body


def _bring_back(answer: Answer) -> None:
    answer.status, answer.body = 200, answer.memory[answer.path]


@answer("a deleted object is still there", 35, 52)
def _(answer: Answer) -> None:
    if answer.method == "POST" and answer.status == 200 and isinstance(answer.json, dict):
        answer.memory[f"{answer.path}/{answer.json.get('id')}"] = answer.body
    _remember(answer)
    if answer.method == "GET" and answer.status == 404 and answer.path in answer.memory:
        _bring_back(answer)


@answer("another resource's object is visible", 13)
def _(answer: Answer) -> None:
    _remember(answer)
    if answer.method == "GET" and answer.status == 404 and answer.path in answer.memory:
        _bring_back(answer)


@answer("another resource's object is forbidden instead of unknown", 13)
def _(answer: Answer) -> None:
    _remember(answer)
    if answer.method == "GET" and answer.status == 404 and answer.path in answer.memory:
        answer.status = 403


@answer("deleted is false", 35)
def _(answer: Answer) -> None:
    if answer.method == "DELETE" and answer.status == 200:
        answer.json = {**answer.json, "deleted": False}


# ---- errors


@answer("409 instead of 400", 68)
def _(answer: Answer) -> None:
    if answer.status == 400 and b"active run" in answer.body:
        answer.status = 409


@answer("404 instead of 400", 58)
def _(answer: Answer) -> None:
    if answer.status == 400 and b"begins with" in answer.body:
        answer.status = 404


@answer("an error lacks param and code", 17)
def _(answer: Answer) -> None:
    if answer.status == 400:
        error = answer.json["error"]
        answer.json = {"error": {key: error[key] for key in ("message", "type")}}


@answer("there is more in an error's body than the error", 17)
def _(answer: Answer) -> None:
    if answer.status == 400:
        answer.json = {**answer.json, "status": 400}


@answer("a code is another", 22)
def _(answer: Answer) -> None:
    answer.body = answer.body.replace(b"string_above_max_length", b"string_too_long")


@answer("a message is worded otherwise", 34)
def _(answer: Answer) -> None:
    answer.body = answer.body.replace(b"No assistant found with id", b"Assistant not found:")


@answer("what is not found is an HTML page", 15)
def _(answer: Answer) -> None:
    if answer.status == 404:
        answer.headers["content-type"], answer.body = "text/html", b"<html>Not Found</html>"


@answer("the gateway's error is in the other envelope", 5)
def _(answer: Answer) -> None:
    if answer.status == 404 and b"Resource not found" in answer.body:
        answer.json = {"error": {"message": "Resource not found", "type": "x", "param": None, "code": None}}


@answer("no x-request-id", 16)
def _(answer: Answer) -> None:
    del answer.headers["x-request-id"]


@answer("one x-request-id for all", 16)
def _(answer: Answer) -> None:
    answer.headers["x-request-id"] = "req_1"


@answer("no apim-request-id", 1)
def _(answer: Answer) -> None:
    answer.headers.pop("apim-request-id", None)


@answer("JSON is called plain text", 20)
def _(answer: Answer) -> None:
    if answer.headers.get("content-type") == "application/json":
        answer.headers["content-type"] = "text/plain"


@answer("the time to ask again is no whole number", 19)
def _(answer: Answer) -> None:
    if "openai-poll-after-ms" in answer.headers:
        answer.headers["openai-poll-after-ms"] = "0.1 s"


# ---- lists


@answer("has_more is the contrary", 33, 53)
def _(answer: Answer) -> None:
    if answer.is_list and "has_more" in answer.json:
        answer.json = {**answer.json, "has_more": not answer.json["has_more"]}


@answer("first_id is another's", 53)
def _(answer: Answer) -> None:
    if answer.is_list and answer.json.get("first_id"):
        answer.json = {**answer.json, "first_id": answer.json["data"][-1]["id"] + "x"}


@answer("a list is in the wrong order", 53)
def _(answer: Answer) -> None:
    if answer.is_list and answer.json.get("last_id"):
        data = answer.json["data"][::-1]
        answer.json = {**answer.json, "data": data, "first_id": data[0]["id"], "last_id": data[-1]["id"]}


@answer("a page has one item less than asked for", 33, 79)
def _(answer: Answer) -> None:
    if answer.is_list and answer.json.get("has_more") and len(answer.json["data"]) > 1:
        data = answer.json["data"][:-1]
        answer.json = {**answer.json, "data": data, "last_id": data[-1]["id"]}


@answer("a page begins with the item it should come after", 53)
def _(answer: Answer) -> None:
    body = answer.json
    if answer.is_list:
        for thing in body["data"]:
            answer.memory[thing["id"]] = thing
        if (cursor := answer.query.get("after")) in answer.memory:
            answer.json = {**body, "data": [answer.memory[cursor], *body["data"][:-1]], "first_id": cursor}


# ---- runs and steps


@answer("a new run is not queued", 62)
def _(answer: Answer) -> None:
    if answer.method == "POST" and answer.path.endswith("/runs") and answer.status == 200:
        answer.json = {**answer.json, "status": "in_progress", "started_at": answer.json["created_at"]}


@each("thread.run", "expires_at is kept on a completed run", 63)
def _(run: Json) -> None:
    run["expires_at"] = run["expires_at"] or run["created_at"] + 600


@each("thread.run", "a completed run has no usage", 63)
def _(run: Json) -> None:
    run["usage"] = None


@each("thread.run", "the total of a usage is not the sum", 63)
def _(run: Json) -> None:
    if run["usage"]:
        run["usage"]["total_tokens"] += 1


@each("thread.run", "a run's usage is not its steps'", 63)
def _(run: Json) -> None:
    if run["usage"]:
        run["usage"]["prompt_tokens"] += 1
        run["usage"]["total_tokens"] += 1


@each("thread.run.step", "a completed step has no usage", 80)
def _(step: Json) -> None:
    step["usage"] = None


@each("thread.run.step", "a step is another run's", 80)
def _(step: Json) -> None:
    step["run_id"] = step["run_id"][:-4] + "zzzz"


@answer("required_action is left when the outputs are there", 87)
def _(answer: Answer) -> None:
    body = answer.json
    if answer.status == 200 and isinstance(body, dict) and body.get("object") == "thread.run":
        if body["required_action"]:
            answer.memory[body["id"]] = body["required_action"]
        answer.json = {**body, "required_action": answer.memory.get(body["id"])}


@each("thread.run", "arguments are altered by one byte", 86, 97)
def _(run: Json) -> None:
    for call in ((run["required_action"] or {}).get("submit_tool_outputs") or {}).get("tool_calls", []):
        call["function"]["arguments"] = call["function"]["arguments"].replace("o", "0", 1)


@each("thread.run.step", "the output of a function is not shown", 88)
def _(step: Json) -> None:
    for call in step["step_details"].get("tool_calls", []):
        if call["type"] == "function":
            call["function"]["output"] = None


@answer("cancelling answers cancelled at once", 73)
def _(answer: Answer) -> None:
    if answer.path.endswith("/cancel") and answer.status == 200:
        answer.json = {**answer.json, "status": "cancelled", "cancelled_at": answer.json["created_at"]}


@each("thread.run", "a quota is a server error", 76)
def _(run: Json) -> None:
    if run["last_error"]:
        run["last_error"]["code"] = "server_error"


@each("thread.run", "the reason of an incomplete run is the other", 121)
def _(run: Json) -> None:
    if run["incomplete_details"]:
        run["incomplete_details"]["reason"] = "max_prompt_tokens"


# ---- streams


@event("two events are swapped", 99)
def _(event: Event, memory: Json) -> list[Event]:
    if event.name == "thread.run.step.in_progress":
        memory["held"] = event
        return []
    return [event, memory.pop("held")] if "held" in memory else [event]


@event("done is missing", 99)
def _(event: Event, memory: Json) -> list[Event]:
    return [] if event.name == "done" else [event]


@event("the end is not [DONE]", 99)
def _(event: Event, memory: Json) -> list[Event]:
    return [Event("done", "{}")] if event.name == "done" else [event]


@event("thread.created is missing", 101)
def _(event: Event, memory: Json) -> list[Event]:
    return [] if event.name == "thread.created" else [event]


@event("queued is skipped", 99)
def _(event: Event, memory: Json) -> list[Event]:
    return [] if event.name == "thread.run.queued" else [event]


@event("a delta has no index", 102)
def _(event: Event, memory: Json) -> list[Event]:
    for part in event.data["delta"]["content"] if event.name == "thread.message.delta" else []:
        del part["index"]
    return [event]


@event("an index is skipped", 102)
def _(event: Event, memory: Json) -> list[Event]:
    for part in event.data["delta"]["content"] if event.name == "thread.message.delta" else []:
        part["index"] += 1
    return [event]


@event("an id is repeated in later deltas", 107)
def _(event: Event, memory: Json) -> list[Event]:
    if event.name == "thread.run.step.delta":
        for call in event.data["delta"]["step_details"]["tool_calls"]:
            call["id"] = memory.setdefault(call["index"], call.get("id"))
    return [event]


@event("a function call is opened with its arguments", 107)
def _(event: Event, memory: Json) -> list[Event]:
    if event.name == "thread.run.step.delta":
        for call in event.data["delta"]["step_details"]["tool_calls"]:
            if "id" in call:
                call["function"]["arguments"] = "{"
    return [event]


@event("a delta is lost", 102)
def _(event: Event, memory: Json) -> list[Event]:
    memory["deltas"] = memory.get("deltas", 0) + (event.name == "thread.message.delta")
    return [] if event.name == "thread.message.delta" and memory["deltas"] == 2 else [event]


@event("a delta comes twice", 102)
def _(event: Event, memory: Json) -> list[Event]:
    return [event, event] if event.name == "thread.message.delta" else [event]


@event("a message is created with its content", 99)
def _(event: Event, memory: Json) -> list[Event]:
    if event.name == "thread.message.created":
        return [
            Event(event.name, {**event.data, "content": [{"type": "text", "text": {"value": "", "annotations": []}}]})
        ]
    return [event]


@event("the completed message has another text", 102)
def _(event: Event, memory: Json) -> list[Event]:
    if event.name == "thread.message.completed":
        event.data["content"][0]["text"]["value"] += "."
    return [event]


@event("a step is completed before its function was answered", 107)
def _(event: Event, memory: Json) -> list[Event]:
    if event.name == "thread.run.step.in_progress":
        memory["step"] = event.data
    if event.name != "thread.run.requires_action":
        return [event]
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    step = {**memory["step"], "status": "completed", "completed_at": memory["step"]["created_at"], "usage": usage}
    return [Event("thread.run.step.completed", step), event]


@event("after outputs the completed step is not told", 108)
def _(event: Event, memory: Json) -> list[Event]:
    is_first = not memory.setdefault("begun", False)
    memory["begun"] = True
    return [] if is_first and event.name == "thread.run.step.completed" else [event]


@event("a failed run is told as completed", 109)
def _(event: Event, memory: Json) -> list[Event]:
    return [Event("thread.run.completed", event.data)] if event.name == "thread.run.failed" else [event]


@event("of a cancelled run the open message is not told", 111)
def _(event: Event, memory: Json) -> list[Event]:
    return [] if event.name == "thread.message.incomplete" else [event]


@answer("a stream is called JSON", 100)
def _(answer: Answer) -> None:
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        answer.headers["content-type"] = "application/json"


# ---- the proxy

_MOUNT = re.compile(r"/+(?:openai/v1|openai/deployments/[^/]+|openai|v1)(/.*)")
_DROPPED = {
    "content-length",
    "transfer-encoding",
    "connection",
    "content-encoding",
    "keep-alive",
    "host",
    "date",
    "server",
}


@dataclass
class Proxy:
    """Stands in front of servers, in a thread of its own, and falsifies their answers in the way of `corruption`."""

    corruption: Corruption | None = None
    memory: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="corrupting-proxy", daemon=True)
        self._thread.start()
        self._runners: list[web.AppRunner] = []
        self.crashes: list[str] = []
        """Corruptions that could not be carried out: what is noticed of them says nothing."""
        self._session: aiohttp.ClientSession | None = None

    def corrupt(self, corruption: Corruption | None) -> None:
        """From the next request on."""
        self.corruption, self.memory = corruption, {}

    def in_front_of(self, endpoint: str) -> str:
        """The address of the proxy for a server at this one."""
        return asyncio.run_coroutine_threadsafe(self._open(endpoint), self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _open(self, endpoint: str) -> str:
        self._session = self._session or aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout())

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(endpoint, request)

        app = web.Application(client_max_size=1024**3)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._runners.append(runner)
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _handle(self, endpoint: str, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        corruption, memory = self.corruption, self.memory
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _DROPPED}
        url = yarl.URL(endpoint + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=body, skip_auto_headers=("content-type", "accept", "user-agent")
        ) as response:
            match = _MOUNT.fullmatch(request.path)
            answer = Answer(
                method=request.method,
                path=match[1] if match else request.path,
                query=dict(request.query),
                request_headers=dict(request.headers),
                status=response.status,
                headers={n.lower(): v for n, v in response.headers.items() if n.lower() not in _DROPPED},
                body=b"",
                memory=memory,
            )
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                return await self._stream(corruption, answer, request, response)
            answer.body = await response.read()
        self._falsify(corruption, answer)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def _stream(
        self, corruption: Corruption | None, answer: Answer, request: web.Request, response: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        self._falsify(corruption, answer)
        out = web.StreamResponse(status=answer.status, headers=answer.headers)
        await out.prepare(request)
        rest, memory = b"", {}
        async for piece in response.content.iter_any():
            *blocks, rest = (rest + piece).split(b"\n\n")
            for block in blocks:
                told = self._retell(corruption, block, memory)
                with suppress(ConnectionError):
                    await out.write(b"".join(each + b"\n\n" for each in told))
        await out.write_eof()
        return out

    def _falsify(self, corruption: Corruption | None, answer: Answer) -> None:
        if corruption is None or corruption.answer is None:
            return
        try:
            corruption.answer(answer)
        except Exception as error:
            self.crashes.append(f"{corruption.name}: {error!r}")

    def _retell(self, corruption: Corruption | None, block: bytes, memory: Json) -> list[bytes]:
        """The blocks a client gets in place of this one."""
        lines = [line for line in block.decode().split("\n") if not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines if line)
        if corruption is None or corruption.event is None or "event" not in fields:
            return [block]
        name, data = fields["event"], fields["data"]
        try:
            told = corruption.event(Event(name, data if name == "done" else json.loads(data)), memory)
        except Exception as error:
            self.crashes.append(f"{corruption.name}: {error!r}")
            return [block]
        return [_block(each) for each in told]


def _block(event: Event) -> bytes:
    data = event.data if event.name == "done" else json.dumps(event.data)
    return f"event: {event.name}\ndata: {data}".encode()
