"""/uploads"""

from __future__ import annotations

from locum.api import multipart
from locum.api.replies import Json
from locum.api.requests import ApiRequest
from locum.api.v2.objects import render_upload, render_upload_part
from locum.api.v2.requests.uploads import CompleteBody, UploadBody


async def create(request: ApiRequest) -> Json:
    body = await request.read(UploadBody)
    upload = await request.services.uploads.create(
        request.principal,
        filename=body.filename,
        purpose=body.purpose,
        size=body.bytes,
        expires_after_seconds=body.expires_after.seconds if body.expires_after else None,
    )
    return Json(render_upload(upload))


async def add_part(request: ApiRequest) -> Json:
    uploads, upload_id = request.services.uploads, request.id("upload_id")
    async with multipart.form(request.headers.get("content-type", ""), request.stream(), file="data") as form:
        _, chunks = await form.file()
        async with uploads.staged(request.principal, upload_id, chunks) as staged:
            await form.fields()  # there are none: reads the form to its end
            part = await uploads.add_part(request.principal, upload_id, staged)
    return Json(render_upload_part(part))


async def complete(request: ApiRequest) -> Json:
    upload_id, body = request.id("upload_id"), await request.read(CompleteBody)
    upload = await request.services.uploads.complete(
        request.principal, upload_id, body.part_ids, surface=request.call.surface, md5=body.md5
    )
    return Json(render_upload(upload))


async def cancel(request: ApiRequest) -> Json:
    upload = await request.services.uploads.cancel(request.principal, request.id("upload_id"))
    return Json(render_upload(upload))
