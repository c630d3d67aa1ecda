"""Which path, api-version and header mean what."""

from __future__ import annotations

import pytest

from locum.api.dialect import Address, UnknownRoute, locate, version_of
from locum.errors import InvalidRequest


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/assistants", Address(path="/assistants", surface="openai")),
        ("/v1/threads/runs", Address(path="/threads/runs", surface="openai")),
        ("//v1//assistants/", Address(path="/assistants", surface="openai")),
        ("/openai/assistants", Address(path="/assistants", surface="azure")),
        ("//openai/assistants", Address(path="/assistants", surface="azure")),
        ("/openai/deployments/gpt-4o/threads", Address(path="/threads", surface="azure")),
        ("/openai/deployments/v1/files", Address(path="/files", surface="azure")),
        ("/openai/v1/assistants", Address(path="/assistants", surface="azure", azure_v1=True)),
        ("/v1/models/team/model", Address(path="/models/team/model", surface="openai")),
        ("/openai/deployments/gpt-4o", Address(path="/deployments/gpt-4o", surface="azure")),
        ("/v1", None),
        ("/v1/", None),
        ("/openai", None),
        ("/v10/assistants", None),
        ("/assistants", None),
        ("/", None),
        ("", None),
        ("/v1/threads/thread_\0", None),
    ],
)
def test_a_path_has_an_address_in_its_dialect(path: str, expected: Address | None) -> None:
    assert locate(path) == expected


@pytest.mark.parametrize(
    "api_version",
    ["2024-05-01-preview", "2024-07-01-preview", "2025-04-01-preview", "2026-01-31-preview"],
)
def test_azure_previews_since_may_2024_are_v2(api_version: str) -> None:
    address = Address(path="/assistants", surface="azure")
    assert version_of(address, api_version=api_version, beta="assistants=v1") == 2


@pytest.mark.parametrize(
    "api_version",
    [
        None,
        "",
        "1999-01-01",
        "2024-02-01",
        "2024-06-01",
        "2024-10-21",
        "2024-02-14-preview",
        "2024-13-45-preview",
        "latest",
        "preview",
        "2024-05-01-PREVIEW",
        "2024-05-01-preview\n",
        "٢٠٢٤-٠٥-٠١-preview",
    ],
)
def test_azure_has_no_such_operation_in_other_versions(api_version: str | None) -> None:
    with pytest.raises(UnknownRoute):
        version_of(Address(path="/assistants", surface="azure"), api_version=api_version, beta="assistants=v2")


@pytest.mark.parametrize("api_version", ["2024-02-15-preview", "2024-03-01-preview", "2024-04-30-preview"])
@pytest.mark.parametrize("path", ["/assistants", "/threads", "/files"])
def test_earlier_azure_previews_are_v1_whatever_the_header_says(api_version: str, path: str) -> None:
    address = Address(path=path, surface="azure")
    assert version_of(address, api_version=api_version, beta="assistants=v2") == 1


@pytest.mark.parametrize(
    ("api_version", "version"),
    [
        ("2024-02-15-preview", 1),
        ("2024-03-01-preview", 1),
        ("2024-04-01-preview", 1),
        ("2024-05-01-preview", 2),
        ("2024-07-01-preview", 2),
        ("2024-12-01-preview", 2),
        ("2025-04-01-preview", 2),
    ],
)
def test_a_strict_server_knows_the_previews_azure_had(api_version: str, version: int) -> None:
    address = Address(path="/assistants", surface="azure")
    assert version_of(address, api_version=api_version, beta="", strict=True) == version


@pytest.mark.parametrize(
    "api_version", [None, "2024-02-16-preview", "2024-04-30-preview", "2024-06-01-preview", "2026-01-31-preview"]
)
def test_a_strict_server_knows_no_other_preview(api_version: str | None) -> None:
    with pytest.raises(UnknownRoute):
        version_of(Address(path="/assistants", surface="azure"), api_version=api_version, beta="", strict=True)


def test_files_need_no_beta_header() -> None:
    assert version_of(Address(path="/files", surface="openai"), api_version=None, beta="") == 2


@pytest.mark.parametrize("api_version", [None, "preview", "latest", "2024-05-01-preview"])
def test_azure_v1_paths_need_no_version_and_no_header(api_version: str | None) -> None:
    address = Address(path="/assistants", surface="azure", azure_v1=True)
    assert version_of(address, api_version=api_version, beta="") == 2


@pytest.mark.parametrize(
    "beta", ["assistants=v2", "assistants=v2,foo", "foo, assistants=v2", "assistants=v1,assistants=v2"]
)
def test_the_beta_header_may_be_a_list(beta: str) -> None:
    assert version_of(Address(path="/threads", surface="openai"), api_version=None, beta=beta) == 2


@pytest.mark.parametrize("beta", ["", None, "foo", "assistants=v3"])
def test_without_the_beta_header_the_hosted_text_says_how(beta: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        version_of(Address(path="/assistants", surface="openai"), api_version=None, beta=beta)
    assert refused.value.code == "invalid_beta"
    assert refused.value.message == (
        "You must provide the 'OpenAI-Beta' header to access the Assistants API. "
        "Please try again by setting the header 'OpenAI-Beta: assistants=v2'."
    )


@pytest.mark.parametrize("beta", ["assistants=v1", "foo, assistants=v1"])
def test_the_beta_header_asks_for_v1(beta: str) -> None:
    assert version_of(Address(path="/assistants", surface="openai"), api_version=None, beta=beta) == 1
