"""From an exception to a response: the only place that does it.

Two envelopes exist: the Assistants backend's, on every surface, and the one of Azure's gateway, which
answers for keys, paths and methods on the classic Azure paths.
"""

from __future__ import annotations

from typing import Any

import msgspec

from locum.api.dialect import Address, UnknownRoute
from locum.errors import (
    Forbidden,
    InvalidRequest,
    LocumError,
    NotFound,
    StorageFull,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY)."
)
_AZURE_BAD_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)
_SERVER_ERROR = "The server had an error while processing your request. Sorry about that!"


class WrongMethod(LocumError):
    """The path exists, not the method."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__("Method not allowed")
        self.allowed = allowed


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is told; rendered by `body`."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    by_gateway: bool = False
    """On the classic Azure paths the gateway says this, in its own words (`gateway_message`) and envelope."""
    gateway_message: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    def body(self, address: Address) -> dict[str, Any]:
        """The envelope for the surface that was called."""
        if self.by_gateway and address.surface == "azure":
            message = self.gateway_message or self.message
            if address.is_azure_classic:
                return {"error": {"code": str(self.status), "message": message}}
            return _envelope(message, self.type, self.param, str(self.status))
        return _envelope(self.message, self.type, self.param, self.code)


def describe(error: Exception, *, method: str, path: str) -> Problem:
    """What is wrong, as a client may know it. What is not meant for clients becomes a bare 500."""
    match error:
        case InvalidRequest():
            return Problem(status=400, message=error.message, param=error.param, code=error.code)
        case NotFound(param="model"):
            return Problem(status=404, message=error.message, param=error.param, code="model_not_found")
        case NotFound():
            return Problem(status=404, message=error.message, param=error.param)
        case Unauthenticated(presented=None):
            return Problem(status=401, message=_NO_KEY, by_gateway=True, gateway_message=_AZURE_BAD_KEY)
        case Unauthenticated(presented=str(key)):
            return Problem(
                status=401,
                message=f"Incorrect API key provided: {_masked(key)}.",
                code="invalid_api_key",
                by_gateway=True,
                gateway_message=_AZURE_BAD_KEY,
            )
        case Forbidden():
            return Problem(status=403, message=error.message, code="forbidden", by_gateway=True)
        case TooLarge():
            return Problem(status=413, message=error.message)
        case UnknownRoute():
            message = f"Invalid URL ({method} {path})"
            return Problem(status=404, message=message, by_gateway=True, gateway_message=error.message)
        case WrongMethod():
            return Problem(
                status=405,
                message=f"Not allowed to {method} on {path}.",
                code="method_not_supported",
                by_gateway=True,
                gateway_message=error.message,
                headers={"allow": ", ".join(error.allowed)},
            )
        case StorageFull():
            headers = {"retry-after": str(error.retry_after)}
            return Problem(status=507, message=error.message, type="server_error", headers=headers)
        case Unavailable():
            headers = {"retry-after": str(error.retry_after)}
            return Problem(status=503, message=error.message, type="server_error", headers=headers)
        case _:
            return Problem(status=500, message=_SERVER_ERROR, type="server_error")


def stream_error(message: str, code: str) -> dict[str, Any]:
    """An `error` event, flat as in the schema and nested too: the SDKs raise on the second only."""
    type_ = "server_error" if code == "server_error" else "invalid_request_error"
    error = {"message": message, "type": type_, "param": None, "code": code}
    return {"error": error, **error}


def _masked(key: str) -> str:
    """Enough to tell which key it was; error texts end up in logs."""
    return f"{key[:3]}***{key[-4:]}" if len(key) >= 20 else "***"


def _envelope(message: str, type_: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}
