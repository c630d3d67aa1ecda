"""The vocabulary: ids and lengths of tokens, and one module that knows the library behind them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import locum
from locum.models import vocabulary
from locum.models.vocabulary import byte_lengths, encode


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("hello world", [24912, 2375]),
        ("안녕하세요", [14307, 171731]),
        ("<|endoftext|>", [27, 91, 419, 1440, 919, 91, 29]),
    ],
)
def test_text_has_the_ids_of_o200k_base(text: str, ids: list[int]) -> None:
    assert encode(text).tolist() == ids


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8")))
def test_tokens_have_the_bytes_of_their_text(text: str) -> None:
    assert sum(byte_lengths()[token] for token in encode(text)) == len(text.encode())


def test_spelled_out_special_tokens_are_text() -> None:
    spellings = vocabulary._tokenizer().special_tokens()
    assert len(spellings) > 2
    for text in spellings:
        assert sum(byte_lengths()[token] for token in encode(text)) == len(text.encode()), text


def test_both_ways_to_encode_agree() -> None:
    text = "The first line.\nThen 5 more\n\n  indented (code)\r\n 한국어 문장입니다. 🙂 " * 20
    assert encode(text).tolist() == vocabulary._tokenizer().encode_ordinary(text)


def test_cache_of_words_is_bounded() -> None:
    encode(" ".join(f"word{number}" for number in range(500)), cached_words=100)
    assert vocabulary._tokenizer().cache_len <= 100


def imports(source: str) -> set[str]:
    """Return the top-level packages that some code imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_one_module_imports_the_library() -> None:
    package = Path(locum.__file__).parent
    importers = [
        module.relative_to(package).as_posix()
        for module in package.rglob("*.py")
        if "splintr" in imports(module.read_text(encoding="utf-8"))
    ]
    assert importers == ["models/vocabulary.py"]
