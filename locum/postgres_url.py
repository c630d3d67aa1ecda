"""LOCUM_DATABASE_URL, parsed once for every connection to PostgreSQL: the rows' and the signals'.

Parameters have the meaning of libpq. asyncpg implements most of them; this module adds `connect_timeout` for each host
and refuses unknown parameters, which asyncpg would send to the server as settings.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

import asyncpg

from locum.errors import StartupError

_VARIABLE = "LOCUM_DATABASE_URL"
_FORM = re.compile(
    r"(?P<scheme>[a-z0-9+]+)://"
    r"(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?"
    r"(?P<hosts>[^@/?#]*)"
    r"(?:/(?P<database>[^?#]*))?"
    r"(?:\?(?P<query>[^#]*))?"
)
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSION_ATTRIBUTES = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
_SECRET = frozenset({"password", "sslpassword"})
_PARAMETERS = frozenset(
    {"host", "port", "user", "dbname", "passfile", "service", "connect_timeout", "target_session_attrs"}
    | {"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslnegotiation"}
    | {"ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib"}
    | {"application_name", "options"}
    | _SECRET
)
_SYSTEM_TRUST = ("sslrootcert", "system")
_DEFAULT_CONNECT_SECONDS = 5.0
_TRY_NEXT_HOST = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.exceptions.TargetServerAttributeNotMatched,
)
"""As in libpq, a refused password is final: the remaining hosts are not tried."""


@dataclass(frozen=True, kw_only=True)
class PostgresURL:
    """An address of PostgreSQL. Use `parse`."""

    user: str | None
    password: str | None = field(repr=False)
    hosts: tuple[str, ...]
    database: str
    parameters: Mapping[str, str] = field(repr=False)
    connect_seconds: float | None
    """For each host; None waits without limit."""
    session_attributes: str | None

    @classmethod
    def parse(cls, url: str) -> PostgresURL:
        """Raises StartupError, which never quotes the password."""
        parts = _FORM.fullmatch(url.strip())
        if parts is None or not all(map(_is_host, parts["hosts"].split(","))):
            raise StartupError(
                f"{_VARIABLE} must look like postgresql://user:password@host/database. "
                "Percent-encode special characters of the password."
            )
        if parts["scheme"].partition("+")[0] not in ("postgresql", "postgres"):
            raise StartupError(f"{_VARIABLE} must begin with postgresql://, not {parts['scheme']}://.")
        parameters = _checked(dict(parse_qsl(parts["query"] or "", keep_blank_values=True)))
        return cls(
            user=unquote(parts["user"]) if parts["user"] else None,
            password=unquote(parts["password"]) if parts["password"] else None,
            hosts=tuple(parts["hosts"].split(",")),
            database=unquote(parts["database"] or ""),
            connect_seconds=_connect_seconds(parameters.pop("connect_timeout", None)),
            session_attributes=parameters.pop("target_session_attrs", None),
            parameters=parameters,
        )

    def __str__(self) -> str:
        """Return the address for people: without passwords."""
        public = {name: value for name, value in self.parameters.items() if name not in _SECRET}
        user = f"{quote(self.user)}{':***' if self.password else ''}@" if self.user else ""
        query = f"?{urlencode(public, safe='/', quote_via=quote)}" if public else ""
        return f"postgresql://{user}{','.join(self.hosts)}/{quote(self.database)}{query}"

    async def connect(self) -> Any:
        """Return an asyncpg connection to the first host that serves. Raises OSError with the reason in words."""
        try:
            return await self._connect()
        except TimeoutError as error:
            limit = f" within {self.connect_seconds:g} s" if self.connect_seconds else ""
            raise TimeoutError(str(error) or f"it did not answer{limit}") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise ConnectionError(str(error)) from error

    async def _connect(self) -> Any:
        last_error: Exception | None = None
        for attributes, dsn in self._attempts():
            try:
                return await asyncpg.connect(
                    dsn, timeout=self.connect_seconds, target_session_attrs=attributes, ssl=self._ssl()
                )
            except _TRY_NEXT_HOST as error:
                last_error = error
        assert last_error is not None  # there is one host at least
        raise last_error

    def _attempts(self) -> Iterator[tuple[str | None, str]]:
        """Yield session attributes and addresses in the order to try them."""
        preferences = ("standby", "any") if self.session_attributes == "prefer-standby" else (self.session_attributes,)
        for attributes in preferences:
            for host in self.hosts:
                yield attributes, self._dsn(host)

    def _dsn(self, host: str) -> str:
        parameters = {name: value for name, value in self.parameters.items() if (name, value) != _SYSTEM_TRUST}
        user = quote(self.user, safe="") if self.user else ""
        password = f":{quote(self.password, safe='')}" if self.password else ""
        query = urlencode(parameters, quote_via=quote)
        return f"postgresql://{user}{password}@{host}/{quote(self.database, safe='')}?{query}".rstrip("?")

    def _ssl(self) -> ssl.SSLContext | None:
        """Return a context that trusts the system's authorities for `sslrootcert=system`; asyncpg does the rest."""
        return ssl.create_default_context() if _SYSTEM_TRUST in self.parameters.items() else None


def _is_host(host: str) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and (match["port"] is None or int(match["port"]) < 65536)


def _checked(parameters: dict[str, str]) -> dict[str, str]:
    """Return the parameters with libpq's names. Raises StartupError for those that cannot be used."""
    parameters = _with_ssl_mode(parameters)
    for name in parameters:
        if name not in _PARAMETERS:
            raise StartupError(
                f"{_VARIABLE} has the unknown parameter {name!r}. Known: {', '.join(sorted(_PARAMETERS))}."
            )
    _check_choice(parameters, "sslmode", _SSL_MODES)
    _check_choice(parameters, "target_session_attrs", _SESSION_ATTRIBUTES)
    _check_root_certificate(parameters)
    return parameters


def _with_ssl_mode(parameters: dict[str, str]) -> dict[str, str]:
    """Replace `ssl`, the spelling of SQLAlchemy and JDBC, by `sslmode`."""
    if "ssl" not in parameters:
        return parameters
    mode = {"true": "require", "false": "disable"}.get(parameters["ssl"].lower(), parameters["ssl"])
    return {"sslmode": mode, **{name: value for name, value in parameters.items() if name != "ssl"}}


def _check_choice(parameters: Mapping[str, str], name: str, choices: tuple[str, ...]) -> None:
    value = parameters.get(name)
    if value is not None and value not in choices:
        raise StartupError(f"{_VARIABLE} has {name}={value}. Expected one of: {', '.join(choices)}.")


def _check_root_certificate(parameters: dict[str, str]) -> None:
    path = parameters.get("sslrootcert")
    if path == "system":
        if parameters.setdefault("sslmode", "verify-full") != "verify-full":
            raise StartupError(f"{_VARIABLE} has sslrootcert=system, which needs sslmode=verify-full.")
    elif path is not None:
        try:
            ssl.create_default_context(cafile=path)
        except ssl.SSLError:
            raise StartupError(f"{_VARIABLE} has sslrootcert={path}, which has no certificate in PEM form.") from None
        except OSError as error:
            raise StartupError(
                f"{_VARIABLE} has sslrootcert={path}, which cannot be read ({error.strerror})."
            ) from None


def _connect_seconds(text: str | None) -> float | None:
    """Return the limit of one attempt: libpq waits without limit for zero and less, and two seconds at least."""
    if text is None:
        return _DEFAULT_CONNECT_SECONDS
    if not re.fullmatch(r"-?[0-9]+", text.strip()):
        raise StartupError(f"{_VARIABLE} has connect_timeout={text}. Expected a number of seconds.")
    seconds = int(text)
    return max(2.0, float(seconds)) if seconds > 0 else None
