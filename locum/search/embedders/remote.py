"""An embedder behind any OpenAI-compatible `/embeddings`.

Texts go in batches. What a server does not take is found out and remembered: base64 for vectors (a quarter of the bytes
of numbers in JSON), and how many texts at a time.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from locum.errors import StartupError
from locum.models.chat import ModelError
from locum.models.openai_compatible import OpenAICompatible, RefusedError, SettingNames
from locum.search.embedders.base import Kind, normalised

log = structlog.get_logger(__name__)

_MOST_TEXTS = 64
_NAMES = SettingNames(
    base_url="LOCUM_EMBEDDING_BASE_URL", api_key="LOCUM_EMBEDDING_API_KEY", model="LOCUM_EMBEDDING_MODEL"
)


class RemoteEmbedder:
    """An `Embedder` at `base_url`. dimensions: to ask for; None takes what the model has.

    The identity is the model's name, not the address: a model that moves to another server stays the same.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None = None,
        model: str | None,
        dimensions: int | None = None,
        **options: Any,
    ) -> None:
        if not model:
            raise StartupError("LOCUM_EMBEDDING_BASE_URL needs LOCUM_EMBEDDING_MODEL: the name of the model there.")
        self._server = OpenAICompatible(base_url=base_url, api_key=api_key, names=_NAMES, **options)
        self._model = model
        self._dimensions = dimensions
        self._in_base64 = True
        self._size = _MOST_TEXTS
        self.identity = f"remote:{model}" + (f":{dimensions}" if dimensions else "")
        self.name = f"{model} at {self._server.base_url}"

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> NDArray[np.float32]:
        found: list[NDArray[np.float32]] = []
        in_base64, size, at = self._in_base64, self._size, 0
        while at < len(texts):
            batch = texts[at : at + size]
            try:
                answer = await self._server.call("embeddings", self._body(batch, in_base64), self._model)
            except RefusedError:
                if in_base64:
                    in_base64 = False
                elif len(batch) > 1:
                    size = len(batch) // 2
                else:
                    raise
                continue
            found.append(self._read(answer, len(batch)))
            at += len(batch)
            self._remember(in_base64, size)
        if not found:
            return np.zeros((0, 0), np.float32)
        if len({rows.shape[1] for rows in found}) > 1:
            raise self._garbage("vectors of different lengths")
        return normalised(np.concatenate(found))

    async def close(self) -> None:
        await self._server.close()

    def _body(self, texts: Sequence[str], in_base64: bool) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._model, "input": list(texts)}
        if in_base64:
            body["encoding_format"] = "base64"
        if self._dimensions:
            body["dimensions"] = self._dimensions
        return body

    def _remember(self, in_base64: bool, size: int) -> None:
        """What the server has just taken."""
        if (in_base64, size) != (self._in_base64, self._size):
            log.warning(
                "embedding server refuses some requests: asked otherwise from now on", base64=in_base64, texts=size
            )
            self._in_base64, self._size = in_base64, size

    def _read(self, answer: Any, count: int) -> NDArray[np.float32]:
        """The vectors in the order of the texts, whatever the order they came in."""
        try:
            entries = sorted(answer["data"], key=lambda each: each["index"])
            rows = [_vector(each["embedding"]) for each in entries]
            found = np.stack(rows) if rows else np.zeros((0, 0), np.float32)
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise self._garbage("what it sent is no list of vectors") from None
        if [each["index"] for each in entries] != list(range(count)):
            raise self._garbage(f"{len(entries)} vectors for {count} texts")
        if found.ndim != 2 or found.shape[1] == 0 or not np.isfinite(found).all():
            raise self._garbage("vectors that are empty or not made of numbers")
        return found

    def _garbage(self, what: str) -> ModelError:
        return ModelError(
            f"the model server at {self._server.base_url} gave no usable embeddings: {what}; "
            f"check {_NAMES.base_url} and {_NAMES.model}",
            kind="misconfigured",
        )


def _vector(said: Any) -> NDArray[np.float32]:
    """Base64 of little-endian floats, or a list of numbers, whatever was asked for."""
    if isinstance(said, str):
        return np.frombuffer(base64.b64decode(said, validate=True), dtype="<f4").astype(np.float32)
    return np.asarray(said, dtype=np.float32)
