"""The one table of settings: `LOCUM_*` variables, `locum.toml` in the working directory, and flags of `locum serve`.

A flag wins over a variable, a variable over the file. Documentation and CLI help are made from the descriptions here.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import sys
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from locum.domain.image_urls import ImageURLs
from locum.errors import StartupError
from locum.models.chat import MaxTokensParameter, ToolCalling

TOML_FILE = "locum.toml"


def _not_blank(value: str | None) -> str | None:
    return value.strip() or None if value is not None else None


OptionalText = Annotated[str | None, AfterValidator(_not_blank)]
"""A variable that is set but empty is a variable that is not set."""


_ORIGIN = re.compile(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


def _origins(value: str | None) -> str | None:
    """A list without blanks, as browsers write origins: in small letters, with no slash at the end."""
    if value is None:
        return None
    origins = [each.strip().lower().removesuffix("/") for each in value.split(",")]
    for each in origins:
        if each != "*" and not _ORIGIN.fullmatch(each):
            raise ValueError("expected origins such as https://app.example.com, joined by commas, or *")
    return ",".join(origins)


def _addresses(value: str | None) -> str | None:
    """Return IP addresses in normal form, with commas and without spaces; ValueError names one that is none."""
    if value is None:
        return None
    found = []
    for address in value.replace(" ", "").split(","):
        try:
            found.append(str(ipaddress.ip_address(address)))
        except ValueError:
            raise ValueError(f"{address!r} is no IP address: expected addresses with commas between them") from None
    return ",".join(found)


def _image_urls(value: str) -> str:
    """Return the rule in normal form; ValueError names a part that is none."""
    return ImageURLs.parse(value).text


class ModelTable(BaseModel):
    """`[models."gpt-4o"]` in `locum.toml`: where a model or deployment name goes."""

    model_config = ConfigDict(extra="forbid")

    base_url: OptionalText = Field(None, description="Base URL of its model server, up to /v1.")
    model: OptionalText = Field(None, description="Its name on that server.")
    api_key_env: OptionalText = Field(None, description="Variable that holds the key of that server.")
    context_window: int | None = Field(None, ge=256, description="Tokens of prompt and answer together.")
    max_output_tokens: int | None = Field(None, ge=1, description="Tokens an answer may take.")
    tool_calling: ToolCalling | None = Field(None, description="native, or prompt.")
    max_tokens_parameter: MaxTokensParameter | None = Field(
        None, description="Name of the limit of an answer: auto, max_completion_tokens or max_tokens."
    )


def refuse_untrusted(path: str, status: os.stat_result, *, user: int) -> None:
    """Raise StartupError for a file that another user may have written: it could send keys to an address of theirs."""
    if status.st_uid not in (user, 0):
        raise StartupError(
            f"{path} belongs to another user (uid {status.st_uid}), and this process runs as uid {user}. "
            f"If its content is yours: chown {user} {path}. Otherwise start in another directory."
        )
    if status.st_mode & stat.S_IWOTH:
        mode = stat.S_IMODE(status.st_mode)
        raise StartupError(
            f"{path} can be written by every user (mode {mode:04o}). Check its content, then: chmod o-w {path}"
        )


class _TomlFile(TomlConfigSettingsSource):
    """`locum.toml`, read only if no other user can have written it."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        path = str(file_path.absolute() if isinstance(file_path, Path) else file_path)
        try:
            with file_path.open("rb") as file:
                if sys.platform != "win32":  # there, os.stat knows neither owners nor modes
                    refuse_untrusted(path, os.fstat(file.fileno()), user=os.geteuid())
                return tomllib.load(file)
        except OSError as error:
            raise StartupError(f"{path} cannot be read ({error.strerror}).") from None


class Settings(BaseSettings):
    """Every setting, its default and what it is for."""

    model_config = SettingsConfigDict(env_prefix="LOCUM_", toml_file=TOML_FILE, extra="ignore")

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Any but a loopback address needs LOCUM_API_KEY or a stored key."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(Path("locum-data"), description="Directory of everything Locum keeps.")
    database_url: OptionalText = Field(
        None,
        description="PostgreSQL database, postgresql://user:password@host/name, with parameters such as sslmode as in "
        "libpq. Unset: SQLite in the data directory.",
    )
    blob_url: OptionalText = Field(
        None,
        description="Where files are kept: s3://bucket/prefix or file:///folder. Unset: the data directory.",
    )
    blob_keep_days: int = Field(
        7,
        ge=0,
        le=36500,
        description="Days for which the bytes of deleted files stay in the trash of the place above; 0 removes them at "
        "once.",
    )
    api_key: OptionalText = Field(
        None,
        description="The default resource's key. Only its digest is stored. At least 16 characters unless "
        "LOCUM_HOST is a loopback address.",
    )
    model_base_url: OptionalText = Field(
        None,
        description="Base URL of an OpenAI-compatible server, e.g. http://localhost:11434/v1. Unset: the demo model.",
    )
    model_api_key: OptionalText = Field(None, description="Key for that server, if it wants one.")
    model: OptionalText = Field(
        None, description="Upstream model that serves every model name not mapped otherwise. Unset: names pass through."
    )
    model_context_window: int | None = Field(
        None,
        ge=256,
        description="Tokens a prompt and its answer may take together. Unset: 128000, or what the model server says.",
    )
    model_max_output_tokens: int | None = Field(
        None, ge=1, description="Tokens an answer may take. Unset: the model server's own limit."
    )
    model_tool_calling: ToolCalling = Field(
        "native", description="native, or prompt: for models that cannot call tools by themselves."
    )
    model_max_tokens_parameter: MaxTokensParameter = Field(
        "auto", description="How the limit of an answer is called: auto, max_completion_tokens or max_tokens."
    )
    models: dict[str, ModelTable] = Field(
        default_factory=dict,
        description='Tables in locum.toml that map a model or deployment name, e.g. [models."gpt-4o"].',
    )
    explain_errors: bool | None = Field(
        None,
        description="Whether errors of runs and of files quote a model server's address and words, which are otherwise "
        "in the log alone. Unset: only where the server has no key and listens on a loopback address.",
    )
    embedding_base_url: OptionalText = Field(
        None,
        description="Base URL of an OpenAI-compatible server of embeddings, to search files by meaning as well. Unset: "
        "by words alone, or LOCUM_EMBEDDING_DIRECTORY.",
    )
    embedding_api_key: OptionalText = Field(None, description="Key for that server, if it wants one.")
    embedding_model: OptionalText = Field(
        None, description="Model there; one that reads several languages, unless all files are English."
    )
    embedding_dimensions: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="Length of its vectors, for models that offer several. Unset: the model's own.",
    )
    embedding_directory: Path | None = Field(
        None,
        description="Directory with model.onnx and tokenizer.json of a sentence-transformers model that runs on this "
        "machine; needs locum[embeddings].",
    )
    rerank_base_url: OptionalText = Field(
        None, description="Base URL of a server with /rerank that puts what was found in order. Unset: none is asked."
    )
    rerank_api_key: OptionalText = Field(None, description="Key for that server, if it wants one.")
    rerank_model: OptionalText = Field(None, description="Model there.")
    search_rewrite_model: OptionalText = Field(
        None,
        description="Model, or deployment name, that puts queries into better words where a search says rewrite_query; "
        "a quick one. Unset: they are searched as they are asked.",
    )
    search_memory_bytes: int = Field(
        1024**3,
        ge=16 * 1024**2,
        description="Memory for what is kept of vector stores between searches; the one longest unused makes room.",
    )
    ingest_slots: int = Field(
        4, ge=1, le=64, description="How many files of vector stores are read, cut and embedded at a time."
    )
    sandbox: Literal["auto", "namespaces", "landlock", "weak", "off"] = Field(
        "auto", description="How the code interpreter's Python is held: auto, namespaces, landlock, weak or off."
    )
    sandbox_python: Path | None = Field(
        None,
        description="Python, or folder of a virtual environment, whose packages the code interpreter offers. Unset: "
        "the server's own.",
    )
    sandbox_session_seconds: int = Field(
        3600, ge=1, description="How long a thread's code interpreter session is kept since it was last used."
    )
    sandbox_cell_seconds: int = Field(120, ge=1, description="How long one call of the code interpreter may take.")
    sandbox_memory_bytes: int = Field(
        1024**3,
        ge=64 * 1024**2,
        description="Memory of one session, its files included; a session that takes more ends.",
    )
    sandbox_disk_bytes: int = Field(
        512 * 1024**2, ge=1024**2, description="What one session's /mnt/data and /tmp may hold together."
    )
    sandbox_processes: int = Field(64, ge=2, description="How many processes and threads one session may have.")
    sandbox_cpus: float = Field(
        1, ge=0, description="Processors one session may keep busy, where control groups are to be had; 0 for all."
    )
    sandbox_max_sessions: int | None = Field(
        None,
        ge=1,
        description="How many sessions there may be; the one idle longest makes room. Unset: one for each 64 MiB of "
        "the machine's memory, 200 at most.",
    )
    run_expiry_seconds: int = Field(600, ge=1, description="How long a run may take before it expires.")
    run_slots: int = Field(1000, ge=1, description="How many runs are worked on at a time.")
    vector_stores_per_object: int = Field(
        1, ge=1, le=100, description="How many vector stores an assistant or a thread may have; the hosted API had one."
    )
    image_urls: Annotated[str, AfterValidator(_image_urls)] = Field(
        "public",
        description="Which image_url parts of messages are accepted: off, or data (data URLs; the others include it), "
        "public (hosts that are not private by their address or name) and hosts such as images.example.com, "
        "*.example.org or 10.0.0.7:9000, with commas between.",
    )
    expired_store_days: int = Field(
        90,
        ge=1,
        le=36500,
        description="Days for which an expired vector store can still be read. Then it is removed, unless an assistant "
        "or a thread names it; its files stay.",
    )
    strict: bool = Field(
        False, description="Refuse what the hosted service refused and Locum takes, such as unknown api-versions."
    )
    cors_origins: Annotated[OptionalText, AfterValidator(_origins)] = Field(
        None,
        description="Origins whose web pages may call the server, e.g. https://app.example.com,http://localhost:3000, "
        "or * for all of them. Unset: none.",
    )
    max_connections: int | None = Field(
        None, ge=1, description="Connections accepted at a time. Unset: half of the files the process may open."
    )
    max_connections_per_address: int | None = Field(
        None, ge=1, description="Connections accepted from one address. Unset: half of LOCUM_MAX_CONNECTIONS."
    )
    trusted_proxies: Annotated[OptionalText, AfterValidator(_addresses)] = Field(
        None,
        description="Addresses of reverse proxies, e.g. 127.0.0.1,10.0.0.7, whose X-Forwarded-For and "
        "X-Forwarded-Proto are believed. Unset: none.",
    )
    tls_cert: OptionalText = Field(
        None, description="PEM file of the certificate (and those it depends on) to serve https with; needs a key."
    )
    tls_key: OptionalText = Field(None, description="PEM file of that certificate's private key, not encrypted.")
    log_format: Literal["console", "json"] = Field("console", description="Form of the log on standard error.")

    @property
    def local_url(self) -> str:
        """Return the address under which this machine reaches the server."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host.strip("[]"))  # noqa: S104
        return f"{'https' if self.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def origins(self) -> tuple[str, ...]:
        """`cors_origins`, one by one."""
        return tuple(self.cors_origins.split(",")) if self.cors_origins else ()

    @property
    def proxies(self) -> tuple[str, ...]:
        """`trusted_proxies`, one by one."""
        return tuple(self.trusted_proxies.split(",")) if self.trusted_proxies else ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _TomlFile(settings_cls)

    @classmethod
    def load(cls, **flags: Any) -> Settings:
        """The settings in force; flags that are None were not given. StartupError names the first wrong one."""
        try:
            return cls(**{name: value for name, value in flags.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            name = "_".join(str(part) for part in first["loc"]).upper()
            raise StartupError(f"LOCUM_{name}: {first['msg']}, but it is {first['input']!r}.") from None
        except ValueError as error:  # not TOML
            raise StartupError(f"{TOML_FILE} cannot be read: {error}") from None
