"""Choice of the embedder by the settings, for the server and for the ingestion worker."""

from __future__ import annotations

import asyncio

from locum.errors import StartupError
from locum.ingestion.compute import ComputeProcess
from locum.search.embedders.base import Embedder
from locum.settings import Settings


async def open_embedder(settings: Settings, compute: ComputeProcess) -> Embedder | None:
    """Return the embedder of a server or of a directory, or None: then files are searched by their words alone.

    Raises StartupError for settings that contradict each other.
    """
    directory, base_url = settings.embedding_directory, settings.embedding_base_url
    if directory is not None and base_url is not None:
        raise StartupError("LOCUM_EMBEDDING_BASE_URL and LOCUM_EMBEDDING_DIRECTORY are two embedders: set one of them.")
    if directory is not None:
        from locum.search.embedders.local import LocalEmbedder

        # In a thread: the whole model is read for its digest.
        return await asyncio.to_thread(LocalEmbedder, directory, compute)
    if base_url is not None:
        from locum.search.embedders.remote import RemoteEmbedder  # imports an HTTP client

        return RemoteEmbedder(
            base_url=base_url,
            api_key=settings.embedding_api_key,
            model=settings.embedding_model,
            dimensions=settings.embedding_dimensions,
        )
    return None


def describe(embedder: Embedder | None) -> str:
    """Say how files are searched, for people."""
    if embedder is None:
        return "by words alone: set LOCUM_EMBEDDING_BASE_URL to search by meaning as well"
    return f"by words and by meaning, with {embedder.name}"
