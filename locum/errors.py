"""All errors raised on purpose, with messages a caller can act on. No HTTP here: `api/errors.py` translates once.

LocumError
├── InvalidRequest          the request is wrong: 400 with `param` and `code`
│   ├── ThreadBusy          a run is active on the thread (services/queue.py)
│   └── StoreExpired        the vector store has expired and is not searched (search/search.py)
├── NotFound                no such object, or not this resource's: the two must look the same
├── Unauthenticated         no key, or a wrong one
├── Forbidden               the request may not be made from there
├── TooLarge                more bytes than allowed
├── UnknownRoute            no such path (api/dialect.py)
├── WrongMethod             the path has other methods (api/errors.py)
├── Unavailable             a part of the server cannot serve now; try again
│   ├── StorageFull         there is no room to keep the bytes that were sent
│   └── OutcomeUnknown      the connection broke during a commit, which may have succeeded
├── LeaseLost               another owner has the run, or nobody has; never reaches a client
├── CancelRequested         the run is to be cancelled; never reaches a client (engine/recorder.py)
├── ModelError              a model server did not give a usable answer (models/chat.py)
│   ├── RefusedError        it refused the request (models/openai_compatible.py)
│   └── _PassingError       it may answer if asked again (models/openai_compatible.py)
├── CannotSearch            a call of file search cannot be carried out; told to the model (tools/file_search.py)
├── IndexUnusable           a keyword index is missing or damaged (search/keyword/index.py)
├── IndexBusy               a keyword index has another writer (search/keyword/index.py)
├── RerankFailed            the reranker gave no usable answer (search/rerank.py)
├── RewriteFailed           the model gave no usable queries (search/rewrite.py)
├── SandboxUnavailable      no code interpreter: says why and what to do (sandbox/session.py)
├── SessionLost             the session, or the sandbox host, went away during a call (sandbox/session.py)
├── QuotaExceeded           the bytes do not fit into the session's disk (sandbox/session.py)
├── NotWritable             something stands where a file is to go (sandbox/session.py)
├── NoInterpreter           LOCUM_SANDBOX_PYTHON is no Python that sessions can use (sandbox/interpreter.py)
├── ForkFailed              a zygote or kernel process could not be started (sandbox/host/zygote.py)
└── StartupError            the server cannot start: one line that says what to do
"""

from __future__ import annotations


class LocumError(Exception):
    """Base of all errors raised on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(LocumError):
    """The request cannot be served as it is. `param` is the path of the offending parameter, e.g. `tools[0].type`."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class NotFound(LocumError):
    """No such object for this resource. An object of another resource gives the very same words."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Unauthenticated(LocumError):
    """`presented` is the key that was offered, masked, or None when there was none."""

    def __init__(self, message: str, *, presented: str | None = None) -> None:
        super().__init__(message)
        self.presented = presented


class Forbidden(LocumError):
    """The request comes from where no request may come from (a foreign web page, a name that is not loopback)."""


class TooLarge(LocumError):
    """More bytes than the limit named in the message."""


class Unavailable(LocumError):
    """Not now. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StorageFull(Unavailable):
    """No room on the disk (or in the bucket): what was sent is not kept, what was kept can be read."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after=30)


class OutcomeUnknown(Unavailable):
    """The connection to the database broke during a commit: the rows may have been written."""


class LeaseLost(LocumError):
    """A fenced write touched no row: this worker no longer owns the run and must drop it."""


class StartupError(LocumError):
    """The server cannot start; the message is one line that says what to do."""
