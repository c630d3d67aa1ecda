"""/vector_stores/{vector_store_id}/files"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

from locum.api.paging import listing
from locum.api.replies import Json, deleted
from locum.api.requests import HOLD_SECONDS, ApiRequest
from locum.api.v2.objects import render_file_content, render_vector_store_file
from locum.api.v2.requests.vector_stores import AttributesBody, VectorStoreFileBody
from locum.domain.vector_stores import FileStatus

if TYPE_CHECKING:
    from locum.domain.vector_stores import VectorStoreFile


async def create(request: ApiRequest) -> Json:
    store_id, new = request.id("vector_store_id"), (await request.read(VectorStoreFileBody)).to_params()
    files = request.services.vector_store_files
    return _answer(await files.create(request.principal, store_id, new, idempotency_key=request.idempotency_key()))


async def retrieve(request: ApiRequest) -> Json:
    """What an SDK's poll helper asks is held until something changes, as with runs."""
    store_id, file_id = request.id("vector_store_id"), request.id("file_id")
    files = request.services.vector_store_files
    if request.is_poll:
        return _answer(await files.wait(request.principal, store_id, file_id, HOLD_SECONDS), poll_after_ms=10)
    return _answer(await files.retrieve(request.principal, store_id, file_id), poll_after_ms=100)


async def list_(request: ApiRequest) -> Json:
    store_id, status = request.id("vector_store_id"), status_of(request)
    files = request.services.vector_store_files
    page = await files.list(request.principal, store_id, request.page(), status=status)
    return Json(listing(page, render_vector_store_file))


async def update(request: ApiRequest) -> Json:
    store_id, file_id = request.id("vector_store_id"), request.id("file_id")
    attributes = (await request.read(AttributesBody)).attributes or {}
    files = request.services.vector_store_files
    return _answer(await files.update(request.principal, store_id, file_id, attributes=attributes))


async def delete(request: ApiRequest) -> Json:
    store_id, file_id = request.id("vector_store_id"), request.id("file_id")
    await request.services.vector_store_files.delete(request.principal, store_id, file_id)
    return deleted(file_id, "vector_store.file.deleted")


async def content(request: ApiRequest) -> Json:
    store_id, file_id = request.id("vector_store_id"), request.id("file_id")
    files = request.services.vector_store_files
    return Json(render_file_content(await files.content(request.principal, store_id, file_id)))


def status_of(request: ApiRequest) -> FileStatus | None:
    """The state of files that a list is asked for."""
    return cast("FileStatus | None", request.choice("filter", *get_args(FileStatus)))


def _answer(file: VectorStoreFile, *, poll_after_ms: int | None = None) -> Json:
    headers = {"openai-poll-after-ms": str(poll_after_ms)} if poll_after_ms else None
    return Json(render_vector_store_file(file), headers=headers)
