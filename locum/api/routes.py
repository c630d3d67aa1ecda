"""The whole API on one screen. Dialects have been peeled off before (`dialect`, `edge`), so every path is here once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from locum.api import (
    assistants,
    cors,
    events,
    file_batches,
    files,
    messages,
    models,
    runs,
    steps,
    threads,
    uploads,
    vector_store_files,
    vector_stores,
)
from locum.api.dialect import Call, UnknownRoute
from locum.api.edge import Authenticate, Edge, Metrics, Ready, Watch
from locum.api.errors import WrongMethod
from locum.api.openapi.document import document
from locum.api.replies import Json
from locum.api.requests import ApiRequest
from locum.api.v1 import assistant_files, message_files

if TYPE_CHECKING:
    from locum.services.catalog import Services

Handler = Callable[[ApiRequest], Awaitable[ASGIApp]]


async def describe(request: ApiRequest) -> ASGIApp:
    """The OpenAPI document of the API in the dialect that is spoken."""
    return Json(document(offered(request.call), request.call))


ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/assistants", assistants.create),
    ("GET", "/assistants", assistants.list_),
    ("GET", "/assistants/{assistant_id}", assistants.retrieve),
    ("POST", "/assistants/{assistant_id}", assistants.update),
    ("DELETE", "/assistants/{assistant_id}", assistants.delete),
    ("POST", "/assistants/{assistant_id}/files", assistant_files.create),
    ("GET", "/assistants/{assistant_id}/files", assistant_files.list_),
    ("GET", "/assistants/{assistant_id}/files/{file_id}", assistant_files.retrieve),
    ("DELETE", "/assistants/{assistant_id}/files/{file_id}", assistant_files.delete),
    ("POST", "/threads", threads.create),
    ("GET", "/threads", threads.list_),
    ("POST", "/threads/runs", runs.create_and_run),  # before /threads/{thread_id}, which would take it
    ("GET", "/threads/{thread_id}", threads.retrieve),
    ("POST", "/threads/{thread_id}", threads.update),
    ("DELETE", "/threads/{thread_id}", threads.delete),
    ("POST", "/threads/{thread_id}/fork", threads.fork),
    ("POST", "/threads/{thread_id}/messages", messages.create),
    ("GET", "/threads/{thread_id}/messages", messages.list_),
    ("GET", "/threads/{thread_id}/messages/{message_id}", messages.retrieve),
    ("POST", "/threads/{thread_id}/messages/{message_id}", messages.update),
    ("DELETE", "/threads/{thread_id}/messages/{message_id}", messages.delete),
    ("GET", "/threads/{thread_id}/messages/{message_id}/files", message_files.list_),
    ("GET", "/threads/{thread_id}/messages/{message_id}/files/{file_id}", message_files.retrieve),
    ("POST", "/threads/{thread_id}/runs", runs.create),
    ("GET", "/threads/{thread_id}/runs", runs.list_),
    ("GET", "/threads/{thread_id}/runs/{run_id}", runs.retrieve),
    ("POST", "/threads/{thread_id}/runs/{run_id}", runs.update),
    ("POST", "/threads/{thread_id}/runs/{run_id}/cancel", runs.cancel),
    ("GET", "/threads/{thread_id}/runs/{run_id}/events", events.follow),
    ("POST", "/threads/{thread_id}/runs/{run_id}/submit_tool_outputs", runs.submit_tool_outputs),
    ("GET", "/threads/{thread_id}/runs/{run_id}/steps", steps.list_),
    ("GET", "/threads/{thread_id}/runs/{run_id}/steps/{step_id}", steps.retrieve),
    ("POST", "/files", files.create),
    ("GET", "/files", files.list_),
    ("GET", "/files/{file_id}", files.retrieve),
    ("DELETE", "/files/{file_id}", files.delete),
    ("GET", "/files/{file_id}/content", files.content),
    ("POST", "/uploads", uploads.create),
    ("POST", "/uploads/{upload_id}/parts", uploads.add_part),
    ("POST", "/uploads/{upload_id}/complete", uploads.complete),
    ("POST", "/uploads/{upload_id}/cancel", uploads.cancel),
    ("POST", "/vector_stores", vector_stores.create),
    ("GET", "/vector_stores", vector_stores.list_),
    ("GET", "/vector_stores/{vector_store_id}", vector_stores.retrieve),
    ("POST", "/vector_stores/{vector_store_id}", vector_stores.update),
    ("DELETE", "/vector_stores/{vector_store_id}", vector_stores.delete),
    ("POST", "/vector_stores/{vector_store_id}/search", vector_stores.search),
    ("POST", "/vector_stores/{vector_store_id}/files", vector_store_files.create),
    ("GET", "/vector_stores/{vector_store_id}/files", vector_store_files.list_),
    ("GET", "/vector_stores/{vector_store_id}/files/{file_id}", vector_store_files.retrieve),
    ("POST", "/vector_stores/{vector_store_id}/files/{file_id}", vector_store_files.update),
    ("DELETE", "/vector_stores/{vector_store_id}/files/{file_id}", vector_store_files.delete),
    ("GET", "/vector_stores/{vector_store_id}/files/{file_id}/content", vector_store_files.content),
    ("POST", "/vector_stores/{vector_store_id}/file_batches", file_batches.create),
    ("GET", "/vector_stores/{vector_store_id}/file_batches/{batch_id}", file_batches.retrieve),
    ("POST", "/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel", file_batches.cancel),
    ("GET", "/vector_stores/{vector_store_id}/file_batches/{batch_id}/files", file_batches.files),
    ("GET", "/models", models.list_),
    ("GET", "/models/{model:path}", models.retrieve),
    ("GET", "/openapi.json", describe),
)


_V1_ONLY = ("/assistants/{assistant_id}/files", "/threads/{thread_id}/messages/{message_id}/files")


def is_offered(call: Call, method: str, path: str) -> bool:
    """Whether the version that is spoken has a route of the table."""
    if call.version == 2:
        return not path.startswith(_V1_ONLY)
    if path.startswith(("/vector_stores", "/uploads")):
        return call.surface == "openai"  # where they need no version
    return (method, path) != ("DELETE", "/threads/{thread_id}/messages/{message_id}")


def offered(call: Call) -> list[tuple[str, str]]:
    """(method, path) of all that is served to whoever speaks like this."""
    return [(method, path) for method, path, _ in ROUTES if is_offered(call, method, path)]


def build(
    services: Services,
    *,
    authenticate: Authenticate,
    watch: Watch,
    guard_hosts: bool,
    ready: Ready,
    metrics: Metrics,
    strict: bool = False,
    origins: tuple[str, ...] = (),
) -> ASGIApp:
    """The API as an ASGI application, with `/healthz`, `/readyz` and `/metrics` beside it. Web pages of `origins` may
    call it."""
    paths: dict[str, dict[str, Handler]] = {}
    for method, path, handler in ROUTES:
        paths.setdefault(path, {})[method] = handler
    routes = [Route(path, _Endpoint(services, path, handlers)) for path, handlers in paths.items()]
    router = Router(routes, redirect_slashes=False, default=_unknown)
    edge = Edge(
        router,
        authenticate=authenticate,
        watch=watch,
        guard_hosts=guard_hosts,
        ready=ready,
        metrics=metrics,
        strict=strict,
        origins=origins,
    )
    return cors.allow(edge, origins) if origins else edge


class _Endpoint:
    """A path with a handler for each method."""

    def __init__(self, services: Services, path: str, handlers: dict[str, Handler]) -> None:
        self._services = services
        self._path = path
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = ApiRequest(scope, receive, self._services)
        if not is_offered(request.call, scope["method"], self._path):
            raise UnknownRoute
        handler = self._handlers.get(scope["method"])
        if handler is None:
            allowed = (method for method in self._handlers if is_offered(request.call, method, self._path))
            raise WrongMethod(tuple(sorted(allowed)))
        response = await handler(request)
        await response(scope, receive, send)


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    raise UnknownRoute
