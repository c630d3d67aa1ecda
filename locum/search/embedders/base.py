"""What the rest of file search knows of an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Kind = Literal["document", "query"]


class Embedder(Protocol):
    """Makes vectors that are near one another where texts mean the same.

    identity: the same for as long as the vectors are comparable; kept with them and with each store. name: for people.
    """

    identity: str
    name: str

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> NDArray[np.float32]:
        """A row of length 1 for each text, (n, d); `ModelError` where there are none to be had now."""
        ...

    async def close(self) -> None: ...


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row with length 1; one that is all zeros stays so."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
