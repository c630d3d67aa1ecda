"""What every request passes before its handler, and every response on its way out.

Covered: dialect, key, Host and Origin of keyless servers, the response headers clients look for, and every exception.
A pure ASGI middleware: it never touches a body, so streams pass as they come.
"""

from __future__ import annotations

import inspect
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

import structlog
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from locum import ids
from locum.access.principals import Principal
from locum.api.dialect import Address, Call, UnknownRoute, locate, version_of
from locum.api.errors import describe
from locum.api.guard import guard
from locum.api.replies import Json
from locum.errors import Unauthenticated, Unavailable
from locum.sandbox.session import Status

T = TypeVar("T")

Authenticate = Callable[[list[str]], "Principal | Awaitable[Principal]"]
"""The keys a request presents, none twice -> who calls; raises Unauthenticated."""

Watch = Callable[[list[str], Callable[[], None]], AbstractContextManager[None]]
"""The keys a request presents, and a function to call once they would be rejected, as long as the context lasts."""

Ready = Callable[[], "Awaitable[Status] | Status"]
"""How the code interpreter's code is held. Raises Unavailable, with the reason, while the server cannot serve."""

_log = structlog.get_logger("locum.api")


Metrics = Callable[[], Awaitable[bytes]]
"""The figures of the whole server, in Prometheus' text format."""

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Edge:
    """The middleware. `guard_hosts` is on for a server without keys, which answers to pages of `origins` only. `strict`
    is told to everything behind."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticate: Authenticate,
        watch: Watch,
        guard_hosts: bool,
        ready: Ready,
        metrics: Metrics,
        strict: bool,
        origins: tuple[str, ...],
    ) -> None:
        self._app = app
        self._authenticate = authenticate
        self._watch = watch
        self._guard_hosts = guard_hosts
        self._ready = ready
        self._metrics = metrics
        self._strict = strict
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in ("/healthz", "/readyz"):
            answer = await self._health(scope["path"])
            await answer(scope, receive, _Outgoing(send, ids.new("req_"), on_azure=False))
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, request_id = Headers(scope=scope), ids.new("req_")
        address = locate(scope["path"])
        outgoing = _Outgoing(send, request_id, on_azure=address is not None and address.surface == "azure")
        try:
            if self._guard_hosts:
                guard(headers.getlist("host"), headers.getlist("origin"), allowed=self._origins)
            if scope["path"] == "/metrics":
                answer = await self._scrape(headers)
                return await answer(scope, receive, outgoing)
            if address is None:
                raise UnknownRoute
            presented = presented_keys(headers)
            call = await self._identify(address, presented, headers, scope["query_string"], request_id)
            state = {**scope.get("state", {}), "call": call, "watch_key": partial(self._watch, presented)}
            inner = {**scope, "path": address.path, "root_path": "", "state": state}
            await self._app(inner, receive, outgoing)
        except ClientDisconnect:
            return None  # nobody is left to answer
        except Exception as error:  # the border of a request: whatever it is, the client gets an answer
            shown = address or Address(path=scope["path"], surface="openai")
            problem = describe(error, method=scope["method"], path=scope["path"])
            if problem.status == 500 or outgoing.has_begun:
                _log.error("request failed", request_id=request_id, path=scope["path"], exc_info=error)
            if not outgoing.has_begun:
                response = Json(problem.body(shown), status_code=problem.status, headers=problem.headers)
                await response(scope, receive, outgoing)

    async def _identify(
        self, address: Address, presented: list[str], headers: Headers, query: bytes, request_id: str
    ) -> Call:
        principal = await _value(self._authenticate(presented))
        version = version_of(
            address,
            api_version=QueryParams(query).get("api-version"),
            beta=",".join(headers.getlist("openai-beta")),
            strict=self._strict,
        )
        return Call(
            surface=address.surface,
            azure_v1=address.azure_v1,
            version=version,
            principal=principal,
            request_id=request_id,
            strict=self._strict,
        )

    async def _scrape(self, headers: Headers) -> Response:
        """The figures are of all resources: a key must have been made for it."""
        principal = await _value(self._authenticate(presented_keys(headers)))
        principal.require("metrics:read")
        return Response(await self._metrics(), media_type=_PROMETHEUS)

    async def _health(self, path: str) -> Json:
        if path == "/healthz":
            return Json({"status": "ok"})
        try:
            sandbox = await _value(self._ready())
        except Unavailable as error:
            return Json({"status": "unavailable", "message": error.message}, status_code=503)
        return Json({"status": "ok", "code_interpreter": {"tier": sandbox.tier, "reason": sandbox.why}})


def presented_keys(headers: Headers) -> list[str]:
    """The keys of `Authorization: Bearer` and `api-key`. Old Azure clients send the same key in both."""
    bearer = (value[7:].strip() for value in headers.getlist("authorization") if value[:7].lower() == "bearer ")
    keys = list(dict.fromkeys(key for key in (*bearer, *map(str.strip, headers.getlist("api-key"))) if key))
    if len(keys) > 1:
        raise Unauthenticated("The keys of the request differ.", presented=keys[-1])
    return keys


class _Outgoing:
    """`send` with the headers clients look for, and the knowledge whether an answer has begun."""

    def __init__(self, send: Send, request_id: str, *, on_azure: bool) -> None:
        self._send = send
        self._request_id = request_id
        self._on_azure = on_azure
        self._began_at = time.perf_counter()
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._request_id
            headers["openai-version"] = "2020-10-01"
            headers["openai-processing-ms"] = str(round((time.perf_counter() - self._began_at) * 1000))
            if self._on_azure:
                headers["apim-request-id"] = str(uuid.uuid4())
        await self._send(message)


async def _value(result: T | Awaitable[T]) -> T:
    return await result if inspect.isawaitable(result) else result
