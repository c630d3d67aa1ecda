"""A sentence-transformers model as ONNX, in the process that asks: `model.onnx` and `tokenizer.json` of a directory.

What else such a directory usually holds is taken into account: how many tokens the model reads
(`sentence_bert_config.json`, `config.json`), whether a text is the mean of its tokens or its first one
(`1_Pooling/config.json`), and what is put before queries and documents (`config_sentence_transformers.json`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locum.search.embedders.base import Kind, normalised

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"

_MOST_TOKENS = 512
_BATCH = 4
"""More at once take more memory and, on one thread, no less time: 450 MB and a sixth more time at 16 with MiniLM."""
_PROMPTS: dict[Kind, tuple[str, ...]] = {
    "query": ("query", "search_query"),
    "document": ("document", "passage", "search_document"),
}


class OnnxModel:
    """The model of a directory, loaded. It works in the calling thread alone."""

    def __init__(self, directory: Path) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(directory / MODEL), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {each.name for each in self._session.get_inputs()}
        outputs = [each.name for each in self._session.get_outputs()]
        self._output = next(
            (name for name in ("sentence_embedding", "last_hidden_state") if name in outputs), outputs[0]
        )
        self._tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
        self._tokenizer.enable_truncation(_most_tokens(directory))
        self._tokenizer.no_padding()
        self._takes_first = bool(_config(directory, "1_Pooling/config.json").get("pooling_mode_cls_token"))
        self._prompts = _config(directory, "config_sentence_transformers.json").get("prompts") or {}

    def embed(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """A row of length 1 for each text. Texts of about the same length are worked on together."""
        prompt = next((self._prompts[name] for name in _PROMPTS[kind] if self._prompts.get(name)), "")
        encoded = self._tokenizer.encode_batch([prompt + each.encode(errors="replace").decode() for each in texts])
        ids = [np.array(each.ids, np.int64) for each in encoded]
        order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
        found: dict[int, NDArray[np.float32]] = {}
        for first in range(0, len(order), _BATCH):
            batch = order[first : first + _BATCH]
            found.update(zip(batch, self._run([ids[at] for at in batch]), strict=True))
        rows = [found[at] for at in range(len(ids))]
        return normalised(np.stack(rows)) if rows else np.zeros((0, 0), np.float32)

    def _run(self, ids: list[NDArray[np.int64]]) -> NDArray[np.float32]:
        longest = max(map(len, ids))
        words = np.zeros((len(ids), longest), np.int64)
        mask = np.zeros_like(words)
        for row, each in enumerate(ids):
            words[row, : len(each)] = each
            mask[row, : len(each)] = 1
        given = {"input_ids": words, "attention_mask": mask, "token_type_ids": np.zeros_like(words)}
        (out,) = self._session.run([self._output], {name: given[name] for name in given if name in self._inputs})
        if out.ndim == 2:
            return np.asarray(out, np.float32)
        if self._takes_first:
            return np.asarray(out[:, 0], np.float32)
        weights = mask[:, :, None].astype(np.float32)
        return np.asarray((out * weights).sum(1) / np.maximum(weights.sum(1), 1), np.float32)


def _most_tokens(directory: Path) -> int:
    said = _config(directory, "sentence_bert_config.json").get("max_seq_length")
    places = _config(directory, "config.json").get("max_position_embeddings")
    return min(int(said or places or _MOST_TOKENS), _MOST_TOKENS)


def _config(directory: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads((directory / name).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
