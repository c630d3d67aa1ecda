from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locum.tools.code_interpreter import CodeReader, code_of


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('{"code": "print(1)"}', "print(1)"),
        ('{"code": "a\\nb"}', "a\nb"),
        ('{"code": "a\nb"}', "a\nb"),  # a raw line break is not JSON, but it is common
        ('"print(1)"', "print(1)"),
        ('{"source": "print(1)"}', "print(1)"),
        ("print(1)", "print(1)"),
        ('{"code": "print(1)', '{"code": "print(1)'),
        ('{"a": "x", "b": "y"}', '{"a": "x", "b": "y"}'),
    ],
)
def test_the_code_is_found_in_whatever_the_model_sent(arguments: str, code: str) -> None:
    assert code_of(arguments) == code


@given(
    code=st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    ascii_only=st.booleans(),
    cuts=st.lists(st.integers(min_value=1, max_value=7), min_size=1),
)
def test_code_is_read_piece_by_piece_wherever_its_json_is_cut(code: str, ascii_only: bool, cuts: list[int]) -> None:
    arguments = json.dumps({"code": code}, ensure_ascii=ascii_only)
    reader, read, position, turn = CodeReader(), "", 0, 0
    while position < len(arguments):
        step = cuts[turn % len(cuts)]
        read += reader.feed(arguments[position : position + step])
        position, turn = position + step, turn + 1
    assert read == code


def test_arguments_of_another_form_are_not_read_ahead() -> None:
    reader = CodeReader()
    assert reader.feed("print(") + reader.feed("1)") == ""
