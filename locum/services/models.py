"""Models: the names that can be asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from locum.access.principals import Principal
from locum.errors import NotFound


class Models:
    """`names` tells which names the model routes serve."""

    def __init__(self, names: Callable[[], Awaitable[list[str]]]) -> None:
        self._names = names

    async def list(self, principal: Principal) -> list[str]:
        return await self._names()

    async def retrieve(self, principal: Principal, name: str) -> str:
        if name not in await self._names():
            raise NotFound(f"The model '{name}' does not exist", param="model")
        return name
