"""https with a certificate of one's own, and web pages of other origins."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from cryptography.hazmat.primitives import serialization

from tests.api.edge import Answer, EdgeServer
from tests.certificates import Certificate
from tests.cli.commands import assert_one_line, locum
from tests.programs import run_code
from tests.serving import ServerProcess

KEY = "sk-right-key-of-this-test"
APP = "https://app.example.com"
OTHER = "https://evil.example.com"
STAINLESS = "authorization,content-type,openai-beta,x-stainless-arch,x-stainless-lang,x-stainless-retry-count"


# ---- https


def test_the_sdk_speaks_to_a_server_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path / "tls")
    trust = ssl.create_default_context(cafile=str(certificate.cert))
    with ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": "off", **certificate.env}) as server:
        assert server.base_url.startswith("https://127.0.0.1:")
        assert f'AzureOpenAI(azure_endpoint="{server.azure_endpoint}"' in server.output
        with server.openai(http_client=openai.DefaultHttpxClient(verify=trust)) as client:
            made = client.files.create(file=("a.txt", b"content"), purpose="assistants")
            assert client.files.content(made.id).read() == b"content"
        with server.azure(http_client=openai.DefaultHttpxClient(verify=trust)) as client:
            assistant = client.beta.assistants.create(model="m")
            thread = client.beta.threads.create(messages=[{"role": "user", "content": "hello"}])
            with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
                stream.until_done()
        with server.openai(max_retries=0) as client, pytest.raises(openai.APIConnectionError):
            client.models.list()  # nobody told it whom to trust


def test_a_certificate_may_be_given_by_flags(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path / "tls")
    arguments = ("serve", "--tls-cert", str(certificate.cert), "--tls-key", str(tmp_path / "nowhere.pem"))
    assert_one_line(locum(*arguments, cwd=tmp_path), "LOCUM_TLS_KEY", "nowhere.pem", "No such file or directory")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"LOCUM_TLS_KEY": ""}, ("LOCUM_TLS_CERT and LOCUM_TLS_KEY belong together",)),
        ({"LOCUM_TLS_CERT": ""}, ("LOCUM_TLS_CERT and LOCUM_TLS_KEY belong together",)),
        ({"LOCUM_TLS_CERT": "missing.pem"}, ("LOCUM_TLS_CERT=missing.pem", "No such file or directory")),
        ({"LOCUM_TLS_CERT": "."}, ("LOCUM_TLS_CERT=.", "Is a directory")),
        ({"LOCUM_TLS_KEY": "other/key.pem"}, ("LOCUM_TLS_KEY=other/key.pem is not the key of",)),
        ({"LOCUM_TLS_CERT": "no.pem"}, ("no.pem", "no certificate and private key in PEM form")),
        ({"LOCUM_TLS_KEY": "no.pem"}, ("no.pem", "no certificate and private key in PEM form")),
        ({"LOCUM_TLS_KEY": "locked/key.pem"}, ("LOCUM_TLS_KEY=locked/key.pem is encrypted",)),
    ],
)
def test_a_certificate_that_cannot_be_used_is_said_in_one_line(
    change: dict[str, str], words: tuple[str, ...], tmp_path: Path
) -> None:
    certificate = Certificate(tmp_path / "tls")
    Certificate(tmp_path / "other")
    Certificate(tmp_path / "locked").write_key(serialization.BestAvailableEncryption(b"secret"))
    (tmp_path / "no.pem").write_text("this is no certificate")
    env = {**certificate.env, **change}
    assert_one_line(locum("serve", "--port", "0", cwd=tmp_path, **env), *words)


# ---- web pages


@pytest.fixture(scope="module")
def open_to_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    """A server with a key that lets in the pages of one origin."""
    with EdgeServer(tmp_path_factory.mktemp("cors"), key=KEY, origins=(APP,)) as server:
        yield server


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    """A server with a key that lets in every page."""
    with EdgeServer(tmp_path_factory.mktemp("cors"), key=KEY, origins=("*",)) as server:
        yield server


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    """A keyless server that lets in the pages of one origin."""
    with EdgeServer(tmp_path_factory.mktemp("cors"), origins=(APP,)) as server:
        yield server


def preflight(server: EdgeServer, path: str, origin: str, method: str = "POST", headers: str = STAINLESS) -> Answer:
    asked = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": headers,
    }
    return server.request("OPTIONS", path, headers=asked, beta=False)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/threads",
        "/v1/threads/thread_x/runs",
        "/openai/assistants?api-version=2024-05-01-preview",
        "/openai/deployments/d/threads",
        "/v1/nothing",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_preflight_is_answered_on_every_path_before_a_key_is_asked_for(
    open_to_app: EdgeServer, path: str, method: str
) -> None:
    answer = preflight(open_to_app, path, APP, method)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert method in answer.headers["access-control-allow-methods"]
    assert set(STAINLESS.split(",")) <= set(answer.headers["access-control-allow-headers"].split(","))
    assert "Origin" in answer.headers["vary"]


def test_a_page_may_read_the_answer_and_its_headers(open_to_app: EdgeServer) -> None:
    answer = open_to_app.request("POST", "/v1/threads", {}, {"origin": APP, "authorization": f"Bearer {KEY}"})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == APP
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "openai-poll-after-ms", "retry-after"} <= set(exposed)
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("path", ["/v1/threads/undefined", "/v1/nothing", "/openai/threads"])
def test_a_page_may_read_errors_too(open_to_app: EdgeServer, path: str) -> None:
    for key, headers in (("", {}), (KEY, {"api-key": KEY})):
        answer = open_to_app.request("GET", path, headers={"origin": APP, **headers})
        assert (answer.status >= 400, bool(key) or answer.status == 401) == (True, True)
        assert answer.headers["access-control-allow-origin"] == APP


@pytest.mark.parametrize("origin", [OTHER, "null", "http://app.example.com", f"{APP}.evil.com", f"{APP}:8443"])
def test_pages_of_other_origins_may_not(open_to_app: EdgeServer, origin: str) -> None:
    refused = preflight(open_to_app, "/v1/threads", origin)
    assert (refused.status, "access-control-allow-origin" in refused.headers) == (400, False)
    answer = open_to_app.request("GET", "/v1/models", headers={"origin": origin, "api-key": KEY})
    assert "access-control-allow-origin" not in answer.headers


def test_browsers_are_never_told_to_send_cookies(open_to_app: EdgeServer, open_to_all: EdgeServer) -> None:
    for server in (open_to_app, open_to_all):
        answers = (
            preflight(server, "/v1/threads", APP),
            server.request("GET", "/v1/models", headers={"origin": APP, "api-key": KEY, "cookie": "a=b"}),
        )
        for answer in answers:
            assert "access-control-allow-credentials" not in answer.headers


def test_a_star_lets_in_every_page_that_has_a_key(open_to_all: EdgeServer) -> None:
    assert preflight(open_to_all, "/v1/threads", OTHER).headers["access-control-allow-origin"] == "*"
    answer = open_to_all.request("GET", "/v1/models", headers={"origin": OTHER, "api-key": KEY})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert open_to_all.request("GET", "/v1/models", headers={"origin": OTHER}).status == 401


def test_pages_are_let_in_only_when_asked_for(keyed: EdgeServer) -> None:
    answer = preflight(keyed, "/v1/threads", APP)
    assert (answer.status, "access-control-allow-origin" in answer.headers) == (401, False)
    answer = keyed.request("GET", "/v1/models", headers={"origin": APP, "api-key": KEY})
    assert (answer.status, "access-control-allow-origin" in answer.headers) == (200, False)


def test_a_keyless_server_lets_in_the_pages_its_owner_names_and_no_others(keyless: EdgeServer) -> None:
    assert preflight(keyless, "/v1/threads", APP).status == 200
    answer = keyless.request("POST", "/v1/threads", {}, {"origin": APP})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, APP)
    refused = keyless.request("POST", "/v1/threads", {}, {"origin": OTHER})
    assert (refused.status, refused.error["code"]) == (403, "forbidden")
    rebound = keyless.request("POST", "/v1/threads", {}, {"origin": APP, "host": "evil.example.com"})
    assert rebound.status == 403


def test_every_page_and_no_key_do_not_go_together(tmp_path: Path) -> None:
    done = locum("serve", "--port", "0", cwd=tmp_path, LOCUM_CORS_ORIGINS="https://a.example,*")
    assert_one_line(done, "LOCUM_CORS_ORIGINS=* needs a key")


@pytest.mark.parametrize(
    "origins", ["app.example.com", "https://app.example.com/path", "null", "https://*.example.com"]
)
def test_what_is_no_origin_is_said_in_one_line(origins: str, tmp_path: Path) -> None:
    done = locum("serve", "--port", "0", cwd=tmp_path, LOCUM_CORS_ORIGINS=origins)
    assert_one_line(done, "LOCUM_CORS_ORIGINS", origins, "expected origins such as https://app.example.com")


def test_the_owner_names_origins_in_a_setting(tmp_path: Path) -> None:
    env = {"LOCUM_SANDBOX": "off", "LOCUM_CORS_ORIGINS": f" {APP.upper()}/ , http://localhost:3000"}
    with ServerProcess(tmp_path / "data", env=env) as server, server.openai() as client:
        for origin in (APP, "http://localhost:3000"):
            answer = client.models.with_raw_response.list(extra_headers={"origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
        with pytest.raises(openai.PermissionDeniedError):
            client.models.list(extra_headers={"origin": OTHER})


OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def test_the_certificate_and_the_client_of_the_documentation_work(tmp_path: Path) -> None:
    (command,) = (
        each for each in re.findall(r"^```sh\n(.*?)^```", OPERATIONS, re.DOTALL | re.MULTILINE) if "openssl" in each
    )
    (program,) = re.findall(r"^```python\n(.*?)^```", OPERATIONS, re.DOTALL | re.MULTILINE)
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    env = {"LOCUM_SANDBOX": "off", "LOCUM_TLS_CERT": "cert.pem", "LOCUM_TLS_KEY": "key.pem"}
    with ServerProcess(tmp_path / "data", env=env) as server:
        here = program.replace("https://127.0.0.1:8000", server.azure_endpoint)
        done = run_code(here, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "data=[]" in done.stdout
