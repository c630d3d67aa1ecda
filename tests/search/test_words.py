"""What terms a text is found by."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locum.search import words
from tests.search.properties import unhurried


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


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("how do I reset my password", "en"),
        ("Wie setze ich das Passwort zurück?", "de"),
        ("Comment est-ce que je change le mot de passe ?", "fr"),
        ("¿Cómo cambio la contraseña de mi cuenta?", "es"),
        ("Como é que eu mudo a minha senha?", "pt"),
        ("Come si cambia la password della posta?", "it"),
        ("Hoe kan ik mijn wachtwoord wijzigen?", "nl"),
        ("Как сбросить пароль от почты?", "ru"),
        ("reset password", None),
        ("", None),
    ],
)
def test_a_language_is_that_of_its_function_words(text: str, language: str | None) -> None:
    assert words.language_of(words.words(text)) == language


@pytest.mark.parametrize(
    ("text", "languages"),
    [
        ("how do I reset my password", ["en"]),
        ("reset password", ["en"]),
        ("Passwort zurücksetzen", ["latin"]),
        ("비밀번호 재설정", ["ko"]),
        ("東京タワーの高さ", ["ja"]),
        ("北京天安门", ["zh"]),
        ("Сброс пароля", ["ru"]),
        ("ภาษาไทย", ["thai"]),
        ("Kubernetes에서 pod 재시작 방법", ["ko", "en"]),
        ("3.14", []),
    ],
)
def test_a_text_is_in_these_languages(text: str, languages: list[str]) -> None:
    shares = words.languages_of(words.words(text))
    assert sorted(shares, key=lambda language: -shares[language]) == languages
    assert not shares or sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("refunds", "The refund is paid."),
        ("Häuser", "Das Haus steht in der Stadt und ist alt."),
        ("cafe", "Un café et une table dans la rue."),
        ("resume", "His résumé is on the table."),
        ("vector store", "class VectorStore: pass"),
        ("비밀번호", "새로운 비밀번호를 입력하십시오."),
        ("물", "물이 끓는다."),
        ("東京", "東京タワーの高さ"),
        ("塔", "东方明珠塔很高"),
        ("модели", "Эта модель не новая."),
    ],
)
def test_a_query_shares_a_term_with_what_it_is_about(query: str, document: str) -> None:
    language, terms, characters = words.terms(document)
    asked = {term for word in words.query_terms(query, [language]) for term in word}
    assert asked & ({*terms} | {*characters})


def test_function_words_of_a_query_are_not_looked_for_unless_it_has_no_others() -> None:
    assert words.query_terms("what is the refund", ["en"]) == [("refund",)]
    assert words.query_terms("to be or not to be", ["en"]) == [("to",), ("be",), ("or",), ("not",)]
    assert ("die",) in words.query_terms("how did Caesar die", ["en", "de"])


def test_a_word_is_looked_for_in_every_language_of_the_documents() -> None:
    assert words.query_terms("houses", ["en"]) == [("hous",)]
    assert words.query_terms("Kataloge", ["de", "ko"]) == [("katalog",)]
    assert set(words.query_terms("installations", ["en", "de"])[0]) == {"instal", "installation"}


def test_each_word_of_a_query_is_looked_for_once() -> None:
    assert words.query_terms("refund refund Refund", ["en"]) == [("refund",)]


@unhurried
@given(st.text())
def test_no_text_breaks_the_analysis_and_no_term_has_a_space(text: str) -> None:
    language, terms, characters = words.terms(text)
    assert language
    assert all(term and not any(character.isspace() for character in term) for term in (*terms, *characters))
    words.query_terms(text, words.LANGUAGES)


@unhurried
@given(st.text(alphabet=string.ascii_letters + string.digits + " _-.가나다한글漢字かな"))
def test_a_text_is_found_by_itself(text: str) -> None:
    language, terms, characters = words.terms(text)
    for word in words.query_terms(text, [language]):
        assert {*word} & ({*terms} | {*characters})
