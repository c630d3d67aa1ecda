"""Embedder on this machine: a directory with an ONNX model, run in a compute process.

The server and the ingestion worker have a compute process each: a query does not wait behind documents.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from locum.errors import StartupError
from locum.search.embedders.base import Kind
from locum.search.embedders.onnx import MODEL, TOKENIZER

_MOST_TEXTS = 32


class Compute(Protocol):
    """Runs a model in another process."""

    async def embed(self, directory: Path, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Return a row for each text, (n, d). Raises ModelError."""
        ...


class LocalEmbedder:
    """An `Embedder` of that directory; StartupError where it cannot be one."""

    def __init__(self, directory: Path, compute: Compute) -> None:
        for name in (MODEL, TOKENIZER):
            if not (directory / name).is_file():
                raise StartupError(
                    f"LOCUM_EMBEDDING_DIRECTORY={directory} has no {name}. Name the directory of a "
                    f"sentence-transformers model with {MODEL} and {TOKENIZER}."
                )
        if not all(map(importlib.util.find_spec, ("onnxruntime", "tokenizers"))):
            raise StartupError("LOCUM_EMBEDDING_DIRECTORY needs the ONNX runtime: pip install 'locum[embeddings]'.")
        self._directory = directory.resolve()
        self._compute = compute
        self.identity = f"local:{directory.resolve().name[:64]}:{_digest(self._directory)}"
        self.name = f"the model in {directory}"

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> NDArray[np.float32]:
        portions = [texts[at : at + _MOST_TEXTS] for at in range(0, len(texts), _MOST_TEXTS)]
        vectors = [await self._compute.embed(self._directory, portion, kind) for portion in portions]
        return np.concatenate(vectors) if vectors else np.zeros((0, 0), np.float32)

    async def close(self) -> None:
        """Do nothing: the compute process is closed by its owner."""


def _digest(directory: Path) -> str:
    digest = hashlib.sha256()
    for name in (MODEL, TOKENIZER):
        with (directory / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
