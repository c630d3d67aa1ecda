"""A model behind any OpenAI-compatible `/chat/completions`, streamed.

It retries only while nothing of the answer has arrived; afterwards the engine must decide, because a client may have
seen the beginning. Leaving the generator in any way closes the connection, which is how an upstream learns of a cancel.
"""

from __future__ import annotations

import asyncio
import email.utils
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import structlog
from yarl import URL

from locum import __version__
from locum.clock import Clock, system_clock
from locum.errors import StartupError
from locum.models.chat import ChatRequest, Chunk, ErrorKind, MaxTokensParameter, ModelError
from locum.models.refusals import DROPPABLE, Habits, Problem, is_overflow, is_without_tools, most_tokens_of, window_of
from locum.models.wire import (
    Answer,
    EventParser,
    GarbageError,
    ReportedError,
    body_of,
    one_line,
    problem_of,
    sent_in,
)

_log = structlog.get_logger(__name__)

_MAX_ERROR_BYTES = 64 * 1024
_MAX_LIST_BYTES = 4 * 1024 * 1024
_MAX_RETRY_AFTER_SECONDS = 30.0
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_LIST_SECONDS = 10.0
_ERROR_BODY_SECONDS = 5.0
_MOST_TRIES = len(DROPPABLE) + 1
_TAIL_SECONDS = 2.0
"""An answer that has said its finish_reason gets this long for the usage and the end of the stream."""
_DRAIN_SECONDS = 0.05
"""The end of the body follows `[DONE]` at once on a healthy server; having read it keeps the connection for reuse."""


class SettingNames(msgspec.Struct, frozen=True, kw_only=True):
    """Where the owner sets this backend's address, key and model: named in the messages of errors."""

    base_url: str = "LOCUM_MODEL_BASE_URL"
    api_key: str = "LOCUM_MODEL_API_KEY"
    model: str = "LOCUM_MODEL"
    tool_calling: str = "LOCUM_MODEL_TOOL_CALLING"


class Connections:
    """The one HTTP session that all backends of a process share, opened at first use (it belongs to the event loop)."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"locum/{__version__}"},
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class _PassingError(ModelError):
    """Trouble met before the answer began that may be gone a moment later."""

    def __init__(self, message: str, *, kind: ErrorKind = "unavailable", retry_after: float | None = None) -> None:
        super().__init__(message, kind=kind)
        self.retry_after = retry_after


class RefusedError(ModelError):
    """The server has read the request and does not take it."""

    def __init__(self, message: str, problem: Problem, *, kind: ErrorKind, window: int | None = None) -> None:
        super().__init__(message, kind=kind, window=window)
        self.problem = problem


class OpenAICompatible:
    """A `ChatModel` at `base_url`.

    `attempts` counts the first one; `idle_seconds` bounds every silence of the upstream, the one before its first word
    included (a small machine may read a long prompt for minutes). An Azure OpenAI resource works as upstream too: the
    deployment's address with its `?api-version=…`, or the resource's `/openai/v1`.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None = None,
        connections: Connections | None = None,
        names: SettingNames = SettingNames(),  # noqa: B008 - frozen
        max_tokens_parameter: MaxTokensParameter = "auto",
        attempts: int = 3,
        connect_seconds: float = 10.0,
        idle_seconds: float = 300.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
        now: Clock = system_clock,
    ) -> None:
        url = _parse(base_url, names)
        self.configured_url = base_url
        self.base_url = str(url.with_user(None).with_query(None)).rstrip("/")
        """The address as it may be shown: without user, password and query."""
        self._key = (api_key or "").strip()
        self._url = url.with_user(None) if self._key else url
        if not (self._key.isascii() and self._key.isprintable()):
            raise StartupError(f"{names.api_key} contains characters that no HTTP header can carry")
        self._secrets = [secret for secret in (self._key, url.password) if secret]
        self._connections = connections or Connections()
        self._owns_connections = connections is None
        self._names = names
        self._max_tokens_parameter = max_tokens_parameter
        self._habits: dict[str, Habits] = {}
        self._attempts = attempts
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_seconds, sock_read=idle_seconds)
        self._sleep = sleep
        self._random = random
        self._now = now

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Yield deltas, then exactly one `Finish`; raise `ModelError` otherwise."""
        response, block = await self._begin_as_taken(request)
        parser, answer, began = EventParser(), Answer(), False
        try:
            while block and not answer.done:
                for event in parser.feed(block):
                    for chunk in answer.add(event):
                        began = True
                        yield chunk
                block = await _next(response, _patience(answer))
            if not answer.done:
                for event in parser.close():
                    for chunk in answer.add(event):
                        began = True
                        yield chunk
        except (TimeoutError, aiohttp.ClientError) as error:
            if not answer.is_complete:
                raise self._interrupted(self._reason(error), began=began) from error
        except GarbageError as garbage:
            if not answer.is_complete:
                why = f"what it sent is no chat-completions answer: {self._redacted(str(garbage))}"
                raise self._interrupted(why, began=began) from None
        except ReportedError as error:
            raise self._reported(error.problem, began=began) from None
        finally:
            response.close()  # does nothing when the body has been read to its end
        if not answer.is_complete:
            raise self._interrupted("the connection ended before the answer did", began=began)
        for chunk in answer.rest():
            yield chunk
        yield answer.finish()

    async def list_models(self) -> list[str]:
        """The model names the upstream lists. One attempt, a few seconds; `ModelError` when there is no list."""
        try:
            async with self._connections.session().get(
                self._path("models"),
                headers=self._headers(),
                timeout=aiohttp.ClientTimeout(total=_LIST_SECONDS),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    raise await self._refusal(response, model=None)
                body = await _read(response, _MAX_LIST_BYTES)
        except (TimeoutError, aiohttp.ClientError) as error:
            raise self._unreachable(error) from error
        try:
            listed = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            listed = None
        entries = listed.get("data") if isinstance(listed, dict) else listed
        if not isinstance(entries, list):
            raise ModelError(f"the model server at {self.base_url} gave no list of models", kind="unavailable")
        return [entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]

    async def call(self, path: str, body: dict[str, Any], model: str) -> Any:
        """The answer, whole and as JSON, to a request other than a chat's; `ModelError` otherwise, `RefusedError` where
        it might be taken in other words."""
        attempt = 1
        while True:
            response, block = await self._begin(path, msgspec.json.encode(body), model, attempt)
            try:
                said = block + await _read(response, _MAX_ANSWER_BYTES - len(block))
                return msgspec.json.decode(said)
            except (TimeoutError, aiohttp.ClientError) as error:
                trouble = self._interrupted(self._reason(error), began=False)
                if attempt >= self._attempts:
                    raise trouble from error
                await self._sleep(self._pause(attempt, None))
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise self._interrupted("what it sent is no JSON", began=False) from None
            finally:
                response.close()
            attempt += 1

    async def close(self) -> None:
        """Close the connections, unless they were lent."""
        if self._owns_connections:
            await self._connections.close()

    async def _begin_as_taken(self, request: ChatRequest) -> tuple[aiohttp.ClientResponse, bytes]:
        """The beginning of the answer. An optional parameter that the server refuses is dropped from this call, and
        from later ones once the server has taken a call without it."""
        known = habits = self._habits_of(request.model)
        tries = iter(range(_MOST_TRIES))
        while True:
            body = body_of(request, habits)
            try:
                begun = await self._begin("chat/completions", msgspec.json.encode(body), request.model)
            except RefusedError as refused:
                others = habits.after(refused.problem, sent_in(body))
                if others is None or next(tries, None) is None:
                    raise
                habits = others
            else:
                if habits is not known:
                    self._remember(request.model, habits)
                return begun

    def _habits_of(self, model: str) -> Habits:
        return self._habits.get(model) or Habits(max_tokens_parameter=self._first_max_tokens_parameter())

    def _remember(self, model: str, found_out: Habits) -> None:
        """Calls at the same time may have found out the same, or something else."""
        known = self._habits_of(model)
        habits = known.including(found_out)
        if habits == known:
            return
        self._habits[model] = habits
        _log.warning(
            "model server refuses parameters: left out or changed from now on",
            model=model,
            left_out=sorted(habits.without),
            max_tokens_parameter=habits.max_tokens_parameter,
            most_tokens=habits.most_tokens,
        )

    def _first_max_tokens_parameter(self) -> str:
        """OpenAI's own servers want the newer name; of the others some ignore it without a word."""
        if self._max_tokens_parameter != "auto":
            return self._max_tokens_parameter
        host = self._url.host or ""
        return "max_completion_tokens" if host.endswith((".openai.com", ".azure.com")) else "max_tokens"

    async def _begin(
        self, path: str, body: bytes, model: str, attempt: int = 1
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """The response and the first bytes of the answer, after as many attempts as it takes and is allowed."""
        while True:
            try:
                return await self._attempt(path, body, model)
            except _PassingError as trouble:
                if attempt >= self._attempts:
                    raise ModelError(f"{trouble.message} ({attempt} attempts)", kind=trouble.kind) from trouble
                await self._sleep(self._pause(attempt, trouble.retry_after))
            attempt += 1

    async def _attempt(self, path: str, body: bytes, model: str) -> tuple[aiohttp.ClientResponse, bytes]:
        response = None
        try:
            response = await self._connections.session().post(
                self._path(path),
                data=body,
                headers=self._headers(),
                timeout=self._timeout,
                allow_redirects=False,  # a key goes to the address it was given for, nowhere else
            )
            if response.status != 200:
                raise await self._refusal(response, model)
            block = await response.content.readany()
            if not block:
                raise _PassingError(f"the model server at {self.base_url} sent an empty answer")
        except (TimeoutError, aiohttp.ClientError) as error:
            if response is not None:
                response.close()
            raise self._unreachable(error) from error
        except BaseException:
            if response is not None:
                response.close()
            raise
        return response, block

    def _path(self, path: str) -> URL:
        return self._url.joinpath(path).with_query(self._url.query)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        if self._key:
            azure = (self._url.host or "").endswith(".azure.com")
            headers |= {"api-key": self._key} if azure else {"Authorization": f"Bearer {self._key}"}
        return headers

    def _pause(self, attempt: int, retry_after: float | None) -> float:
        if retry_after is not None:
            return min(max(retry_after, 0.0), _MAX_RETRY_AFTER_SECONDS)
        return float(min(8.0, 0.5 * 2 ** (attempt - 1)) * (0.5 + 0.5 * self._random()))

    # ---- errors, in words for the owner

    async def _refusal(self, response: aiohttp.ClientResponse, model: str | None) -> ModelError:
        """The error for an answer that is not 200."""
        status = response.status
        problem = problem_of(await _error_body(response))
        said = self._redacted(problem.text or response.reason or "no explanation")
        start = f"the model server at {self.base_url} answered {status}"
        if is_without_tools(problem):
            hint = f'if the model cannot call tools by itself, set {self._names.tool_calling} to "prompt"'
            return ModelError(f"{start}: {said}; {hint}", kind="misconfigured")
        if status in (408, 409, 429) or status >= 500:
            kind: ErrorKind = "rate_limited" if status == 429 else "unavailable"
            if problem.code == "insufficient_quota":  # waiting does not help
                return ModelError(f"{start}: {said}", kind=kind)
            retry_after = _seconds(response.headers.get("Retry-After"), self._now)
            return _PassingError(f"{start}: {said}", kind=kind, retry_after=retry_after)
        if status in (401, 403):
            return ModelError(f"{start}: {said}; check {self._names.api_key}", kind="misconfigured")
        if status < 400:
            where = one_line(response.headers.get("Location", "elsewhere"))
            return ModelError(f"{start} and points to {where}; check {self._names.base_url}", kind="misconfigured")
        if status in (404, 405) or problem.code == "model_not_found":
            check = self._names.base_url if model is None else f"{self._names.base_url} and {self._names.model}"
            asked = "" if model is None else f" for model {model!r}"
            hint = ", and mind that most servers want an address that ends in /v1" if self._url.path == "/" else ""
            return ModelError(f"{start}{asked}: {said}; check {check}{hint}", kind="misconfigured")
        if is_overflow(problem) and most_tokens_of(problem) is None:
            return ModelError(f"{start}: {said}", kind="context_overflow", window=window_of(problem))
        return RefusedError(f"{start}: {said}", problem, kind="refused")

    def _reported(self, problem: Problem, *, began: bool) -> ModelError:
        """The error for an error inside an answer that began with 200."""
        said = f"the model server at {self.base_url} reported an error: {self._redacted(problem.text)}"
        if began:
            return ModelError(said, kind="cut")
        if is_overflow(problem):
            return ModelError(said, kind="context_overflow", window=window_of(problem))
        return ModelError(said, kind="rate_limited" if "rate_limit" in problem.code else "unavailable")

    def _interrupted(self, why: str, *, began: bool) -> ModelError:
        if began:
            return ModelError(f"the model server at {self.base_url} stopped in the middle: {why}", kind="cut")
        check = f"check {self._names.base_url}"
        return ModelError(f"the model server at {self.base_url} gave no answer: {why}; {check}", kind="unavailable")

    def _unreachable(self, error: Exception) -> ModelError:
        """The error for a request that got no answer. A server that is merely slow is not asked again."""
        message = f"the model server at {self.base_url} gave no answer: {self._reason(error)}"
        message += f"; check {self._names.base_url}"
        if isinstance(error, aiohttp.ClientResponseError | aiohttp.SocketTimeoutError):
            return ModelError(message, kind="unavailable")
        return _PassingError(message)

    def _reason(self, error: Exception) -> str:
        match error:
            case aiohttp.ClientResponseError():
                return "what answers there does not speak HTTP"
            case aiohttp.SocketTimeoutError():
                return f"no data for {self._idle_seconds:g} seconds"
            case aiohttp.ConnectionTimeoutError():
                return f"no connection within {self._connect_seconds:g} seconds"
            case aiohttp.ServerDisconnectedError():
                return "the connection was closed"
            case aiohttp.ClientConnectorCertificateError():
                return f"its certificate is not trusted ({one_line(str(error.certificate_error))})"
            case aiohttp.ClientConnectorError():
                return f"no connection ({one_line(error.os_error.strerror or str(error.os_error))})"
            case TimeoutError():
                return "timed out"
            case _:
                return f"the connection broke ({self._redacted(one_line(str(error)))})"

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _parse(base_url: str, names: SettingNames) -> URL:
    """The address as people write it: with or without a final slash, or as copied from a request."""
    try:
        url = URL(base_url.strip())
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise StartupError(f"{names.base_url} must be an http(s) address such as http://localhost:11434/v1")
    path = url.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/embeddings")
    return url.with_path(path or "/").with_query(url.query)


async def _next(response: aiohttp.ClientResponse, patience: float | None) -> bytes:
    """The next bytes; TimeoutError after `patience` seconds, where there is a limit to keep."""
    if patience is None:
        return await response.content.readany()
    async with asyncio.timeout(patience):
        return await response.content.readany()


def _patience(answer: Answer) -> float | None:
    """How long to wait for the next bytes, beside the idle time-out."""
    if answer.done:
        return _DRAIN_SECONDS
    return _TAIL_SECONDS if answer.reason is not None else None


def _seconds(retry_after: str | None, now: Clock) -> float | None:
    """`Retry-After` is a number of seconds or a date."""
    if not retry_after:
        return None
    try:
        return float(retry_after)
    except ValueError:
        pass
    try:
        return email.utils.parsedate_to_datetime(retry_after).timestamp() - now()
    except ValueError:
        return None


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    """The explanation is welcome, the status is what counts: a body that does not come is an empty one."""
    try:
        async with asyncio.timeout(_ERROR_BODY_SECONDS):
            return await _read(response, _MAX_ERROR_BYTES)
    except (TimeoutError, aiohttp.ClientError):
        return b""


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    while len(body) < max_bytes and (block := await response.content.readany()):
        body += block
    return bytes(body[:max_bytes])
