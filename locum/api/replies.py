"""Responses."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response


class Json(Response):
    """A JSON response; domain values inside render themselves."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def deleted(id_: str, object_: str) -> Json:
    """What every delete answers."""
    return Json({"id": id_, "object": object_, "deleted": True})
