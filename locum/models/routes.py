"""Which backend answers a model name, and under which name it is asked.

An app keeps the model (or Azure deployment) names it was written with; this is where they become an upstream's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from locum.models.chat import ChatModel, MaxTokensParameter, ModelError, ToolCalling
from locum.models.prompted_tools import PromptedTools
from locum.models.tokens import Meter

if TYPE_CHECKING:
    from locum.models.openai_compatible import Connections, OpenAICompatible

DEMO_NAME = "locum-demo"
"""Name of the demo model among models."""
_LIST_FRESH_SECONDS = 60.0
_NO_LIST_FRESH_SECONDS = 5.0
_NAMES_SHOWN = 8
_MOST_LEARNED = 1000


class MappedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A `[models."name"]` table. What is left out is the default backend's."""

    base_url: str | None = None
    model: str | None = None
    api_key: str | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    tool_calling: ToolCalling | None = None
    max_tokens_parameter: MaxTokensParameter | None = None


class Learned:
    """What the use of one upstream model has taught: its window, and how it counts."""

    def __init__(self) -> None:
        self.window: int | None = None
        self.meter = Meter()


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where one model name leads. The limits are None where the owner has set none."""

    model: ChatModel
    upstream_name: str
    backend: OpenAICompatible | None = None
    """The server behind `model`; None for the demo model."""
    max_output_tokens: int | None = None
    set_window: int | None = None
    learned: Learned = msgspec.field(default_factory=Learned)

    @property
    def context_window(self) -> int | None:
        """In tokens: as its owner has set it, or smaller where the upstream has said so; None while nobody knows."""
        known = [window for window in (self.set_window, self.learned.window) if window is not None]
        return min(known) if known else None

    @property
    def meter(self) -> Meter:
        return self.learned.meter

    def overflowed(self, window: int | None) -> None:
        """The upstream refused a prompt as too long; it said that it has room for `window` tokens, or did not say."""
        if window is not None and window > 0:
            self.learned.window = window


class Routes:
    """The rules of the road: a mapped name takes its table, every other name the default backend, and with no backend
    at all the demo model answers.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        default_model: str | None = None,
        mapped: Mapping[str, MappedModel] | None = None,
        context_window: int | None = None,
        max_output_tokens: int | None = None,
        tool_calling: ToolCalling = "native",
        max_tokens_parameter: MaxTokensParameter = "auto",
        demo: ChatModel | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        **client_options: Any,
    ) -> None:
        """The limits are the default backend's, and of tables that have none. `client_options` go to every
        `OpenAICompatible` as they are (time-outs, attempts). demo: answers where there is no backend at all."""
        self._connections: Connections | None = None
        self._client_options = client_options
        self._default_model = default_model or None
        self._default: OpenAICompatible | None = None
        self._default_key: str | None = None
        if base_url:
            self._default_key = api_key
            self._default = self._client(base_url=base_url, api_key=api_key, max_tokens_parameter=max_tokens_parameter)
        self._mapped = dict(mapped or {})
        self._tool_calling = tool_calling
        self._max_tokens_parameter = max_tokens_parameter
        self._context_window = context_window
        self._max_output_tokens = max_output_tokens
        self._backends = {name: self._backend(name, table) for name, table in self._mapped.items()}
        self._demo = demo
        self._learned: dict[tuple[int, str], Learned] = {}
        self._monotonic = monotonic
        self._listed: list[str] | None = None
        self._listed_until: float | None = None
        self._listing = asyncio.Lock()

    async def resolve(self, name: str) -> Route:
        """The route of a model name. `ModelError` (misconfigured) when no backend knows it, naming the setting."""
        table = self._mapped.get(name, MappedModel())
        backend = self._backends.get(name, self._default)
        model: ChatModel
        if backend is not None:
            model = backend
            upstream_name = table.model or (name if table.base_url else await self._default_name(name))
        elif self.is_demo and self._demo is not None:
            model, upstream_name = self._demo, DEMO_NAME
        else:
            raise ModelError(
                f"no model server is set for the model {name!r}: set LOCUM_MODEL_BASE_URL, "
                f'or map the name in [models."{name}"] of locum.toml',
                kind="misconfigured",
            )
        backend_id = id(model)
        if backend is not None and (table.tool_calling or self._tool_calling) == "prompt":
            model = PromptedTools(backend)
        return Route(
            model=model,
            upstream_name=upstream_name,
            backend=backend,
            set_window=table.context_window or self._context_window,
            max_output_tokens=table.max_output_tokens or self._max_output_tokens,
            learned=self._learned_of(backend_id, upstream_name),
        )

    def _learned_of(self, backend_id: int, upstream_name: str) -> Learned:
        """Kept for so many upstream models: where names pass through, it is the callers who make them up."""
        learned = self._learned.pop((backend_id, upstream_name), None) or Learned()
        while len(self._learned) >= _MOST_LEARNED:
            del self._learned[next(iter(self._learned))]
        self._learned[backend_id, upstream_name] = learned
        return learned

    async def names(self) -> list[str]:
        """The model names worth offering: the mapped ones, then the upstream's own."""
        names = list(self._mapped)
        if self.is_demo:
            names.append(DEMO_NAME)
        else:
            names += await self._upstream_names() or ([self._default_model] if self._default_model else [])
        return list(dict.fromkeys(names))

    def describe(self) -> str:
        """One line for the console at start-up."""
        if self.is_demo:
            return "demo model (built in, rule-based; set LOCUM_MODEL_BASE_URL to use a real one)"
        lines = []
        if self._default is not None:
            which = (
                f"model {self._default_model} for every name" if self._default_model else "each model by its own name"
            )
            lines.append(f"{self._default.base_url}, {which}")
        for name, table in self._mapped.items():
            if (backend := self._backends[name]) is not None:
                model = table.model or (name if table.base_url else self._default_model) or name
                lines.append(f"{name} -> {backend.base_url}, model {model}")
        return "; ".join(lines)

    @property
    def is_demo(self) -> bool:
        """No backend is configured anywhere: the demo model answers to every name."""
        return self._default is None and not any(self._backends.values())

    async def close(self) -> None:
        if self._connections is not None:
            await self._connections.close()

    def _client(self, **options: Any) -> OpenAICompatible:
        """Open a client of a model server; all of them share their connections."""
        # Imported here: the demo model needs no HTTP client, whose import takes 80 ms of a start.
        from locum.models.openai_compatible import Connections, OpenAICompatible

        self._connections = self._connections or Connections()
        return OpenAICompatible(connections=self._connections, **self._client_options, **options)

    def _backend(self, name: str, table: MappedModel) -> OpenAICompatible | None:
        """The backend of a mapped name: the default one, unless its table names an address or a key of its own."""
        if (table.base_url, table.api_key, table.max_tokens_parameter) == (None, None, None):
            return self._default
        base_url = table.base_url or (self._default.configured_url if self._default else None)
        if base_url is None:
            return None
        from locum.models.openai_compatible import SettingNames

        where = f'[models."{name}"]'
        names = SettingNames(
            base_url=f"base_url in {where}" if table.base_url else "LOCUM_MODEL_BASE_URL",
            api_key=f"the API key of {where}",
            model=f"model in {where}",
            tool_calling=f"tool_calling in {where}",
        )
        # The default key is not lent to another address.
        lent = self._default_key if table.base_url is None else None
        return self._client(
            base_url=base_url,
            api_key=table.api_key or lent,
            names=names,
            max_tokens_parameter=table.max_tokens_parameter or self._max_tokens_parameter,
        )

    async def _default_name(self, name: str) -> str:
        """Under which name the default backend is asked."""
        if self._default_model:
            return self._default_model
        listed = await self._upstream_names()
        if not listed or name in listed or f"{name}:latest" in listed:  # Ollama lists llama3 as llama3:latest
            return name
        if len(listed) == 1:
            return listed[0]
        shown = ", ".join(listed[:_NAMES_SHOWN]) + (", …" if len(listed) > _NAMES_SHOWN else "")
        address = self._default.base_url if self._default else ""
        raise ModelError(
            f"the model server at {address} does not know the model {name!r}; it has: {shown}. "
            f'Set LOCUM_MODEL to the one that shall answer, or map the name in [models."{name}"] of locum.toml',
            kind="misconfigured",
        )

    async def _upstream_names(self) -> list[str] | None:
        """What the default backend lists, asked for at most once in a while; None when there is no list to be had."""
        if self._default is None:
            return None
        async with self._listing:
            if self._listed_until is None or self._monotonic() >= self._listed_until:
                try:
                    self._listed = await self._default.list_models()
                except ModelError:  # the model call itself will tell the owner what is wrong
                    self._listed = None
                fresh = _NO_LIST_FRESH_SECONDS if self._listed is None else _LIST_FRESH_SECONDS
                self._listed_until = self._monotonic() + fresh
            return self._listed
