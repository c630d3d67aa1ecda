from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from locum.models.chat import ChatMessage, ToolCall, ToolDefinition
from locum.models.pictures import size_of
from locum.models.tokens import LOW_DETAIL, UNSEEN_IMAGE, Meter, count_text, image_tokens


def said(content: Any) -> tuple[ChatMessage, ...]:
    return (ChatMessage(role="user", content=content),)


def picture(kind: str, width: int, height: int, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, kind, **options)
    return file.getvalue()


def data_url(kind: str, width: int, height: int) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(picture(kind, width, height)).decode()


# Counted by two other implementations of the same vocabulary.
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("Hello, world!", 4),
        ("The quick brown fox", 4),
        ("안녕하세요, 세상! 오늘 날씨가 어때요?", 14),
        ("日本語のテキスト", 6),
        ("<|endoftext|> x", 8),
        ("a" * 1000, 125),
    ],
)
def test_text_is_counted_as_the_vocabulary_cuts_it(text: str, tokens: int) -> None:
    assert count_text(text) == tokens


def test_half_a_surrogate_pair_is_counted_and_not_refused() -> None:
    assert count_text("\ud800") >= 1


@pytest.mark.parametrize("character", ["a", " ", "\n", "가", "😀"])
def test_a_million_of_one_character_are_counted(character: str) -> None:
    assert count_text(character * 1_000_000) > 1000


@given(st.text(max_size=300), st.text(max_size=50))
def test_the_cheap_bound_is_never_less_than_the_count(text: str, arguments: str) -> None:
    meter = Meter()
    call = ToolCall(id="call_1", name="f", arguments=arguments)
    messages = (*said(text), ChatMessage(role="assistant", tool_calls=(call,)))
    tools = (ToolDefinition(name="f", description=text),)
    assert meter.count(messages, tools) <= meter.at_most(messages, tools)


# The figures of the hosted service's own documentation.
@pytest.mark.parametrize(
    ("size", "detail", "tokens"),
    [
        ((1024, 1024), "high", 765),
        ((1024, 1024), None, 765),
        ((2048, 4096), "high", 1105),
        ((4096, 8192), "low", LOW_DETAIL),
        ((100, 100), "high", 255),
    ],
)
def test_images_take_what_the_hosted_service_says(size: tuple[int, int], detail: str | None, tokens: int) -> None:
    image: dict[str, Any] = {"url": data_url("png", *size)}
    assert image_tokens(image | ({"detail": detail} if detail else {})) == tokens


def test_an_image_elsewhere_is_taken_for_one_of_middling_size() -> None:
    assert image_tokens({"url": "https://example.com/x.png"}) == UNSEEN_IMAGE
    assert image_tokens({"url": "data:image/png;base64,!!!"}) == UNSEEN_IMAGE


def test_the_bytes_of_an_image_are_no_text() -> None:
    parts = [
        {"type": "text", "text": "what is it"},
        {"type": "image_url", "image_url": {"url": data_url("png", 512, 512)}},
    ]
    assert Meter().at_most(said(parts)) < 1600
    assert Meter().count(said(parts)) == 3 + 4 + 3 + 255


def test_a_factor_is_learned_up_at_once_and_down_by_and_by() -> None:
    meter, prompt = Meter(), said("word " * 1000)
    exact = meter.count(prompt)
    meter.learn(prompt, (), int(exact * 0.8))
    assert meter.count(prompt) == pytest.approx(exact * 0.8, rel=0.01)
    meter.learn(prompt, (), int(exact * 1.3))
    assert meter.count(prompt) == pytest.approx(exact * 1.3, rel=0.01)
    meter.learn(prompt, (), exact)
    assert exact * 1.2 < meter.count(prompt) < exact * 1.3
    for _ in range(30):
        meter.learn(prompt, (), exact)
    assert meter.count(prompt) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("word " * 1000, 0),
        pytest.param("word " * 1000, 500, id="a server that has cut the prompt"),
        ("word " * 1000, 10**6),
        ("hi", 40),
    ],
)
def test_nothing_is_learned_from_nonsense_or_from_next_to_nothing(text: str, reported: int) -> None:
    meter = Meter()
    meter.learn(said(text), (), reported)
    assert meter.factor == 1.0


def test_a_prompt_with_a_picture_teaches_nothing() -> None:
    meter = Meter()
    picture = {"type": "image_url", "image_url": {"url": data_url("png", 512, 512)}}
    meter.learn(said([{"type": "text", "text": "word " * 1000}, picture]), (), 2500)
    assert meter.factor == 1.0


def test_a_text_by_itself_is_counted_with_the_factor_too() -> None:
    meter, prompt = Meter(), said("word " * 1000)
    assert meter.count_text("word " * 10) == 11
    meter.learn(prompt, (), meter.count(prompt) * 2)
    assert meter.count_text("word " * 10) == 22


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("png", {}),
        ("gif", {}),
        ("jpeg", {}),
        ("jpeg", {"progressive": True}),
        ("webp", {}),
        ("webp", {"lossless": True}),
    ],
)
def test_the_size_of_a_picture_stands_in_its_first_bytes(kind: str, options: dict[str, Any]) -> None:
    assert size_of(picture(kind, 640, 361, **options)) == (640, 361)


@pytest.mark.parametrize("kind", ["png", "gif", "jpeg", "webp"])
@given(data=st.data())
def test_broken_pictures_have_no_size_and_do_no_harm(kind: str, data: st.DataObject) -> None:
    whole = picture(kind, 20, 20)
    cut = data.draw(st.integers(0, len(whole)))
    noise = data.draw(st.binary(max_size=40))
    size = size_of(whole[:cut] + noise)
    assert size is None or (size[0] > 0 and size[1] > 0)
