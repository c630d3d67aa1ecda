"""/models"""

from __future__ import annotations

from typing import Any

from locum.api.replies import Json
from locum.api.requests import ApiRequest


async def list_(request: ApiRequest) -> Json:
    names = await request.services.models.list(request.principal)
    return Json({"object": "list", "data": [_render(name) for name in names]})


async def retrieve(request: ApiRequest) -> Json:
    name = await request.services.models.retrieve(request.principal, request.path_params["model"])
    return Json(_render(name))


def _render(name: str) -> dict[str, Any]:
    """When a model was made is not known here, and clients want a number."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "locum"}
