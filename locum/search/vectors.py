"""Vectors as 8-bit numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def quantise(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Vectors (n, d) at length 1 as 8-bit codes (n, d) and scales (n,): vector = code * scale. A zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors, dtype=np.float32), where=lengths > 0)
    scales = np.abs(unit).max(axis=1, initial=0.0) / 127
    codes = np.rint(np.divide(unit, scales[:, None], out=np.zeros_like(unit), where=scales[:, None] > 0))
    return codes.astype(np.int8), scales.astype(np.float32)
