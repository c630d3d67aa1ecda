"""/vector_stores"""

from __future__ import annotations

from locum.api.paging import listing
from locum.api.replies import Json, deleted
from locum.api.requests import ApiRequest
from locum.api.v2.objects import render_search_results, render_vector_store
from locum.api.v2.requests.vector_stores import SearchBody, VectorStoreBody, VectorStoreChangesBody


async def create(request: ApiRequest) -> Json:
    new = (await request.read(VectorStoreBody)).to_params()
    state = await request.services.vector_stores.create(
        request.principal, new, idempotency_key=request.idempotency_key()
    )
    return Json(render_vector_store(state))


async def retrieve(request: ApiRequest) -> Json:
    store_id = request.id("vector_store_id")
    return Json(render_vector_store(await request.services.vector_stores.retrieve(request.principal, store_id)))


async def list_(request: ApiRequest) -> Json:
    page = await request.services.vector_stores.list(request.principal, request.page())
    return Json(listing(page, render_vector_store))


async def update(request: ApiRequest) -> Json:
    store_id = request.id("vector_store_id")
    changes = (await request.read(VectorStoreChangesBody)).to_params()
    return Json(render_vector_store(await request.services.vector_stores.update(request.principal, store_id, changes)))


async def delete(request: ApiRequest) -> Json:
    store_id = request.id("vector_store_id")
    await request.services.vector_stores.delete(request.principal, store_id)
    return deleted(store_id, "vector_store.deleted")


async def search(request: ApiRequest) -> Json:
    store_id = request.id("vector_store_id")
    query = (await request.read(SearchBody)).to_query()
    searched, found = await request.services.vector_stores.search(request.principal, store_id, query)
    return Json(render_search_results(searched, found))
