"""The whole API on one screen. Dialects have been peeled off before (`dialect`, `edge`), so every path is here once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from locum.api import assistants, files, messages, models, runs, steps, threads
from locum.api.edge import Authenticate, Edge, Ready
from locum.api.errors import UnknownRoute, WrongMethod
from locum.api.requests import ApiRequest
from locum.errors import InvalidRequest

if TYPE_CHECKING:
    from locum.services.catalog import Services

Handler = Callable[[ApiRequest], Awaitable[ASGIApp]]


async def not_served(request: ApiRequest) -> ASGIApp:
    """In the hosted API, and not here yet: said in words, as a bare 404 would look like a wrong address."""
    noun = request.scope["path"].split("/", 2)[1]
    raise InvalidRequest(f"'/{noun}' is not served by this version of Locum yet.", code="unsupported_endpoint")


ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/assistants", assistants.create),
    ("GET", "/assistants", assistants.list_),
    ("GET", "/assistants/{assistant_id}", assistants.retrieve),
    ("POST", "/assistants/{assistant_id}", assistants.update),
    ("DELETE", "/assistants/{assistant_id}", assistants.delete),
    ("POST", "/threads", threads.create),
    ("POST", "/threads/runs", runs.create_and_run),  # before /threads/{thread_id}, which would take it
    ("GET", "/threads/{thread_id}", threads.retrieve),
    ("POST", "/threads/{thread_id}", threads.update),
    ("DELETE", "/threads/{thread_id}", threads.delete),
    ("POST", "/threads/{thread_id}/messages", messages.create),
    ("GET", "/threads/{thread_id}/messages", messages.list_),
    ("GET", "/threads/{thread_id}/messages/{message_id}", messages.retrieve),
    ("POST", "/threads/{thread_id}/messages/{message_id}", messages.update),
    ("DELETE", "/threads/{thread_id}/messages/{message_id}", messages.delete),
    ("POST", "/threads/{thread_id}/runs", runs.create),
    ("GET", "/threads/{thread_id}/runs", runs.list_),
    ("GET", "/threads/{thread_id}/runs/{run_id}", runs.retrieve),
    ("POST", "/threads/{thread_id}/runs/{run_id}", runs.update),
    ("POST", "/threads/{thread_id}/runs/{run_id}/cancel", runs.cancel),
    ("POST", "/threads/{thread_id}/runs/{run_id}/submit_tool_outputs", runs.submit_tool_outputs),
    ("GET", "/threads/{thread_id}/runs/{run_id}/steps", steps.list_),
    ("GET", "/threads/{thread_id}/runs/{run_id}/steps/{step_id}", steps.retrieve),
    ("POST", "/files", files.create),
    ("GET", "/files", files.list_),
    ("GET", "/files/{file_id}", files.retrieve),
    ("DELETE", "/files/{file_id}", files.delete),
    ("GET", "/files/{file_id}/content", files.content),
    ("GET", "/models", models.list_),
    ("GET", "/models/{model:path}", models.retrieve),
    ("*", "/vector_stores", not_served),
    ("*", "/vector_stores/{rest:path}", not_served),
    ("*", "/uploads", not_served),
    ("*", "/uploads/{rest:path}", not_served),
)


def build(services: Services, *, authenticate: Authenticate, guard_hosts: bool, ready: Ready) -> ASGIApp:
    """The API as an ASGI application, with `/healthz` and `/readyz` beside it."""
    paths: dict[str, dict[str, Handler]] = {}
    for method, path, handler in ROUTES:
        paths.setdefault(path, {})[method] = handler
    routes = [Route(path, _Endpoint(services, handlers)) for path, handlers in paths.items()]
    router = Router(routes, redirect_slashes=False, default=_unknown)
    return Edge(router, authenticate=authenticate, guard_hosts=guard_hosts, ready=ready)


class _Endpoint:
    """A path with a handler for each method."""

    def __init__(self, services: Services, handlers: dict[str, Handler]) -> None:
        self._services = services
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["method"]) or self._handlers.get("*")
        if handler is None:
            raise WrongMethod(tuple(sorted(self._handlers)))
        response = await handler(ApiRequest(scope, receive, self._services))
        await response(scope, receive, send)


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    raise UnknownRoute
