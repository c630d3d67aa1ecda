"""`locum import-files`: files of this machine into a vector store of a running server, through its API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from locum.cli.options import printable
from locum.domain.vector_stores import is_searchable
from locum.errors import StartupError
from locum.settings import Settings

if TYPE_CHECKING:
    import aiohttp

_AT_ONCE = 4
_BATCH = 100
"""Files that are added with one request: soon enough that ingestion begins while the rest is uploaded."""
_PAGE = 100
_PAUSE_SECONDS = 0.5
_HELD = {"x-stainless-poll-helper": "true"}
"""The server then answers when something has changed, or after some seconds."""


def import_files(
    store: Annotated[str, typer.Argument(help="Id of the vector store.")],
    paths: Annotated[
        list[Path], typer.Argument(help="Files, and folders: of these all files that can be searched, however deep.")
    ],
    url: Annotated[
        str | None, typer.Option(help="Address of the server, such as http://127.0.0.1:8000. Unset: as it is set here.")
    ] = None,
) -> None:
    """Upload files, add them to a vector store, and wait until they can be searched.

    The key is LOCUM_API_KEY. Files that cannot be searched are listed with the reason; exit code 1 if there are any.
    """
    settings = Settings.load()
    found = _found(paths)
    failed = asyncio.run(_import(url or settings.local_url, settings.api_key or "any", store, found))
    typer.echo(f"{len(found) - len(failed)} of {len(found)} files can be searched.")
    for path, reason in sorted(failed.items()):
        typer.echo(f"{path}: {printable(reason)}", err=True)
    if failed:
        raise typer.Exit(1)


def _found(paths: Iterable[Path]) -> list[Path]:
    """The files, each once. One that is named is taken whatever it is called: the server says what is wrong with it."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = (each for each in sorted(path.rglob("*")) if each.is_file() and is_searchable(each.name))
            found.update(dict.fromkeys(inside))
        elif path.is_file():
            found[path] = None
        else:
            raise StartupError(f"There is no file or folder {path}.")
    if not found:
        raise StartupError("There is no file that can be searched in what was named.")
    return list(found)


async def _import(address: str, key: str, store: str, paths: Sequence[Path]) -> dict[Path, str]:
    """Path -> why it cannot be searched."""
    import aiohttp

    headers = {"Authorization": f"Bearer {key}", "OpenAI-Beta": "assistants=v2"}
    base = address.rstrip("/").removesuffix("/v1") + "/v1/"
    timeout = aiohttp.ClientTimeout(total=None, connect=10)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        server = _Server(session, base, store)
        try:
            await server.look()
            with typer.progressbar(length=len(paths), label="Uploading") as bar:
                await server.add(paths, bar.update)
            with typer.progressbar(length=len(server.paths), label="Ingesting") as bar:
                await server.wait(bar.update)
            return {**server.refused, **await server.failed()}
        except _Refused as error:  # the store: it is not there, or not any more, or is full
            raise StartupError(str(error)) from None


class _Refused(Exception):
    """The server's words."""


class _Server:
    """A vector store of a server. paths: file id -> where the file came from; refused: what was not taken, and why."""

    def __init__(self, session: aiohttp.ClientSession, base: str, store: str) -> None:
        self._session = session
        self._base = base
        self._at = f"vector_stores/{store}"
        self._batches: list[str] = []
        self.paths: dict[str, Path] = {}
        self.refused: dict[Path, str] = {}

    async def look(self) -> None:
        """_Refused where there is no such store."""
        await self._ask("GET", self._at)

    async def add(self, paths: Sequence[Path], progress: Any) -> None:
        for at in range(0, len(paths), _BATCH):
            gate = asyncio.Semaphore(_AT_ONCE)

            async def upload(path: Path, gate: asyncio.Semaphore = gate) -> str | None:
                async with gate:
                    file_id = await self._upload(path)
                    progress(1)
                    return file_id

            ids = [each for each in await asyncio.gather(*map(upload, paths[at : at + _BATCH])) if each is not None]
            if ids:
                batch = await self._ask("POST", f"{self._at}/file_batches", json={"file_ids": ids})
                self._batches.append(batch["id"])

    async def wait(self, progress: Any) -> None:
        for batch in self._batches:
            seen = 0
            while True:
                found = await self._ask("GET", f"{self._at}/file_batches/{batch}", headers=_HELD)
                counts = found["file_counts"]
                done = counts["total"] - counts["in_progress"]
                progress(done - seen)
                seen = done
                if found["status"] != "in_progress":
                    break
                await asyncio.sleep(_PAUSE_SECONDS)

    async def failed(self) -> dict[Path, str]:
        failed = {}
        for batch in self._batches:
            async for file in self._every(f"{self._at}/file_batches/{batch}/files", filter="failed"):
                failed[self.paths[file["id"]]] = file["last_error"]["message"]
        return failed

    async def _upload(self, path: Path) -> str | None:
        import aiohttp

        try:
            with await asyncio.to_thread(path.open, "rb") as file:
                form = aiohttp.FormData(
                    {"purpose": "assistants"}, quote_fields=False
                )  # names in UTF-8, as SDKs send them
                form.add_field("file", file, filename=path.name, content_type="application/octet-stream")
                made = await self._ask("POST", "files", data=form)
        except OSError as error:
            self.refused[path] = f"cannot be read ({error.strerror})"
            return None
        except _Refused as error:
            self.refused[path] = str(error)
            return None
        file_id: str = made["id"]
        self.paths[file_id] = path
        return file_id

    async def _every(self, at: str, **query: str) -> AsyncIterator[Any]:
        after: dict[str, str] = {}
        while True:
            page = await self._ask("GET", at, params={"limit": str(_PAGE), **query, **after})
            for each in page["data"]:
                yield each
            if not page["has_more"]:
                return
            after = {"after": page["last_id"]}

    async def _ask(self, method: str, at: str, **options: Any) -> Any:
        async with _answered(), self._session.request(method, self._base + at, **options) as response:
            said = await response.json(content_type=None)
            if response.status == 200:
                return said
            if response.status in (401, 403) or response.status >= 500:
                raise StartupError(said["error"]["message"])
            raise _Refused(said["error"]["message"])


@asynccontextmanager
async def _answered() -> AsyncIterator[None]:
    import aiohttp

    try:
        yield
    except (aiohttp.ClientError, TimeoutError) as error:
        raise StartupError(
            f"The server does not answer ({error}). Is it running? Name its address with --url."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise StartupError("What answers there is no Locum server. Name its address with --url.") from None
