"""Which path, api-version and header mean what."""

from __future__ import annotations

import pytest

from locum.api.dialect import Address, locate, version_of
from locum.api.errors import UnknownRoute
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


@pytest.mark.parametrize("api_version", ["2024-02-15-preview", "2024-03-01-preview", "2024-04-01-preview"])
def test_azure_v1_is_refused_with_the_version_to_use(api_version: str) -> None:
    with pytest.raises(InvalidRequest, match="Use 'api-version=2024-05-01-preview' or later"):
        version_of(Address(path="/threads", surface="azure"), api_version=api_version, beta="assistants=v2")


def test_files_look_the_same_in_v1_and_are_served() -> None:
    assert version_of(Address(path="/files", surface="azure"), api_version="2024-02-15-preview", beta="") == 1
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


def test_v1_is_refused_with_the_header_to_send() -> None:
    with pytest.raises(InvalidRequest, match="not served by this version of Locum yet") as refused:
        version_of(Address(path="/assistants", surface="openai"), api_version=None, beta="assistants=v1")
    assert "assistants=v2" in refused.value.message
