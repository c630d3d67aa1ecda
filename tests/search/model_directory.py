"""A real ONNX model of a few kilobytes in a directory: words become vectors, a text is the mean of its words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

WORDS = ("[PAD]", "[UNK]", "apple", "pear", "engine", "motor", "the", "query:")
DIMENSIONS = 8


def make_model(
    directory: Path, *, seed: int = 1, first_token: bool = False, prompts: dict[str, str] | None = None
) -> Path:
    """apple and pear are alike, engine and motor are, and the two pairs are not."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, pre_tokenizers

    directory.mkdir(parents=True)
    dice = np.random.default_rng(seed)
    table = dice.normal(size=(len(WORDS), DIMENSIONS)).astype(np.float32)
    table[3] = table[2] + 0.1 * table[3]
    table[5] = table[4] + 0.1 * table[5]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "words"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "words"])
    out = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "words", DIMENSIONS])
    gather = helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])
    graph = helper.make_graph([gather], "words", [ids, mask], [out], [numpy_helper.from_array(table, "table")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(directory / "model.onnx"))
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(directory / "tokenizer.json"))
    if first_token:
        (directory / "1_Pooling").mkdir()
        (directory / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    if prompts:
        (directory / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    (directory / "config.json").write_text(json.dumps({"max_position_embeddings": 64}))
    return directory
