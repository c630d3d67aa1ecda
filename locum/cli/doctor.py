"""`locum doctor`: looks at everything the server stands on, changes nothing, and names the fix of what is wrong."""

from __future__ import annotations

import asyncio
import errno
import os
import platform
import shutil
import socket
import sqlite3
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

import typer

from locum import __version__
from locum.admin import client, protocol
from locum.cli import database
from locum.cli.options import DataDir, described, printable
from locum.errors import LocumError, StartupError
from locum.sandbox.client import Sandbox
from locum.sandbox.session import CellResult
from locum.settings import Settings
from locum.store.data_dir import lock_data_dir
from locum.store.migrations import HEAD

if TYPE_CHECKING:  # what takes long to import is imported where it is used
    from locum.models.openai_compatible import OpenAICompatible
    from locum.models.routes import Routes

_WAL_RESET_FIXED = (3, 51, 3)
_SPACE_WANTED = 2 * 1024**3
_SPACE_NEEDED = 200 * 1024**2
_LIBRARIES = ("numpy", "pandas", "matplotlib", "openpyxl", "IPython")
_PYTHON = f"""
import importlib.util, platform, sys
print(platform.python_version(), f"({{sys.executable}})")
print(*(name for name in {_LIBRARIES!r} if not importlib.util.find_spec(name)))
"""
_FONTS = """
from locum.sandbox.inside import fonts
print(", ".join(fonts.drawn()))
print(", ".join(script for script in fonts.SCRIPTS if script not in fonts.drawn()))
"""
_NAMES_SHOWN = 8
_LANGUAGES = "For files in Korean, Japanese or Chinese it should be a model made for several languages"
_QUESTION = "Could you tell me where the key is, please?"
_HEALTH_SECONDS = 5.0


class Finding(NamedTuple):
    mark: Literal["ok", "note", "fix"]
    about: str
    words: str


def doctor(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help=described("host"))] = None,
    port: Annotated[int | None, typer.Option(help=described("port"))] = None,
) -> None:
    """Check this machine and the settings, one line each: `ok`, `note`, or `fix` with what to do.

    Exit code 1 if something must be fixed. Changes nothing; a server may be running.
    """
    settings = Settings.load(data_dir=data_dir, host=host, port=port)
    if not asyncio.run(_examine(settings)):
        raise typer.Exit(1)


async def _examine(settings: Settings) -> bool:
    """Whether nothing must be fixed."""
    marks = []
    async for mark, about, words in _findings(settings):
        marks.append(mark)
        typer.echo(f"{mark:<4}  {about:<16}  {printable(words)}")
    return "fix" not in marks


async def _findings(settings: Settings) -> AsyncIterator[Finding]:
    server = await _running_server(settings)
    yield _python()
    yield about_sqlite(sqlite3.sqlite_version_info)
    for finding in _data_directory(settings.data_dir, server):
        yield finding
    yield await _database(settings, server)
    yield await _stored_files(settings, server)
    if server is None:
        for finding in _search_data(settings):
            yield finding
    for finding in _api_key(settings):
        yield finding
    async for finding in _code_interpreter(settings):
        yield finding
    async for finding in _models(settings):
        yield finding
    yield await _file_search(settings)
    async for finding in _helpers_of_search(settings):
        yield finding
    yield await _file_parser(settings)
    yield await _port(settings, server)


async def _running_server(settings: Settings) -> protocol.Health | None:
    with suppress(StartupError):
        reply = await client.ask(settings.data_dir, protocol.Check())
        if isinstance(reply, protocol.Health):
            return reply
    return None


def _python() -> Finding:
    return Finding("ok", "Python", f"{platform.python_version()} ({sys.executable}), Locum {__version__}")


def about_sqlite(version: tuple[int, ...]) -> Finding:
    shown = ".".join(map(str, version))
    if version >= _WAL_RESET_FIXED:
        return Finding("ok", "SQLite", shown)
    words = (
        f"{shown}. Before {'.'.join(map(str, _WAL_RESET_FIXED))} processes that write one database together can damage "
        "it (the WAL-reset bug). Locum writes from one process only and is not exposed: let no other open the file"
    )
    return Finding("note", "SQLite", words)


# ---- the data directory and the database


def _data_directory(directory: Path, server: protocol.Health | None) -> list[Finding]:
    about, other = "Data directory", "choose another with --data-dir or LOCUM_DATA_DIR"
    place = directory.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        return [Finding("fix", about, f"{place} is not a directory: {other}")]
    if not os.access(place, os.W_OK | os.X_OK):
        return [Finding("fix", about, f"{place} cannot be written: give this user the right to, or {other}")]
    if not directory.exists():
        state = f"{directory} will be made at the first start"
    elif server is not None:
        state = f"{directory}, in use by the running server (process {server.process}, Locum {server.version})"
    elif _is_free(directory):
        state = f"{directory}, no server is running"
    else:
        state = f"{directory}, in use by a Locum process that does not answer: it may be starting or stopping"
    findings = [Finding("ok", about, state), *_permissions(directory)]
    free = shutil.disk_usage(place).free
    if free < _SPACE_WANTED:
        words = f"{_size(free)} left on the disk of {place}: make room there, or {other}"
        findings.append(Finding("fix" if free < _SPACE_NEEDED else "note", "Disk space", words))
    else:
        findings.append(Finding("ok", "Disk space", f"{_size(free)} left"))
    return findings


def _permissions(directory: Path) -> list[Finding]:
    """Return a finding if other users of the machine may read or write the data directory."""
    if os.name != "posix" or not directory.exists():
        return []
    mode = directory.stat().st_mode & 0o777
    if mode & 0o077 == 0:
        return []
    others = "every user" if mode & 0o007 else "its group"
    words = (
        f"{directory} has the mode {mode:04o}: {others} of this machine may look into it. New files there have the "
        f"mode 0600, those of earlier releases may be readable: chmod -R go-rwx {directory}"
    )
    return [Finding("fix" if mode & 0o007 else "note", "Permissions", words)]


def _is_free(directory: Path) -> bool:
    if not (directory / "lock").exists():
        return True
    try:
        lock_data_dir(directory).close()
    except StartupError:
        return False
    return True


async def _database(settings: Settings, server: protocol.Health | None) -> Finding:
    about, called = "Database", database.name(settings)
    try:
        if settings.database_url is not None:
            revision = (await database.state(settings)).revision
        elif server is not None:  # the file is its own: it was asked
            revision = server.revision
        elif not (settings.data_dir / "locum.db").exists():
            return Finding("ok", about, f"{called}, made at the first start")
        else:
            with lock_data_dir(settings.data_dir):
                revision = (await database.state(settings)).revision
    except StartupError as error:
        if settings.database_url is None and not _is_free(settings.data_dir):
            return Finding("note", about, f"{called}, not looked at while another process uses it")
        return Finding("fix", about, error.message)
    if revision is None:
        return Finding("ok", about, f"{called}, still empty")
    if revision < HEAD:
        words = f"{called}, revision {revision}: the next start, or `locum migrate`, brings it to {HEAD}"
        return Finding("note", about, words)
    if revision > HEAD:
        words = f"{called}, revision {revision}, was written by a newer version of Locum: install that one"
        return Finding("fix", about, words)
    return Finding("ok", about, f"{called}, revision {revision}")


def _search_data(settings: Settings) -> Iterator[Finding]:
    """Yield a fix for damaged derived data."""
    if _is_free(settings.data_dir):
        try:
            database.check_search_data(settings)
        except StartupError as error:
            yield Finding("fix", "Search data", error.message)


def _api_key(settings: Settings) -> Iterator[Finding]:
    """Yield a fix for a key that the server refuses to start with."""
    from locum.app.adapters import check_key_length

    try:
        check_key_length(settings)
    except StartupError as error:
        yield Finding("fix", "API key", error.message)


async def _stored_files(settings: Settings, server: protocol.Health | None) -> Finding:
    """Compare the database that the stored files belong to with the configured one."""
    from locum.blobs.open import folder_of, open_blobs

    about = "Stored files"
    folder = folder_of(settings.blob_url, settings.data_dir)
    if folder is not None and not folder.exists():
        return Finding("ok", about, f"{folder}, made at the first start")
    try:
        store = open_blobs(settings.blob_url, settings.data_dir)
        try:
            owner = await store.owner()
            is_empty = owner is None and not await store.keys()
        finally:
            await store.close()
    except (LocumError, OSError) as error:
        return Finding("fix", about, error.message if isinstance(error, LocumError) else str(error))
    try:
        database_id = await _database_id(settings, server)
    except StartupError:
        return Finding("note", about, "not examined, because the database cannot be read now")
    return about_stored_files(owner, database_id, marker=store.marker, is_empty=is_empty, is_served=server is not None)


def about_stored_files(
    owner: str | None, database_id: str | None, *, marker: str, is_empty: bool, is_served: bool
) -> Finding:
    """Judge the id in the marker beside that of the configured database."""
    from locum.services.blob_sweep import REMEDY, explain

    about = "Stored files"
    if owner is None and is_empty:
        return Finding("ok", about, "none yet: a start claims the place for the configured database")
    if owner is None and is_served:
        return Finding("fix", about, f"{explain('unmarked')} ({marker} is missing). {REMEDY}")
    if owner is None:
        words = f"{marker} is missing: the next start writes it if the configured database knows these files"
        return Finding("note", about, words)
    if owner == database_id:
        return Finding("ok", about, "they belong to the configured database")
    other = f"{database_id} is configured" if database_id else "the configured one is new"
    return Finding("fix", about, f"{explain('foreign')}: {marker} names {owner}, and {other}. {REMEDY}")


async def _database_id(settings: Settings, server: protocol.Health | None) -> str | None:
    if settings.database_url is not None:
        return (await database.state(settings)).database_id
    if server is not None:  # the file is its own
        return server.database_id
    if not (settings.data_dir / "locum.db").exists():
        return None
    with lock_data_dir(settings.data_dir):
        return (await database.state(settings)).database_id


# ---- the code interpreter, its Python and its fonts


async def _code_interpreter(settings: Settings) -> AsyncIterator[Finding]:
    about = "Code interpreter"
    with _folder() as folder:
        sandbox = Sandbox(
            folder, mode=settings.sandbox, accepts_weak=_is_private(settings), python=settings.sandbox_python
        )
        try:
            status = await sandbox.start()
            if status.tier == "off":
                yield Finding(_off(settings), about, status.sentence)
                return
            yield Finding("ok" if status.tier == "namespaces" else "note", about, status.sentence)
            try:
                await sandbox.open("doctor")
                yield _libraries(await sandbox.execute("doctor", "python", _PYTHON))
                yield _fonts(await sandbox.execute("doctor", "fonts", _FONTS))
            except LocumError as error:
                yield Finding("fix", about, f"a cell could not be run: {error.message}")
        finally:
            await sandbox.close()


@contextmanager
def _folder() -> Iterator[Path]:
    """For a sandbox of the doctor's own."""
    with tempfile.TemporaryDirectory(prefix="locum-doctor-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _is_private(settings: Settings) -> bool:
    """Whether only this machine will get in, as long as no key is stored."""
    from locum.app.adapters import is_loopback

    return settings.api_key is None and is_loopback(settings.host)


def _off(settings: Settings) -> Literal["note", "fix"]:
    """What the owner chose, and what no setting of this machine can change, is nothing to fix."""
    return "note" if settings.sandbox == "off" or sys.platform != "linux" else "fix"


def _libraries(asked: CellResult) -> Finding:
    about = "Its Python"
    python, _, missing = asked.logs.strip().partition("\n")
    if not asked.ok:
        return Finding("fix", about, f"a cell failed: {asked.error}")
    if not missing:
        return Finding("ok", about, python)
    names = missing.replace(" ", ", ")
    return Finding("note", about, f"{python} has no {names}: models expect them, install them there if you can")


def _fonts(asked: CellResult) -> Finding:
    """What it would draw with."""
    about = "CJK fonts"
    if not asked.ok:
        return Finding("note", about, "there is no matplotlib to draw with")
    drawn, missing = ([*asked.logs.splitlines(), "", ""])[:2]
    if not missing:
        return Finding("ok", about, drawn)
    packages = {"apt-get": "fonts-noto-cjk", "dnf": "google-noto-sans-cjk-fonts", "apk": "font-noto-cjk"}
    tool = next((tool for tool in packages if shutil.which(tool)), "apt-get")
    return Finding(
        "note",
        about,
        f"{missing} letters in charts are drawn as boxes: {tool} {'add' if tool == 'apk' else 'install'} "
        f"{packages[tool]}, or pip install noto-cjk-sans-otc (the extra locum[cjk]) into the Python above, and restart "
        "the server",
    )


# ---- the model route


async def _models(settings: Settings) -> AsyncIterator[Finding]:
    from locum.app.adapters import open_routes
    from locum.models.openai_compatible import OpenAICompatible

    try:
        routes = open_routes(settings)
    except StartupError as error:
        yield Finding("fix", "Model", error.message)
        return
    try:
        if routes.is_demo:
            yield Finding("ok", "Model", routes.describe())
            return
        if settings.model_base_url:
            default = OpenAICompatible(base_url=settings.model_base_url, api_key=settings.model_api_key)
            try:
                yield await _listed("Model", default, settings.model, "LOCUM_MODEL")
            finally:
                await default.close()
        for name in settings.models:
            yield await _mapped(routes, name)
    finally:
        await routes.close()


async def _mapped(routes: Routes, name: str) -> Finding:
    about, where = f"Model {name}", f'model in [models."{name}"]'
    try:
        route = await routes.resolve(name)
    except LocumError as error:
        return Finding("fix", about, error.message)
    assert route.backend is not None  # a name is mapped to a server
    return await _listed(about, route.backend, route.upstream_name, where)


async def _listed(about: str, upstream: OpenAICompatible, wanted: str | None, setting: str) -> Finding:
    """Ask a model server for its list, and look for a name in it."""
    try:
        names = await upstream.list_models()
    except LocumError as error:
        if "/openai/deployments/" in upstream.base_url:  # Azure has no list under a deployment's address
            return Finding("note", about, f"{upstream.base_url} is a deployment's address and was not asked")
        return Finding("fix", about, error.message)
    if wanted is None:
        count = f"{len(names)} {'model' if len(names) == 1 else 'models'}"
        return Finding("ok", about, f"{upstream.base_url} answers and lists {count}")
    if not names or wanted in names or f"{wanted}:latest" in names:
        return Finding("ok", about, f"{upstream.base_url} answers, {wanted} serves")
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
    return Finding("fix", about, f"{upstream.base_url} does not list {wanted!r}: set {setting} to one of {shown}")


# ---- file search


async def _file_search(settings: Settings) -> Finding:
    """Which embedder there is, tried once."""
    from locum.app.embedders import describe, open_embedder
    from locum.ingestion.compute import ComputeProcess

    about, bench = "File search", ComputeProcess()
    try:
        embedder = await open_embedder(settings, bench)
        if embedder is None:
            words = f"{describe(None)}. Words of another language, or other words for the same, find nothing then"
            return Finding("note", about, words)
        try:
            vectors = await embedder.embed([_QUESTION], kind="query")
        finally:
            await embedder.close()
        words = f"{describe(embedder)} ({vectors.shape[1]} dimensions). {_LANGUAGES}"
        return Finding("ok", about, words)
    except LocumError as error:
        return Finding("fix", about, error.message)
    finally:
        await bench.close()


async def _helpers_of_search(settings: Settings) -> AsyncIterator[Finding]:
    """The reranker and the model that rewrites queries, where there are any, each tried once."""
    if settings.rerank_base_url is not None:
        yield await _reranker(settings)
    if settings.search_rewrite_model is not None:
        yield await _rewriter(settings, settings.search_rewrite_model)


async def _reranker(settings: Settings) -> Finding:
    from locum.app.search import open_reranker

    about = "Reranker"
    async with AsyncExitStack() as stack:
        try:
            reranker = open_reranker(settings, stack)
            assert reranker is not None  # it is set
            await reranker.rerank(_QUESTION, ["It is under the mat.", "The sea is blue."])
        except StartupError as error:
            return Finding("fix", about, error.message)
        except LocumError as error:
            check = "check LOCUM_RERANK_BASE_URL, LOCUM_RERANK_MODEL and LOCUM_RERANK_API_KEY. Until then searches keep"
            return Finding("fix", about, f"{error.message} To have it: {check} the order they find things in")
        return Finding("ok", about, f"{settings.rerank_model} answers, and decides the order of what is found")


async def _rewriter(settings: Settings, name: str) -> Finding:
    from locum.app.adapters import open_routes
    from locum.search.rewrite import ModelRewriter

    about = "Query rewriting"
    try:
        routes = open_routes(settings)
    except StartupError as error:
        return Finding("fix", about, error.message)
    try:
        if routes.is_demo:
            return Finding("note", about, "the demo model rewrites no queries: they are searched as they are asked")
        await ModelRewriter(routes.resolve, name).ask((_QUESTION,))
    except LocumError as error:
        words = f"{error.message} To have it: set LOCUM_SEARCH_REWRITE_MODEL to a model that answers at once"
        return Finding("fix", about, f"{words}. Until then queries are searched as they are asked")
    finally:
        await routes.close()
    return Finding("ok", about, f"{name} answers, where a search says rewrite_query")


async def _file_parser(settings: Settings) -> Finding:
    """How files are held while they are parsed, and whether one can be."""
    from locum.ingestion.extract.parser import SandboxParser, Unreadable

    about = "File parser"
    with _folder() as folder:
        parser = SandboxParser(folder, mode=settings.sandbox, accepts_weak=_is_private(settings))
        try:
            status = await parser.start()
            if status.tier == "off":
                words = f"{status.sentence}. Until then only plain text in UTF-8 or UTF-16 can be searched"
                if settings.sandbox_python is not None:
                    words += f". LOCUM_SANDBOX_PYTHON is not asked: the parser is in the server's own, {sys.executable}"
                return Finding(_off(settings), about, words)
            await parser.parse("page.html", _page)
        except Unreadable as error:
            return Finding("fix", about, f"{status.tier}: {error.message}")
        finally:
            await parser.close()
    return Finding("ok" if status.tier == "namespaces" else "note", about, status.sentence)


async def _page() -> AsyncIterator[bytes]:
    yield b"<p>The key is under the mat.</p>"


# ---- the port


async def _port(settings: Settings, server: protocol.Health | None) -> Finding:
    about, host, port = "Port", settings.host, settings.port
    if port == 0:
        return Finding("ok", about, "a free one is taken at every start")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host.strip("[]"), port), family=family).close()
    except OSError as error:
        if error.errno == errno.EACCES:
            return Finding("fix", about, f"{port} needs more rights: choose one above 1023 with --port or LOCUM_PORT")
        if error.errno != errno.EADDRINUSE:
            words = f"cannot listen on {host} ({error.strerror}): choose an address with --host or LOCUM_HOST"
            return Finding("fix", about, words)
        if server is not None and await _is_locum(settings.local_url):
            return Finding("ok", about, f"{port} on {host}, where the server answers")
        return Finding("fix", about, f"{port} on {host} is in use: choose another with --port or LOCUM_PORT")
    return Finding("ok", about, f"{port} on {host} is free")


async def _is_locum(base_url: str) -> bool:
    """Return whether a Locum server answers there."""
    address = urlsplit(base_url)
    # The certificate may name another host: a health check authenticates nothing.
    tls = ssl._create_unverified_context() if address.scheme == "https" else None  # noqa: S323
    try:
        async with asyncio.timeout(_HEALTH_SECONDS):
            reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=tls)
            try:
                writer.write(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return answer.endswith(b'{"status":"ok"}')


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"
