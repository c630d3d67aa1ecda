"""Fields of an uploaded file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from locum.api.v2.requests.base import Body
from locum.domain.files import MAX_EXPIRES_AFTER_SECONDS, MIN_EXPIRES_AFTER_SECONDS, UploadPurpose


class ExpiresAfter(Body):
    """The lifetime of a file, in seconds after its creation."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=MIN_EXPIRES_AFTER_SECONDS, le=MAX_EXPIRES_AFTER_SECONDS)]


class FileFields(Body):
    """The form fields beside the file in `POST /files`."""

    purpose: UploadPurpose
    expires_after: ExpiresAfter | None = None
