"""/threads/{thread_id}/messages/{message_id}/files"""

from __future__ import annotations

from locum.api.paging import listing
from locum.api.replies import Json
from locum.api.requests import ApiRequest
from locum.api.v1.links import linked, page_of
from locum.api.v1.objects import file_ids_of, render_message_file
from locum.domain.messages import Message

_NOUN = "message file"


async def list_(request: ApiRequest) -> Json:
    page, message = request.page(), await _message(request)
    return Json(listing(page_of(file_ids_of(message), page, noun=_NOUN), lambda id_: render_message_file(message, id_)))


async def retrieve(request: ApiRequest) -> Json:
    message = await _message(request)
    return Json(render_message_file(message, linked(request.id("file_id"), file_ids_of(message), noun=_NOUN)))


async def _message(request: ApiRequest) -> Message:
    thread_id, message_id = request.id("thread_id"), request.id("message_id")
    return await request.services.messages.retrieve(request.principal, thread_id, message_id)
