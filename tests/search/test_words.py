"""What words a text consists of."""

from __future__ import annotations

import pytest

from locum.search.keyword import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Café CAFÉ", ["café", "café"]),
        ("chunk_size", ["chunk", "size"]),
        ("VectorStoreFile", ["vector", "store", "file", "vectorstorefile"]),
        ("HTTPServer", ["http", "server", "httpserver"]),
        ("GPT-4는", ["gpt", "4", "는"]),
        ("東京タワー", ["東京タワー"]),
        ("ﬁle ①", ["file", "1"]),
        ("don't", ["don", "t"]),
        ("स्थिति", ["स्थिति"]),
        ("a" * 65, []),
        ("?! ...", []),
        ("", []),
    ],
)
def test_a_text_falls_into_these_words(text: str, expected: list[str]) -> None:
    assert words.words(text) == expected
