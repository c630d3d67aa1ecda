"""/files"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from locum.api import multipart, validation
from locum.api.dialect import Address
from locum.api.errors import Problem
from locum.api.paging import listing
from locum.api.replies import Json, deleted
from locum.api.requests import ApiRequest
from locum.api.v2.objects import render_file
from locum.api.v2.requests.files import FileFields
from locum.domain.files import File
from locum.errors import InvalidRequest

CONTENT_TYPES = {
    "c": "text/x-c",
    "cpp": "text/x-c++",
    "css": "text/css",
    "csv": "application/csv",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "gif": "image/gif",
    "html": "text/html",
    "java": "text/x-java",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "md": "text/markdown",
    "pdf": "application/pdf",
    "php": "text/x-php",
    "png": "image/png",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "py": "text/x-python",
    "rb": "text/x-ruby",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "tex": "text/x-tex",
    "ts": "application/typescript",
    "txt": "text/plain",
    "webp": "image/webp",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xml": "application/xml",
    "zip": "application/zip",
}
"""By extension only: what a file's bytes look like is its author's word, and authors may be hostile."""


_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")


async def create(request: ApiRequest) -> Json:
    files, content_type = request.services.files, request.headers.get("content-type", "")
    async with multipart.form(content_type, request.stream(), file="file", fields=_FIELDS) as form:
        filename, chunks = await form.file()
        async with files.staged(chunks) as staged:
            values = await form.fields()
            fields = validation.parse(FileFields, _nested(values), surface=request.call.surface)
            file = await files.create(
                request.principal,
                staged,
                filename=filename,
                purpose=fields.purpose,
                surface=request.call.surface,
                expires_after_seconds=fields.expires_after.seconds if fields.expires_after else None,
                idempotency_key=request.idempotency_key(
                    repr((filename, sorted(values.items()), staged.written.sha256)).encode()
                ),
            )
    return Json(render_file(file))


def _nested(fields: dict[str, str]) -> dict[str, Any]:
    """`expires_after[seconds]` of a form is the `expires_after.seconds` of a JSON body; there it is a number."""
    body: dict[str, Any] = {}
    for name, value in fields.items():
        at, _, key = name.rstrip("]").partition("[")
        if not key:
            body[at] = value
        else:
            is_number = re.fullmatch("-?[0-9]{1,18}", value) is not None
            body.setdefault(at, {})[key] = int(value) if is_number else value
    return body


async def retrieve(request: ApiRequest) -> Json:
    return Json(render_file(await request.services.files.retrieve(request.principal, request.id("file_id"))))


async def list_(request: ApiRequest) -> Json:
    page, purpose = request.page(default=10_000, maximum=10_000), request.query("purpose")
    return Json(listing(await request.services.files.list(request.principal, page, purpose=purpose), render_file))


async def delete(request: ApiRequest) -> Json:
    file_id = request.id("file_id")
    await request.services.files.delete(request.principal, file_id)
    return deleted(file_id, "file")


async def content(request: ApiRequest) -> Response:
    files, file_id = request.services.files, request.id("file_id")
    file = await files.retrieve(request.principal, file_id)
    if request.call.strict and request.call.surface == "openai" and file.purpose == "assistants":
        raise InvalidRequest("Not allowed to download files of purpose: assistants")
    if _matches(request.headers.get("if-none-match", ""), file):
        return Response(status_code=304, headers={"etag": _etag(file)})
    headers, asked = download_headers(file), _asked_range(request, file)
    if asked is None:
        _, chunks = await files.content(request.principal, file_id)
        return StreamingResponse(request.while_valid(chunks), headers=headers)
    start, end = asked
    if start >= end:
        return _unsatisfiable(request, file)
    _, chunks = await files.content(request.principal, file_id, start, end)
    part = {"content-length": str(end - start), "content-range": f"bytes {start}-{end - 1}/{file.bytes}"}
    return StreamingResponse(request.while_valid(chunks), status_code=206, headers={**headers, **part})


_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """The bytes a Range header asks for, from the first up to and without the last: none of them where it cannot be
    satisfied. None where it is to be ignored: other units, several ranges, nonsense (RFC 9110, 14.2)."""
    found = _RANGE.fullmatch(header)
    first, last = found.groups() if found else ("", "")
    if first and last:
        return (int(first), min(int(last) + 1, size)) if int(first) <= int(last) else None
    if first:
        return int(first), size
    if last:  # that many from the end
        return max(0, size - int(last)), size
    return None


def _asked_range(request: ApiRequest, file: File) -> tuple[int, int] | None:
    """With If-Range, only if the client's part is of this very file."""
    if request.headers.get("if-range", _etag(file)) != _etag(file):
        return None
    return byte_range(",".join(request.headers.getlist("range")), file.bytes)


def _unsatisfiable(request: ApiRequest, file: File) -> Json:
    problem = Problem(
        status=416,
        message=f"Invalid range: the file '{file.id}' has {file.bytes} bytes.",
        code="invalid_range",
        headers={"content-range": f"bytes */{file.bytes}"},
    )
    address = Address(path=request.url.path, surface=request.call.surface, azure_v1=request.call.azure_v1)
    return Json(problem.body(address), status_code=problem.status, headers=problem.headers)


def _etag(file: File) -> str:
    """A file never changes, so its digest says all."""
    return f'"{file.sha256}"'


def _matches(if_none_match: str, file: File) -> bool:
    return any(each.strip().removeprefix("W/") in ("*", _etag(file)) for each in if_none_match.split(","))


def download_headers(file: File) -> dict[str, str]:
    """Never to be shown or run by a browser as a page of this server. RFC 6266: a plain name, and the exact one."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in file.filename)
    return {
        "content-type": CONTENT_TYPES.get(file.filename.rpartition(".")[2].lower(), "application/octet-stream"),
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file.filename, safe='')}",
        "content-length": str(file.bytes),
        "accept-ranges": "bytes",
        "etag": _etag(file),
        "content-security-policy": "sandbox; default-src 'none'",
    }
