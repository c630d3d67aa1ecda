from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locum.domain.files import File, Origin
from locum.domain.runs import Usage
from locum.domain.steps import CodeInterpreter, CodeInterpreterCall, Step, ToolCallsDetails, close, complete
from locum.tools.code_interpreter import CodeReader, LeftBehind, code_of, left_behind


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


def file(path: str, call: str, created_at: int = 1) -> File:
    origin = Origin(thread_id="thread_1", run_id="run_1", call_id=call, path=path)
    return File(
        id=f"file-{path}-{call}",
        created_at=created_at,
        filename=path,
        purpose="assistants_output",
        bytes=1,
        sha256="",
        origin=origin,
    )


def step(call: str, *, wrote: tuple[str, ...] = (), removed: tuple[str, ...] = (), is_done: bool = True) -> Step:
    cell = CodeInterpreter(input="", outputs=() if is_done else None, written=wrote, removed=removed)
    opened = Step(
        id=f"step_{call}",
        created_at=1,
        assistant_id="asst_1",
        thread_id="thread_1",
        run_id="run_1",
        step_details=ToolCallsDetails((CodeInterpreterCall(call, cell),)),
    )
    return complete(opened, now=1, usage=Usage()) if is_done else opened


def test_a_thread_without_cells_has_left_nothing() -> None:
    assert left_behind([], {}, {}) == LeftBehind()
    assert not left_behind([step("now", is_done=False)], {}, {}).has_run


def test_a_cell_that_was_cancelled_may_have_left_variables() -> None:
    assert left_behind([close(step("c", is_done=False), "cancelled", now=1, error=None)], {}, {}).has_run


def test_the_newest_version_of_each_path_is_left_newest_first() -> None:
    made = {"b": file("b", "1"), "a": file("a", "2")}
    left = left_behind([step("1", wrote=("a", "b")), step("2", wrote=("a",))], made, {})
    assert left.has_run
    assert list(left.files.items()) == [("a", made["a"]), ("b", made["b"])]


def test_a_path_that_a_cell_emptied_stays_empty_until_one_writes_it_again() -> None:
    made = {"a": file("a", "1"), "b": file("b", "3")}
    steps = [step("1", wrote=("a", "b")), step("2", removed=("a", "b")), step("3", wrote=("b",))]
    assert list(left_behind(steps, made, {}).files) == ["b"]


def test_an_older_version_does_not_take_the_place_of_one_that_was_deleted() -> None:
    steps = [step("1", wrote=("a",)), step("2", wrote=("a",))]
    assert left_behind(steps, {"a": file("a", "1")}, {}).files == {}


def test_a_caller_s_file_stands_where_it_is_newer() -> None:
    made = {"a": file("a", "1", created_at=10), "b": file("b", "1", created_at=10)}
    attached = {"a": file("a", "", created_at=11), "b": file("b", "", created_at=9)}
    assert list(left_behind([step("1", wrote=("a", "b"))], made, attached).files) == ["b"]
