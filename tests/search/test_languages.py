"""What languages a text is taken to be in."""

from __future__ import annotations

import pytest

from locum.search.keyword.languages import said_by
from locum.search.keyword.words import written


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
    assert said_by(written(text)).language == language


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
    shares = said_by(written(text)).shares
    assert sorted(shares, key=lambda language: -shares[language]) == languages
    assert not shares or sum(shares.values()) == pytest.approx(1)
