"""From exception to envelope."""

from __future__ import annotations

from typing import Any

import pytest

from locum.api.dialect import Address, UnknownRoute
from locum.api.errors import WrongMethod, describe, stream_error
from locum.errors import Forbidden, InvalidRequest, LeaseLost, NotFound, TooLarge, Unauthenticated, Unavailable

OPENAI = Address(path="/threads", surface="openai")
AZURE = Address(path="/threads", surface="azure")
AZURE_V1 = Address(path="/threads", surface="azure", azure_v1=True)

AZURE_BAD_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)


def envelope(message: str, type_: str = "invalid_request_error", param: Any = None, code: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}


def body(error: Exception, address: Address) -> tuple[int, dict[str, Any]]:
    problem = describe(error, method="GET", path="/v1/x")
    return problem.status, problem.body(address)


@pytest.mark.parametrize("address", [OPENAI, AZURE, AZURE_V1])
def test_what_the_assistants_backend_says_has_one_envelope_everywhere(address: Address) -> None:
    assert body(InvalidRequest("no", param="a[0].b", code="c"), address) == (
        400,
        envelope("no", param="a[0].b", code="c"),
    )
    assert body(NotFound("No thread found with id 'thread_x'."), address) == (
        404,
        envelope("No thread found with id 'thread_x'."),
    )
    assert body(TooLarge("large"), address) == (413, envelope("large"))
    assert body(Unavailable("later"), address) == (503, envelope("later", "server_error"))


@pytest.mark.parametrize("error", [RuntimeError("secret"), LeaseLost("secret"), KeyError("secret")])
def test_what_is_not_meant_for_clients_becomes_a_bare_500(error: Exception) -> None:
    status, told = body(error, OPENAI)
    assert status == 500
    assert told == envelope("The server had an error while processing your request. Sorry about that!", "server_error")


def test_unavailable_says_when_to_try_again() -> None:
    assert describe(Unavailable("later", retry_after=7), method="GET", path="/").headers == {"retry-after": "7"}


def test_azures_gateway_has_an_envelope_of_its_own() -> None:
    assert body(UnknownRoute(), AZURE) == (404, {"error": {"code": "404", "message": "Resource not found"}})
    assert body(WrongMethod(("GET",)), AZURE) == (405, {"error": {"code": "405", "message": "Method not allowed"}})
    assert body(Unauthenticated("x"), AZURE) == (401, {"error": {"code": "401", "message": AZURE_BAD_KEY}})
    assert body(Unauthenticated("x", presented="k"), AZURE)[1] == {"error": {"code": "401", "message": AZURE_BAD_KEY}}
    assert body(Forbidden("from afar"), AZURE) == (403, {"error": {"code": "403", "message": "from afar"}})


def test_azure_v1_has_the_openai_envelope_with_the_gateways_words() -> None:
    assert body(Unauthenticated("x"), AZURE_V1) == (401, envelope(AZURE_BAD_KEY, code="401"))


def test_openai_tells_a_missing_key_from_a_wrong_one_and_shows_no_key() -> None:
    status, missing = body(Unauthenticated("x"), OPENAI)
    assert status == 401
    assert missing["error"]["message"].startswith("You didn't provide an API key.")
    assert missing["error"]["code"] is None
    _, wrong = body(Unauthenticated("x", presented="sk-0123456789abcdefghij"), OPENAI)
    assert wrong == envelope("Incorrect API key provided: sk-***ghij.", code="invalid_api_key")
    assert "sesame" not in str(body(Unauthenticated("x", presented="sesame"), OPENAI))


def test_a_wrong_method_names_the_right_ones() -> None:
    problem = describe(WrongMethod(("GET", "POST")), method="PUT", path="/v1/threads")
    assert problem.headers == {"allow": "GET, POST"}
    assert problem.message == "Not allowed to PUT on /v1/threads."


def test_a_stream_error_is_flat_and_nested() -> None:
    flat = {"message": "m", "type": "server_error", "param": None, "code": "server_error"}
    assert stream_error("m", "server_error") == {"error": flat, **flat}
