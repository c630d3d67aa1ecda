"""/files"""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from locum.api import multipart
from locum.api.dialect import Address
from locum.api.errors import Problem
from locum.api.paging import listing
from locum.api.replies import Json, deleted
from locum.api.requests import ApiRequest
from locum.api.v2.objects import render_file
from locum.domain.files import File
from locum.errors import InvalidRequest

if TYPE_CHECKING:
    from locum.services.files import Staged

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


async def create(request: ApiRequest) -> Json:
    files = request.services.files
    form = await _read_form(request)
    file = await files.create(
        request.principal, form.staged, filename=form.filename, purpose=form.purpose, surface=request.call.surface
    )
    return Json(render_file(file))


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
    if _matches(request.headers.get("if-none-match", ""), file):
        return Response(status_code=304, headers={"etag": _etag(file)})
    headers, asked = download_headers(file), _asked_range(request, file)
    if asked is None:
        _, chunks = await files.content(request.principal, file_id)
        return StreamingResponse(chunks, headers=headers)
    start, end = asked
    if start >= end:
        return _unsatisfiable(request, file)
    _, chunks = await files.content(request.principal, file_id, start, end)
    part = {"content-length": str(end - start), "content-range": f"bytes {start}-{end - 1}/{file.bytes}"}
    return StreamingResponse(chunks, status_code=206, headers={**headers, **part})


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


@dataclass(frozen=True, kw_only=True)
class _Form:
    """What an upload brings."""

    staged: Staged
    filename: str
    purpose: str


async def _read_form(request: ApiRequest) -> _Form:
    """The fields may come before or after the file. Whatever goes wrong, no bytes stay behind."""
    staged: Staged | None = None
    filename = ""
    fields: dict[str, str] = {}
    form = multipart.parts(request.headers.get("content-type", ""), request.stream())
    try:
        async with aclosing(form):
            async for part in form:
                if part.name != "file":
                    fields[_known(part.name)] = await part.text()
                elif part.filename is None:
                    raise _invalid(
                        "Invalid type for 'file': expected a file, but got a string instead.", "invalid_type"
                    )
                elif staged is not None:
                    raise _invalid("Invalid 'file': expected one file, but got several instead.", "invalid_value")
                else:
                    staged, filename = await request.services.files.stage(part.chunks), part.filename
        if staged is None:
            raise _missing("file")
        if staged.bytes == 0:
            raise _invalid("Invalid 'file': the file is empty.", "invalid_value")
        if "purpose" not in fields:
            raise _missing("purpose")
    except BaseException:  # a client that goes away, too
        if staged is not None:
            await request.services.files.discard(staged)
        raise
    return _Form(staged=staged, filename=filename, purpose=fields["purpose"])


def _known(name: str) -> str:
    if name.startswith("expires_after"):
        raise InvalidRequest(
            f"'{name}': expiring files are not served by this version of Locum yet.",
            param=name,
            code="unsupported_parameter",
        )
    if name != "purpose":
        raise InvalidRequest(f"Unknown parameter: '{name[:100]}'.", param=name[:100], code="unknown_parameter")
    return name


def _invalid(message: str, code: str) -> InvalidRequest:
    return InvalidRequest(message, param="file", code=code)


def _missing(name: str) -> InvalidRequest:
    return InvalidRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def download_headers(file: File) -> dict[str, str]:
    """Never to be shown or run by a browser as a page of this server. RFC 6266: a plain name, and the exact one."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in file.filename)
    return {
        "content-type": CONTENT_TYPES.get(file.filename.rpartition(".")[2].lower(), "application/octet-stream"),
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file.filename, safe='')}",
        "content-length": str(file.bytes),
        "accept-ranges": "bytes",
        "etag": _etag(file),
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
    }
