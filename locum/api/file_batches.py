"""/vector_stores/{vector_store_id}/file_batches"""

from __future__ import annotations

from locum.api.paging import listing
from locum.api.replies import Json
from locum.api.requests import HOLD_SECONDS, ApiRequest
from locum.api.v2.objects import render_file_batch, render_vector_store_file
from locum.api.v2.requests.vector_stores import FileBatchBody
from locum.api.vector_store_files import status_of


async def create(request: ApiRequest) -> Json:
    store_id, files = request.id("vector_store_id"), (await request.read(FileBatchBody)).to_params()
    state = await request.services.file_batches.create(
        request.principal, store_id, files, idempotency_key=request.idempotency_key()
    )
    return Json(render_file_batch(state))


async def retrieve(request: ApiRequest) -> Json:
    """What an SDK's poll helper asks is held until something changes, as with runs."""
    store_id, batch_id = request.id("vector_store_id"), request.id("batch_id")
    batches = request.services.file_batches
    if request.is_poll:
        state = await batches.wait(request.principal, store_id, batch_id, HOLD_SECONDS)
        return Json(render_file_batch(state), headers={"openai-poll-after-ms": "10"})
    state = await batches.retrieve(request.principal, store_id, batch_id)
    return Json(render_file_batch(state), headers={"openai-poll-after-ms": "100"})


async def cancel(request: ApiRequest) -> Json:
    store_id, batch_id = request.id("vector_store_id"), request.id("batch_id")
    return Json(render_file_batch(await request.services.file_batches.cancel(request.principal, store_id, batch_id)))


async def files(request: ApiRequest) -> Json:
    store_id, batch_id, status = request.id("vector_store_id"), request.id("batch_id"), status_of(request)
    batches = request.services.file_batches
    page = await batches.files(request.principal, store_id, batch_id, request.page(), status=status)
    return Json(listing(page, render_vector_store_file))
