"""A request as handlers see it: every accessor answers, or raises what the client should hear."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from locum.access.principals import Principal
from locum.api import bodies, paging, strict, validation
from locum.api.dialect import Call
from locum.api.shapes import SHAPES, Shapes
from locum.api.sse import WatchKey
from locum.domain.pages import Page
from locum.errors import InvalidRequest, Unauthenticated
from locum.services.idempotency import IdempotencyKey

if TYPE_CHECKING:
    from locum.services.catalog import Services

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

MAX_METADATA_PAIRS = 16
HOLD_SECONDS = 5.0
"""How long a polling SDK's question is held when nothing has changed."""

_LARGE_BYTES = 256 * 1024
"""A larger body is parsed in a thread: other requests have their turn between the steps of it."""
_PREFIXES = {"assistant_id": "asst", "thread_id": "thread", "message_id": "msg", "run_id": "run", "step_id": "step"}
_PREFIXES |= {"vector_store_id": "vs", "batch_id": "vsfb"}
_FILE_SEARCH_CONTENT = "step_details.tool_calls[*].file_search.results[*].content"


class ApiRequest(Request):
    """Starlette's request with the API's rules."""

    def __init__(self, scope: Scope, receive: Receive, services: Services) -> None:
        super().__init__(scope, receive)
        self.services = services
        self._raw = b""

    @property
    def call(self) -> Call:
        call = self.state.call
        assert isinstance(call, Call)
        return call

    @property
    def principal(self) -> Principal:
        return self.call.principal

    @property
    def shapes(self) -> Shapes:
        return SHAPES[self.call.version]

    def id(self, name: str) -> str:
        """An id from the path. Clients with a bug send `undefined` or `None`: the answer says which id it is."""
        value = str(self.path_params[name])
        prefix = _PREFIXES.get(name, "")
        if not value.startswith(prefix):
            raise validation.invalid_id(name, value, prefix)
        return value

    def query(self, name: str) -> str | None:
        """A query parameter; an empty one is an absent one."""
        value = self.query_params.get(name)
        if value is not None and "\0" in value:
            raise InvalidRequest(f"Invalid '{name}': NUL characters are not allowed.", param=name, code="invalid_value")
        return value or None

    def page(self, *, default: int = 20, maximum: int = 100) -> Page:
        """The page of a list that is asked for."""
        said = {name: value for name in ("limit", "order", "after", "before") if (value := self.query(name))}
        return paging.page_of(said, default=default, maximum=maximum)

    def includes_content(self) -> bool:
        """Whether `include[]` names the contents of file search results; there is nothing else to include."""
        said = [value for name in ("include[]", "include") for value in self.query_params.getlist(name)]
        for value in said:
            if value != _FILE_SEARCH_CONTENT:
                supported = validation.supported_values((_FILE_SEARCH_CONTENT,))
                raise InvalidRequest(f"Invalid value: '{value}'. {supported}", param="include", code="invalid_value")
        return bool(said)

    def choice(self, name: str, *known: str) -> str | None:
        """A query parameter that is one of these words; None where it is absent."""
        said = self.query(name)
        if said is not None and said not in known:
            supported = validation.supported_values(known)
            raise InvalidRequest(f"Invalid value: '{said}'. {supported}", param=name, code="invalid_value")
        return said

    @property
    def is_poll(self) -> bool:
        """Whether it comes from an SDK's poll helper that asks again when the answer says so."""
        headers = self.headers
        return headers.get("x-stainless-poll-helper") == "true" and "x-stainless-custom-poll-interval" not in headers

    def seconds(self, name: str, *, maximum: int) -> float | None:
        """How long a request may be held, as its query says; None where it does not."""
        said = self.query(name)
        if said is None:
            return None
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", said) or float(said) > maximum:
            raise InvalidRequest(
                f"Invalid '{name}': expected a number of seconds from 0 to {maximum}, but got '{said}' instead.",
                param=name,
                code="invalid_value",
            )
        return float(said)

    def metadata(self) -> dict[str, str]:
        """The pairs of `metadata[key]=value` in the query; an empty value is a value."""
        pairs: dict[str, str] = {}
        for name, value in self.query_params.multi_items():
            if not name.startswith("metadata[") and name != "metadata":
                continue
            match = re.fullmatch(r"metadata\[((?:(?!\]\[).)+)\]", name, re.DOTALL)
            if match is None:
                raise InvalidRequest(
                    f"Invalid {name!r}: expected 'metadata[key]=value'.", param="metadata", code="invalid_value"
                )
            if "\0" in name or "\0" in value or pairs.setdefault(match[1], value) != value:
                raise InvalidRequest(
                    f"Invalid {name!r}: expected one value, without NUL characters.",
                    param="metadata",
                    code="invalid_value",
                )
        if len(pairs) > MAX_METADATA_PAIRS:
            raise InvalidRequest(
                f"Invalid 'metadata': too many properties. Expected at most {MAX_METADATA_PAIRS}, "
                f"but got {len(pairs)} instead.",
                param="metadata",
                code="object_above_max_properties",
            )
        return pairs

    async def read(self, model: type[M]) -> M:
        """The JSON body as a model."""
        self._raw = await bodies.read(self.stream())
        if len(self._raw) > _LARGE_BYTES:
            return await asyncio.to_thread(self._parse, model)
        return self._parse(model)

    def _parse(self, model: type[M]) -> M:
        body = bodies.parse_object(self._raw)
        parsed = validation.parse(
            model,
            body,
            surface=self.call.surface,
            stores_per_object=self.services.vector_stores.per_object,
            image_urls=self.services.messages.image_urls,
        )
        if self.call.strict:
            strict.check(self.call, body)
        return parsed

    def idempotency_key(self, body: bytes | None = None) -> IdempotencyKey | None:
        """Return the `Idempotency-Key`, if any, with a digest of the method, path and body, which must have been read.

        body: replaces the body in the digest, for a form, whose boundary differs between repeated requests.
        """
        key = self.headers.get("idempotency-key")
        if key is None:
            return None
        if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
            raise InvalidRequest(
                "Invalid 'Idempotency-Key': expected 1 to 255 printable ASCII characters.",
                param="Idempotency-Key",
                code="invalid_value",
            )
        request = b"\n".join((self.method.encode(), self.scope["path"].encode(), self._raw if body is None else body))
        return IdempotencyKey(key, hashlib.sha256(request).hexdigest())

    @property
    def watch_key(self) -> WatchKey:
        """Give a function to call once the request's key is revoked, to an answer that lasts."""
        return cast(WatchKey, self.state.watch_key)

    async def unless_gone(self, working: Coroutine[Any, Any, T]) -> T:
        """Wait for the work as long as the client does and its key holds. The body must have been read."""
        work, gone = asyncio.ensure_future(working), asyncio.ensure_future(self._gone())
        revoked = asyncio.Event()
        ended = asyncio.ensure_future(revoked.wait())
        try:
            with self.watch_key(revoked.set):
                await asyncio.wait({work, gone, ended}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if revoked.is_set():
                raise Unauthenticated("The API key was revoked while the request waited.", presented="")
            raise ClientDisconnect
        finally:
            for task in (work, gone, ended):
                task.cancel()
            await asyncio.gather(work, gone, ended, return_exceptions=True)

    async def while_valid(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the chunks of an answer as long as the request's key holds."""
        revoked = asyncio.Event()
        with self.watch_key(revoked.set):
            async for chunk in chunks:
                if revoked.is_set():
                    raise Unauthenticated("The API key was revoked during the download.", presented="")
                yield chunk

    async def _gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
