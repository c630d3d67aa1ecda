"""Bounds on what a connection may send before its key is known, against uvicorn in a thread and raw sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from locum.api.connections import Bounds, Connections, bounded_protocol, bounds_for

POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the method, the path and the body that arrived."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    text = b"%s %s %s" % (scope["method"].encode(), scope["raw_path"], body)
    headers = [(b"content-length", b"%d" % len(text)), (b"x-client", str(scope["client"][0]).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@contextmanager
def serving(**bounds: Any) -> Iterator[int]:
    """Serve `echo` with these bounds; the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        echo, http=bounded_protocol(Bounds(**bounds)), ws="none", lifespan="off", log_level="error", access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes, whether or not it cared for all that was sent."""
    data = b""
    while True:
        try:
            piece = connection.recv(65_536)
        except ConnectionResetError:
            return data
        if not piece:
            return data
        data += piece


def read_until(connection: socket.socket, end: bytes) -> None:
    data = b""
    while not data.endswith(end):
        piece = connection.recv(65_536)
        assert piece, data
        data += piece


def exchange(port: int, *pieces: bytes) -> bytes:
    with connected(port) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return read_all(connection)


def refusal(response: bytes) -> tuple[int, str]:
    """(status, message) of a refusal in the API's error format."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    return int(head.split()[1]), json.loads(body)["error"]["message"]


def test_head_of_more_than_64_kib_is_refused(port: int) -> None:
    status, message = refusal(exchange(port, POST + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n"))
    assert (status, message) == (431, "The head of the request is larger than 65536 bytes.")


def test_header_that_never_ends_is_refused_early(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(POST + b"X-A: ")
        sent = 0
        try:
            while sent < 10_000_000:
                sent += connection.send(b"a" * 16_384)
                connection.setblocking(False)
                try:
                    if connection.recv(12):
                        break
                except BlockingIOError:
                    pass
                finally:
                    connection.settimeout(10)
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert sent < 10_000_000


@pytest.mark.parametrize("head", [b"X-%d: 1\r\n", b"X: %d\r\n"], ids=["different", "same"])
def test_more_than_a_hundred_headers_are_refused(port: int, head: bytes) -> None:
    status, message = refusal(exchange(port, POST, b"".join(head % n for n in range(300_000))[:50_000]))
    assert (status, message) == (431, "The request has more than 100 headers.")


def test_request_line_of_more_than_8_kib_is_refused(port: int) -> None:
    status, message = refusal(exchange(port, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n"))
    assert (status, message) == (414, "The request line is longer than 8192 bytes.")


@pytest.mark.parametrize("piece", [b"\x16\x03\x01 hello", b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
def test_bytes_that_are_not_http_1_are_refused(port: int, piece: bytes) -> None:
    assert refusal(exchange(port, piece))[0] == 400


def test_connect_is_refused(port: int) -> None:
    status, _ = refusal(exchange(port, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"))
    assert status == 405


def test_head_of_almost_64_kib_passes(port: int) -> None:
    head = POST + b"X-A: " + b"a" * 60_000 + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    assert exchange(port, head, b"hi").endswith(b"POST /echo hi")


def test_large_body_is_no_head_even_when_the_next_request_follows_at_once(port: int) -> None:
    body = b"b" * 200_000
    first = POST + b"Content-Length: 200000\r\n\r\n" + body
    second = POST + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi"
    answers = exchange(port, first + second[:30], second[30:])
    assert b"POST /echo " + body in answers
    assert answers.endswith(b"POST /echo hi")


UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
    "h2c, kept alive": b"Connection: keep-alive, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "tls": b"Connection: upgrade\r\nUpgrade: TLS/1.0, HTTP/1.1\r\n",
}


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("split", ["at once", "head apart", "byte by byte"])
def test_wish_for_another_protocol_loses_no_body(port: int, upgrade: bytes, split: str) -> None:
    request = POST + upgrade + b"Content-Length: 5\r\n\r\nhello"
    closing = POST + b"Content-Length: 3\r\nConnection: close\r\n\r\nbye"
    pieces = {
        "at once": [request + closing],
        "head apart": [request[:-5], request[-5:], closing],
        "byte by byte": [*(bytes([byte]) for byte in request), closing],
    }[split]
    answers = exchange(port, *pieces)
    assert b"POST /echo hello" in answers
    assert answers.endswith(b"POST /echo bye")


def test_wish_for_another_protocol_with_a_chunked_body_loses_nothing(port: int) -> None:
    request = POST + UPGRADES["h2c"] + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    closing = POST + b"Content-Length: 3\r\nConnection: close\r\n\r\nbye"
    answers = exchange(port, request, closing)
    assert b"POST /echo hello" in answers
    assert answers.endswith(b"POST /echo bye")


def test_connection_that_asks_nothing_is_closed() -> None:
    with serving(head_seconds=0.2) as port:
        assert exchange(port) == b""


def test_half_a_head_is_refused_after_its_time() -> None:
    with serving(head_seconds=0.2) as port:
        status, message = refusal(exchange(port, POST))
    assert (status, message) == (408, "The head of the request was not complete after 0.2 seconds.")


def test_second_request_has_the_same_time_for_its_head() -> None:
    with serving(head_seconds=0.3) as port, connected(port) as connection:
        connection.sendall(POST + b"Content-Length: 2\r\n\r\nhi")
        read_until(connection, b"hi")
        connection.sendall(POST)
        assert refusal(read_all(connection))[0] == 408


def test_body_that_stops_is_refused_after_its_time_and_its_handler_is_released() -> None:
    with serving(body_seconds=0.2) as port:
        status, message = refusal(exchange(port, POST + b"Content-Length: 5\r\n\r\nhe"))
    assert (status, message) == (408, "No part of the body came for 0.2 seconds.")


def test_slow_body_passes_as_long_as_it_moves() -> None:
    with serving(body_seconds=0.5, head_seconds=0.5) as port, connected(port) as connection:
        connection.sendall(POST + b"Content-Length: 5\r\nConnection: close\r\n\r\n")
        for letter in b"hello":
            time.sleep(0.15)  # longer, in all, than each of the bounds
            connection.sendall(bytes([letter]))
        assert read_all(connection).endswith(b"hello")


def test_connections_past_the_limit_are_refused_and_room_comes_back() -> None:
    with serving(connections=3, connections_per_address=3) as port:
        held = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(3)]
        for connection in held:  # admitted by now
            connection.sendall(POST + b"Content-Length: 2\r\n\r\nhi")
            read_until(connection, b"hi")
        status, message = refusal(exchange(port))
        assert (status, message) == (503, "Too many connections. Try again later.")
        for connection in held:
            connection.close()
        deadline = time.monotonic() + 10
        while b"200 OK" not in exchange(port, POST + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi"):
            assert time.monotonic() < deadline


def test_one_address_cannot_take_all_connections() -> None:
    connections = Connections(Bounds(connections=10, connections_per_address=4, trusted=frozenset({"10.0.0.7"})))
    assert [connections.admit("10.0.0.1") for _ in range(5)] == [True] * 4 + [False]
    assert [connections.admit("10.0.0.2") for _ in range(2)] == [True] * 2
    assert [connections.admit("10.0.0.7") for _ in range(5)] == [True] * 4 + [False]  # a proxy: the total alone
    connections.release("10.0.0.1")
    assert connections.admit("10.0.0.3")


def test_bounds_follow_the_number_of_files_a_process_may_open() -> None:
    derived = bounds_for(1064, connections=None, per_address=None, trusted=())
    assert (derived.connections, derived.connections_per_address) == (500, 250)
    chosen = bounds_for(1064, connections=40, per_address=7, trusted=("10.0.0.7",))
    assert (chosen.connections, chosen.connections_per_address, chosen.trusted) == (40, 7, frozenset({"10.0.0.7"}))
