"""A server without a key answers its own machine only."""

from __future__ import annotations

import pytest

from locum.api.guard import guard, is_loopback
from locum.errors import Forbidden


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "LOCALHOST:1", "127.0.0.1:8000", "127.8.9.10", "[::1]", "[::1]:8000"]
)
def test_loopback_names_pass(host: str) -> None:
    assert is_loopback(host)
    guard([host], [])


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.com",
        "localhost.example.com",
        "127.0.0.1.nip.io",
        "10.0.0.1",
        "0.0.0.0:8000",
        "[::]",
        "[::2]:80",
        "::1",
        "[127.0.0.1]",
        "localhost:80:90",
        "localhost:",
        "127.0.0.1@evil.com",
        "evil.com#localhost",
        "[::1",
        "2130706433",
    ],
)
def test_other_names_are_refused(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(Forbidden):
        guard([host], [])


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil.com"]])
def test_exactly_one_host_is_expected(hosts: list[str]) -> None:
    with pytest.raises(Forbidden):
        guard(hosts, [])


@pytest.mark.parametrize("origin", ["http://localhost:8000", "https://localhost:8000", "http://LOCALHOST:8000"])
def test_our_own_pages_pass(origin: str) -> None:
    guard(["localhost:8000"], [origin])


@pytest.mark.parametrize(
    "origins",
    [
        ["http://evil.com"],
        ["null"],
        [""],
        ["http://localhost:9000"],
        ["http://127.0.0.1:8000"],
        ["http://localhost:8000.evil.com"],
        ["http://localhost:8000", "http://evil.com"],
        ["file://localhost:8000"],
    ],
)
def test_pages_of_another_origin_are_refused(origins: list[str]) -> None:
    with pytest.raises(Forbidden):
        guard(["localhost:8000"], origins)


def test_a_page_the_owner_named_passes_and_only_with_a_loopback_host() -> None:
    guard(["localhost:8000"], ["https://app.example.com"], allowed=("https://app.example.com",))
    for hosts, origins in (
        (["localhost:8000"], ["https://app.example.com.evil.com"]),
        (["localhost:8000"], ["https://app.example.com", "https://evil.com"]),
        (["app.example.com"], ["https://app.example.com"]),
    ):
        with pytest.raises(Forbidden):
            guard(hosts, origins, allowed=("https://app.example.com",))


def test_a_star_names_no_page() -> None:
    with pytest.raises(Forbidden):
        guard(["localhost:8000"], ["https://evil.com"], allowed=("*",))
