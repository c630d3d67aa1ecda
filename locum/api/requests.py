"""A request as handlers see it: every accessor answers, or raises what the client should hear."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import Receive, Scope

from locum.access.principals import Principal
from locum.api import bodies, paging, validation
from locum.api.dialect import Call
from locum.api.shapes import SHAPES, Shapes
from locum.domain.pages import Page
from locum.errors import InvalidRequest

if TYPE_CHECKING:
    from locum.services.catalog import Services

M = TypeVar("M", bound=BaseModel)

_PREFIXES = {"assistant_id": "asst", "thread_id": "thread", "message_id": "msg", "run_id": "run", "step_id": "step"}
_FILE_SEARCH_CONTENT = "step_details.tool_calls[*].file_search.results[*].content"


class ApiRequest(Request):
    """Starlette's request with the API's rules."""

    def __init__(self, scope: Scope, receive: Receive, services: Services) -> None:
        super().__init__(scope, receive)
        self.services = services

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

    def check_include(self) -> None:
        """`include[]` may name the contents of file search results: there are none yet, so it changes nothing."""
        for name in ("include[]", "include"):
            for value in self.query_params.getlist(name):
                if value != _FILE_SEARCH_CONTENT:
                    supported = validation.supported_values((_FILE_SEARCH_CONTENT,))
                    raise InvalidRequest(
                        f"Invalid value: '{value}'. {supported}", param="include", code="invalid_value"
                    )

    async def read(self, model: type[M]) -> M:
        """The JSON body as a model."""
        body = bodies.parse_object(await bodies.read(self.stream()))
        return validation.parse(model, body, surface=self.call.surface)
