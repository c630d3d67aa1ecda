"""Bodies of uploads."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from locum.api.v2.requests.base import Body
from locum.api.v2.requests.files import ExpiresAfter
from locum.domain.files import UploadPurpose
from locum.domain.uploads import MAX_BYTES


class UploadBody(Body):
    """`POST /uploads`. `mime_type` is required and not used: a file's type is what its name says."""

    filename: str
    purpose: UploadPurpose
    bytes: Annotated[int, Field(ge=1, le=MAX_BYTES)]
    mime_type: str
    expires_after: ExpiresAfter | None = None


class CompleteBody(Body):
    """`POST /uploads/{upload_id}/complete`"""

    part_ids: Annotated[list[str], Field(min_length=1, fail_fast=True)]
    md5: str | None = None
