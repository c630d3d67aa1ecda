"""Web pages of other origins may call the server, where its owner names them.

Covered: preflights, on every path and before any key is asked for, and the headers a page's program may read. A page
sends its key in a header of its own making, so browsers are never told that cookies or the like may come along.
"""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

_EXPOSED = (
    "apim-request-id",
    "content-disposition",
    "content-range",
    "etag",
    "openai-poll-after-ms",
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "x-request-id",
)


def allow(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """`app` for pages of these origins; `*` stands for all of them. Clients may send any header they like."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST", "DELETE"),
        allow_headers=("*",),
        expose_headers=_EXPOSED,
        max_age=7200,
    )
