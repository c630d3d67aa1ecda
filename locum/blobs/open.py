"""From the setting to the blobs."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from locum.blobs.base import BlobStore
from locum.blobs.disk import DiskBlobs
from locum.errors import StartupError

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_FOLDER = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9!_.*'()-]+"
_PREFIX = re.compile(f"(?:{_FOLDER}(?:/{_FOLDER})*)?")


def open_blobs(url: str | None, data_dir: Path) -> BlobStore:
    """`file:///folder`, `s3://bucket/prefix`, or None for a folder in the data directory. StartupError says what is
    wrong with a URL."""
    if url is None:
        return DiskBlobs(data_dir / "blobs")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _bad(url, str(error)) from None
    if parts.query or parts.fragment:
        raise _bad(url, "it may not have '?' or '#'; credentials are read from AWS_ACCESS_KEY_ID and the like")
    match parts.scheme:
        case "file":
            return _on_disk(url, parts.netloc, unquote(parts.path))
        case "s3":
            return _in_s3(url, parts.netloc, parts.path.strip("/"))
        case _:
            raise _bad(url, "expected file:///folder or s3://bucket/prefix")


def folder_of(url: str | None, data_dir: Path) -> Path | None:
    """Return the folder of blobs on disk; None for a bucket, or a URL that `open_blobs` refuses."""
    if url is None:
        return data_dir / "blobs"
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return Path(unquote(parts.path)) if parts.scheme == "file" and parts.path else None


def _on_disk(url: str, host: str, path: str) -> BlobStore:
    if host not in ("", "localhost") or path in ("", "/"):
        raise _bad(url, "expected file:///folder, with three slashes")
    try:
        return DiskBlobs(Path(path))
    except OSError as error:
        raise _bad(url, f"the folder cannot be used ({error.strerror})") from error


def _in_s3(url: str, bucket: str, prefix: str) -> BlobStore:
    if not _BUCKET.fullmatch(bucket):
        raise _bad(url, "expected s3://bucket/prefix; a bucket has 3 to 63 small letters, digits, '.' and '-'")
    if not _PREFIX.fullmatch(prefix):
        raise _bad(url, "the prefix may have letters, digits and !_.*'()- between single slashes")
    try:
        from locum.blobs.s3 import S3Blobs
    except ImportError:
        raise StartupError("LOCUM_BLOB_URL=s3://... needs S3's client: pip install 'locum[s3]'.") from None
    return S3Blobs(bucket, prefix)


def _bad(url: str, why: str) -> StartupError:
    shown = re.sub(r"//.*@", "//***@", url)  # somebody may have put a secret there
    return StartupError(f"LOCUM_BLOB_URL={shown} cannot be used: {why}.")
