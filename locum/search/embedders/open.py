"""From the settings to the embedder."""

from __future__ import annotations

import asyncio

from locum.errors import StartupError
from locum.search.embedders.base import Embedder
from locum.search.workbench import Workbench
from locum.settings import Settings


async def open_embedder(settings: Settings, workbench: Workbench) -> Embedder | None:
    """A server's, that of a directory, or nobody: then files are searched by their words alone. StartupError says what
    is wrong with the settings."""
    directory, base_url = settings.embedding_directory, settings.embedding_base_url
    if directory is not None and base_url is not None:
        raise StartupError("LOCUM_EMBEDDING_BASE_URL and LOCUM_EMBEDDING_DIRECTORY are two embedders: set one of them.")
    if directory is not None:
        from locum.search.embedders.local import LocalEmbedder

        # It is read as a whole, for its digest.
        return await asyncio.to_thread(LocalEmbedder, directory, workbench)
    if base_url is not None:
        from locum.search.embedders.remote import RemoteEmbedder  # and an HTTP client

        return RemoteEmbedder(
            base_url=base_url,
            api_key=settings.embedding_api_key,
            model=settings.embedding_model,
            dimensions=settings.embedding_dimensions,
        )
    return None


def described(embedder: Embedder | None) -> str:
    """How files are searched, in words."""
    if embedder is None:
        return "by words alone: set LOCUM_EMBEDDING_BASE_URL to search by meaning as well"
    return f"by words and by meaning, with {embedder.name}"
