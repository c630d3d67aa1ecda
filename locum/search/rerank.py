"""Asking a model which of the passages found answer best.

`POST {base_url}/rerank` as Cohere, Jina, vLLM and others serve it: {model, query, documents, top_n} gives
{results: [{index, relevance_score}]}. A search goes on without it: whatever is wrong there is one RerankFailed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from locum.errors import LocumError

if TYPE_CHECKING:
    import aiohttp

_MOST_BYTES = 1024 * 1024


class RerankFailed(LocumError):
    """No usable scores; the message says why, without any of the texts."""


class Reranker(Protocol):
    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the query, 0 to 1, in the order of the texts; RerankFailed when that fails."""
        ...


class _Result(msgspec.Struct):
    index: int
    relevance_score: float


class _Answer(msgspec.Struct):
    results: list[_Result]


_ANSWER = msgspec.json.Decoder(_Answer)


class RerankEndpoint:
    """A `Reranker` behind HTTP. session: gives the one the process shares; it stays its owner's to close."""

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        session: Callable[[], aiohttp.ClientSession],
        api_key: str | None = None,
        seconds: float = 5.0,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/rerank"
        self._model = model
        self._session = session
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        import aiohttp

        self._timeout = aiohttp.ClientTimeout(total=seconds)

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        import aiohttp

        asked = {"model": self._model, "query": query, "documents": list(texts), "top_n": len(texts)}
        try:
            async with self._session().post(
                self._url, data=msgspec.json.encode(asked), headers=self._headers, timeout=self._timeout
            ) as response:
                if response.status != 200:
                    raise RerankFailed(f"The reranker answered with status {response.status}.")
                body = bytearray()
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        raise RerankFailed("The reranker's answer is too long.")
        except TimeoutError:
            raise RerankFailed(f"The reranker did not answer within {self._timeout.total:g} seconds.") from None
        except (aiohttp.ClientError, OSError) as error:
            raise RerankFailed(f"The reranker cannot be reached: {type(error).__name__}.") from error
        return _scores(body, len(texts))


def _scores(body: bytes | bytearray, count: int) -> list[float]:
    """In the order of the texts. Some servers give logits: then all of them are squashed."""
    try:
        results = _ANSWER.decode(body).results
    except msgspec.MsgspecError:
        raise RerankFailed("The reranker's answer is not of the form {results: [{index, relevance_score}]}.") from None
    scores = {result.index: result.relevance_score for result in results}
    if scores.keys() != set(range(count)):
        raise RerankFailed(f"The reranker scored {len(scores)} of {count} texts.")
    if any(not 0 <= score <= 1 for score in scores.values()):
        scores = {index: 1 / (1 + math.exp(-max(-50.0, min(50.0, score)))) for index, score in scores.items()}
    return [scores[index] for index in range(count)]
