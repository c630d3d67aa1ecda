"""An embedder on this machine: a directory with an ONNX model, run in a workbench, so that who asks stays free.

Who ingests has another workbench than who searches: a query does not wait behind documents.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from locum.errors import StartupError
from locum.models.chat import ModelError
from locum.search.embedders.base import Kind
from locum.search.embedders.onnx import MODEL, TOKENIZER
from locum.search.workbench import Workbench, WorkbenchError

_MOST_TEXTS = 32


class LocalEmbedder:
    """An `Embedder` of that directory; StartupError where it cannot be one."""

    def __init__(self, directory: Path, workbench: Workbench) -> None:
        for name in (MODEL, TOKENIZER):
            if not (directory / name).is_file():
                raise StartupError(
                    f"LOCUM_EMBEDDING_DIRECTORY={directory} has no {name}. Name the directory of a "
                    f"sentence-transformers model with {MODEL} and {TOKENIZER}."
                )
        if not all(map(importlib.util.find_spec, ("onnxruntime", "tokenizers"))):
            raise StartupError("LOCUM_EMBEDDING_DIRECTORY needs the ONNX runtime: pip install 'locum[embeddings]'.")
        self._directory = directory.resolve()
        self._workbench = workbench
        self.identity = f"local:{directory.resolve().name[:64]}:{_digest(self._directory)}"
        self.name = f"the model in {directory}"

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> NDArray[np.float32]:
        found = []
        try:
            for at in range(0, len(texts), _MOST_TEXTS):
                found.append(await self._workbench.embed(self._directory, texts[at : at + _MOST_TEXTS], kind))
        except WorkbenchError as error:
            # One that was met by the model comes again; that the process died may have been chance.
            raise ModelError(
                f"the model in {self._directory} cannot be used: {error}",
                kind="misconfigured" if error.kind else "unavailable",
            ) from None
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)

    async def close(self) -> None:
        """Nothing to do: the workbenches are their owner's to close."""


def _digest(directory: Path) -> str:
    digest = hashlib.sha256()
    for name in (MODEL, TOKENIZER):
        with (directory / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
