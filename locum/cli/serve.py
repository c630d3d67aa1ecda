"""`locum serve`: the server itself."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import ssl
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from locum import __version__, importing
from locum.cli.options import described
from locum.errors import StartupError
from locum.settings import Settings

if TYPE_CHECKING:
    from locum.app.server import Server


_MOST_FILES = 65_536


def serve(
    host: Annotated[str | None, typer.Option(help=described("host"))] = None,
    port: Annotated[int | None, typer.Option(help=described("port"))] = None,
    data_dir: Annotated[Path | None, typer.Option(help=described("data_dir"))] = None,
    sandbox: Annotated[str | None, typer.Option(help=described("sandbox"))] = None,
    tls_cert: Annotated[str | None, typer.Option(help=described("tls_cert"))] = None,
    tls_key: Annotated[str | None, typer.Option(help=described("tls_key"))] = None,
    log_format: Annotated[str | None, typer.Option(help=described("log_format"))] = None,
) -> None:
    """Start the server: API, engine and code interpreter."""
    settings = Settings.load(
        host=host,
        port=port,
        data_dir=data_dir,
        sandbox=sandbox,
        tls_cert=tls_cert,
        tls_key=tls_key,
        log_format=log_format,
    )
    from locum.logs import configure

    configure(settings.log_format)
    _check_tls(settings.tls_cert, settings.tls_key)
    with _listen(settings.host, settings.port) as listener:
        _run(_serve(settings, listener))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartupError(f"Port {port} on {host} is in use. Choose another with --port.") from None
        if error.errno == errno.EACCES:
            raise StartupError(f"Port {port} on {host} needs more rights. Choose another with --port.") from None
        raise StartupError(
            f"Cannot listen on {host}: {error.strerror or error}. Choose an address with --host."
        ) from None


def _check_tls(cert: str | None, key: str | None) -> None:
    """Raise StartupError unless both are there and belong together, or neither is given."""
    if cert is None and key is None:
        return
    if cert is None or key is None:
        raise StartupError("LOCUM_TLS_CERT and LOCUM_TLS_KEY belong together: give both, or neither.")
    for name, path in (("LOCUM_TLS_CERT", cert), ("LOCUM_TLS_KEY", key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise StartupError(f"{name}={path} cannot be read ({error.strerror}).") from None

    def password() -> str:
        raise StartupError(f"LOCUM_TLS_KEY={key} is encrypted. Expected a private key without a password.")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise StartupError(f"LOCUM_TLS_KEY={key} is not the key of LOCUM_TLS_CERT={cert}.") from None
        raise StartupError(
            f"LOCUM_TLS_CERT={cert} and LOCUM_TLS_KEY={key} are no certificate and private key in PEM form."
        ) from None


def _run(main: Coroutine[object, object, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)


def _allow_connections() -> int:
    """Raise the limit of open files as far as the system lets this process; return it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _MOST_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


async def _serve(settings: Settings, listener: socket.socket) -> None:
    with importing.in_one_go():
        import uvicorn

        from locum.api.connections import RESPONSE_HEADERS, bounded_protocol, bounds_for
        from locum.app.server import running

    class Uvicorn(uvicorn.Server):
        """Uvicorn as a guest: it waits for no stream at its end, and leaves the end of the process to us."""

        def __init__(self, config: uvicorn.Config, server: Server) -> None:
            super().__init__(config)
            self._server = server

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            loop = asyncio.get_running_loop()
            try:
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(number, self.handle_exit, number, None)
            except NotImplementedError:  # Windows
                with super().capture_signals():
                    yield
                return
            yield
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            self._server.end_streams()
            await super().shutdown(sockets)

    bounds = bounds_for(
        _allow_connections(),
        connections=settings.max_connections,
        per_address=settings.max_connections_per_address,
        trusted=settings.proxies,
    )
    async with running(settings, keep_sessions=True) as server:
        config = uvicorn.Config(
            server.app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            headers=RESPONSE_HEADERS,
            http=bounded_protocol(bounds),
            ws="none",
            proxy_headers=bool(settings.proxies),
            forwarded_allow_ips=list(settings.proxies),
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            timeout_graceful_shutdown=6,
        )
        uvicorn_server = Uvicorn(config, server)
        greeting = asyncio.create_task(_greet(settings, server, listener.getsockname()[1]))
        try:
            await uvicorn_server.serve(sockets=[listener])
        finally:
            greeting.cancel()


async def _greet(settings: Settings, server: Server, port: int) -> None:
    """Say what runs where, once the sandbox's tier is known; the API answers already."""
    # A name could lead to the other address family; every address but a wildcard can be called as it is.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    base = f"{'https' if settings.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    sample_key = "any" if server.is_keyless else "…"
    if settings.api_key:
        key = "your LOCUM_API_KEY"
    elif server.is_keyless:
        key = "any (there is no key: only this machine may call; make one with `locum keys create`)"
    else:
        key = "one that `locum keys create` made"
    typer.echo(
        f"""Locum {__version__}

  OpenAI base URL   {base}/v1
  Azure endpoint    {base}
  Key               {key}
  Model             {server.model_route}
  File search       {server.file_search}
  Data directory    {settings.data_dir.resolve()}

  from openai import AzureOpenAI
  client = AzureOpenAI(azure_endpoint="{base}", api_key="{sample_key}", api_version="2024-05-01-preview")
  print(client.beta.assistants.create(model="gpt-4o", tools=[{{"type": "code_interpreter"}}]).id)
"""
    )
    status = await server.sandbox_status()
    typer.echo(f"  Code interpreter  {status.sentence}\n\n  Ready. Stop with Ctrl-C.")
