"""LOCUM_DATABASE_URL: parameters of libpq, for the rows and the signals alike, also over TLS."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from locum.errors import StartupError
from locum.postgres_url import PostgresURL
from locum.signals.postgres import PostgresSignals
from locum.store.postgres import Postgres
from tests.certificates import Certificate
from tests.databases import PostgresServer
from tests.tls_front import TLSFront


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h/d", {"user": "u", "password": "p", "hosts": ("h",), "database": "d"}),
        ("postgres://h", {"user": None, "password": None, "hosts": ("h",), "database": ""}),
        ("postgresql+asyncpg://h:1,[::1]:2/d", {"hosts": ("h:1", "[::1]:2")}),
        ("postgresql://u%40x:p%2F%23@h/d%20e", {"user": "u@x", "password": "p/#", "database": "d e"}),
        ("postgresql:///d?host=%2Frun", {"hosts": ("",), "parameters": {"host": "/run"}}),
        ("postgresql://h/d", {"connect_seconds": 5.0, "session_attributes": None, "parameters": {}}),
        ("postgresql://h/d?connect_timeout=10", {"connect_seconds": 10.0, "parameters": {}}),
        ("postgresql://h/d?connect_timeout=1", {"connect_seconds": 2.0}),
        ("postgresql://h/d?connect_timeout=0", {"connect_seconds": None}),
        ("postgresql://h/d?target_session_attrs=read-write", {"session_attributes": "read-write"}),
        ("postgresql://h/d?sslmode=require", {"parameters": {"sslmode": "require"}}),
        ("postgresql://h/d?ssl=require", {"parameters": {"sslmode": "require"}}),
        ("postgresql://h/d?ssl=true", {"parameters": {"sslmode": "require"}}),
        ("postgresql://h/d?sslrootcert=system", {"parameters": {"sslrootcert": "system", "sslmode": "verify-full"}}),
    ],
)
def test_url_is_parsed_as_by_libpq(url: str, expected: dict[str, Any]) -> None:
    parsed = PostgresURL.parse(url)
    assert {name: getattr(parsed, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "must look like postgresql://user:password@host/database"),
        ("mysql://u:secret@h/d", "must begin with postgresql://, not mysql://"),
        ("postgresql://u:sec/ret@h/d", "Percent-encode special characters of the password"),
        ("postgresql://h:port/d", "must look like"),
        ("postgresql://h/d?sslmode=on", "sslmode=on. Expected one of: disable, allow, prefer, require, verify-ca"),
        ("postgresql://h/d?target_session_attrs=master", "target_session_attrs=master. Expected one of: any"),
        ("postgresql://h/d?connect_timeout=5s", "connect_timeout=5s. Expected a number of seconds"),
        ("postgresql://h/d?sslrootcert=/none.pem", "sslrootcert=/none.pem, which cannot be read (No such file"),
        ("postgresql://h/d?sslrootcert=/etc/passwd", "sslrootcert=/etc/passwd, which has no certificate"),
        ("postgresql://h/d?sslrootcert=system&sslmode=require", "needs sslmode=verify-full"),
        ("postgresql://u:secret@h/d?sslmodus=require", "unknown parameter 'sslmodus'. Known: application_name"),
    ],
)
def test_wrong_url_is_refused_without_its_password(url: str, words: str) -> None:
    with pytest.raises(StartupError) as refusal:
        PostgresURL.parse(url)
    assert words in refusal.value.message
    assert "sec" not in refusal.value.message.replace("seconds", "")


def test_url_is_shown_without_passwords() -> None:
    url = "postgresql://u:secret@a:1,b:2/d?sslmode=require&password=secret&sslpassword=secret&host=%2Frun"
    assert str(PostgresURL.parse(url)) == "postgresql://u:***@a:1,b:2/d?sslmode=require&host=/run"
    assert "secret" not in repr(PostgresURL.parse(url))


class TLSServer(NamedTuple):
    """An empty database on a PostgreSQL server that takes connections with TLS."""

    front: TLSFront
    database: str
    certificate: Certificate
    other_certificate: Certificate

    def url(self, query: str, host: str = "localhost") -> str:
        return f"postgresql://postgres:secret@{host}:{self.front.port}/{self.database}?{query}"

    def encrypted(self, query: str, host: str = "localhost") -> set[bool]:
        """Connect for rows and signals. Return one element if all connections agree in being encrypted or not."""
        self.front.connections.clear()
        asyncio.run(use(self.url(query, host)))
        assert len(self.front.connections) >= 2
        return set(self.front.connections)


@pytest.fixture(scope="module")
def tls_server(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TLSServer]:
    folder, url = tmp_path_factory.mktemp("tls"), sa.make_url(postgres.create())
    if "host" not in url.query:
        pytest.skip("The server of LOCUM_TEST_DATABASE_URL has no known Unix socket.")
    certificate, other = Certificate(folder / "right", address=None), Certificate(folder / "other")
    with TLSFront(str(url.query["host"]), certificate) as front:
        yield TLSServer(front, str(url.database), certificate, other)


async def use(url: str) -> None:
    """Open the rows and the signals, and pass a signal between two servers."""
    db = await Postgres.open(url)
    sender, receiver = PostgresSignals(url), PostgresSignals(url)
    sender.start()
    receiver.start()
    try:
        await asyncio.wait_for(asyncio.gather(sender.listening.wait(), receiver.listening.wait()), 20)
        sender.wake()
        woken, _ = await receiver.wait_for_work(10)
        assert woken
        assert await db.read(lambda conn: conn.scalar(sa.text("SELECT 1"))) == 1
    finally:
        await sender.close()
        await receiver.close()
        await db.close()


def refused(url: str) -> str:
    async def scenario() -> None:
        await (await Postgres.open(url)).close()

    with pytest.raises(StartupError) as refusal:
        asyncio.run(scenario())
    assert "secret" not in refusal.value.message
    return refusal.value.message


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sslmode=disable", False),
        ("sslmode=prefer", True),
        ("sslmode=require", True),
        ("ssl=require", True),
        ("sslmode=verify-ca&sslrootcert={cert}", True),
        ("sslmode=verify-full&sslrootcert={cert}&target_session_attrs=read-write&connect_timeout=10", True),
    ],
)
def test_rows_and_signals_use_tls_as_the_url_says(tls_server: TLSServer, query: str, *, expected: bool) -> None:
    assert tls_server.encrypted(query.format(cert=tls_server.certificate.cert)) == {expected}


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_certificate_of_another_authority_is_refused(tls_server: TLSServer, mode: str) -> None:
    url = tls_server.url(f"sslmode={mode}&sslrootcert={tls_server.other_certificate.cert}")
    assert "certificate verify failed" in refused(url)


def test_certificate_of_another_host_is_refused_by_verify_full_only(tls_server: TLSServer) -> None:
    query = f"sslrootcert={tls_server.certificate.cert}&sslmode="
    assert "certificate verify failed" in refused(tls_server.url(query + "verify-full", "127.0.0.1"))
    assert tls_server.encrypted(query + "verify-ca", "127.0.0.1") == {True}


def test_next_host_is_tried_where_one_does_not_serve(tls_server: TLSServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"127.0.0.1:9,127.0.0.1:{silent.getsockname()[1]},localhost"
        began = time.monotonic()
        assert tls_server.encrypted("sslmode=require&connect_timeout=2&target_session_attrs=primary", hosts) == {True}
        assert time.monotonic() - began < 20


def test_server_that_is_no_standby_is_refused_where_one_is_required(tls_server: TLSServer) -> None:
    assert "standby" in refused(tls_server.url("target_session_attrs=standby"))
    assert tls_server.encrypted("target_session_attrs=prefer-standby") == {True}


def test_silent_server_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        message = refused(f"postgresql://u:secret@127.0.0.1:{silent.getsockname()[1]}/d?connect_timeout=2")
        assert time.monotonic() - began < 10
    assert message.endswith("cannot be used: it did not answer within 2 s")
