"""The tables. A row is a few indexed columns and `doc`, the object's JSON: the columns are copies, `doc` is the object.

Every row carries its resource. `seq` numbers rows in the order they were inserted and is what pages are cut by.
"""

from __future__ import annotations

import sqlalchemy as sa

from locum.domain.runs import ACTIVE

metadata = sa.MetaData()

_Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER PRIMARY KEY counts up by itself there


def _seq() -> sa.Column[int]:
    return sa.Column("seq", _Sequence, primary_key=True, autoincrement=True)


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String(64), nullable=False, unique=True)


def _resource() -> sa.Column[str]:
    return sa.Column("resource", sa.String(64), nullable=False)


def _doc() -> sa.Column[str]:
    return sa.Column("doc", sa.Text, nullable=False)


keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    _resource(),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("name", sa.String(128)),  # its owner's word for it
    # What it may do beyond the hosted API, joined by commas: see access/principals.py.
    sa.Column("permissions", sa.String(256), nullable=False, server_default=""),
)

assistants = sa.Table("assistants", metadata, _seq(), _id(), _resource(), _doc())
sa.Index("ix_assistants_resource", assistants.c.resource, assistants.c.seq)

threads = sa.Table("threads", metadata, _seq(), _id(), _resource(), _doc())
sa.Index("ix_threads_resource", threads.c.resource, threads.c.seq)

thread_labels = sa.Table(
    "thread_labels",
    metadata,
    # The metadata of threads once more, for the list that filters by it.
    _resource(),
    sa.Column("thread_id", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.String(512), nullable=False),
)
sa.Index("ix_thread_labels_value", thread_labels.c.resource, thread_labels.c.key, thread_labels.c.value)

thread_remains = sa.Table(
    "thread_remains",
    metadata,
    # Threads that do not exist and yet have rows: see thread_remains.py.
    sa.Column("thread_id", sa.String(64), primary_key=True),
    _resource(),
    sa.Column("due_at", sa.Float, nullable=False),
)

messages = sa.Table(
    "messages",
    metadata,
    _id(),
    _resource(),
    # Per thread, so that a page of a million messages is two index look-ups.
    sa.Column("thread_id", sa.String(64), nullable=False, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.String(64)),
    _doc(),
)
sa.Index("ix_messages_run", messages.c.run_id)

runs = sa.Table(
    "runs",
    metadata,
    _seq(),
    _id(),
    _resource(),
    sa.Column("thread_id", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    # Who is at work on it: see engine/worker.py.
    sa.Column("owner", sa.String(64)),
    sa.Column("lease_until", sa.Float),
    sa.Column("fence", sa.BigInteger, nullable=False, default=0),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    _doc(),
)
sa.Index("ix_runs_thread", runs.c.thread_id, runs.c.seq)
_is_active = runs.c.status.in_(ACTIVE)
sa.Index("ux_runs_active", runs.c.thread_id, unique=True, sqlite_where=_is_active, postgresql_where=_is_active)
sa.Index("ix_runs_active", runs.c.seq, sqlite_where=_is_active, postgresql_where=_is_active)

run_steps = sa.Table(
    "run_steps",
    metadata,
    _seq(),
    _id(),
    _resource(),
    sa.Column("thread_id", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    _doc(),
)
sa.Index("ix_run_steps_run", run_steps.c.run_id, run_steps.c.seq)

files = sa.Table(
    "files",
    metadata,
    _seq(),
    _id(),
    _resource(),
    sa.Column("purpose", sa.String(32), nullable=False),
    # Of a generated file: where it was made, so that a link in a later message finds it.
    sa.Column("thread_id", sa.String(64)),
    sa.Column("path", sa.Text),
    _doc(),
    sa.Column("expires_at", sa.BigInteger),  # last, where its migration adds it
)
sa.Index("ix_files_resource", files.c.resource, files.c.seq)
_expires = files.c.expires_at.is_not(None)
sa.Index("ix_files_expires", files.c.expires_at, sqlite_where=_expires, postgresql_where=_expires)
sa.Index("ix_files_thread", files.c.thread_id, files.c.seq)

file_uses = sa.Table(
    "file_uses",
    metadata,
    # The assistants and threads that have a file or vector store in their tool resources: a deleted file leaves them,
    # and a store that was made for one of them stays as long as another one uses it.
    sa.Column("file_id", sa.String(64), primary_key=True),
    sa.Column("object_id", sa.String(64), primary_key=True),
    _resource(),
)
sa.Index("ix_file_uses_object", file_uses.c.object_id)

uploads = sa.Table(
    "uploads",
    metadata,
    _seq(),
    _id(),
    _resource(),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    _doc(),
)
_is_pending = uploads.c.status == "pending"
sa.Index("ix_uploads_pending", uploads.c.expires_at, sqlite_where=_is_pending, postgresql_where=_is_pending)

upload_parts = sa.Table(
    "upload_parts",
    metadata,
    _seq(),
    _id(),
    _resource(),
    sa.Column("upload_id", sa.String(64), nullable=False),
    _doc(),
)
sa.Index("ix_upload_parts_upload", upload_parts.c.upload_id, upload_parts.c.seq)

idempotency_keys = sa.Table(
    "once",
    metadata,
    # The object that a request with an Idempotency-Key created: a repeated request returns it.
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("object_id", sa.String(64), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)
sa.Index("ix_once_created", idempotency_keys.c.created_at)

session_usage = sa.Table(
    "session_usage",
    metadata,
    # What each session of the code interpreter used: see domain/usage.py.
    sa.Column("instance", sa.String(64), primary_key=True),
    _resource(),
    sa.Column("thread_id", sa.String(64), nullable=False),
    sa.Column("opened_at", sa.BigInteger, nullable=False),
    sa.Column("last_used_at", sa.BigInteger, nullable=False),
    sa.Column("hours", sa.Integer, nullable=False),
    sa.Column("cells", sa.Integer, nullable=False),
    sa.Column("cpu_seconds", sa.Double, nullable=False),
    sa.Column("peak_memory_bytes", sa.BigInteger, nullable=False),
)
sa.Index("ix_session_usage_opened", session_usage.c.opened_at)

vector_stores = sa.Table(
    "vector_stores",
    metadata,
    _seq(),
    _id(),
    _resource(),
    # Counts what changes of its files: whoever keeps an index of the store sees whether it is behind.
    sa.Column("generation", sa.BigInteger, nullable=False, server_default="0"),
    _doc(),
    # The thread or assistant that it was made for and is deleted with; last, where its migration adds it.
    sa.Column("made_for", sa.String(64)),
)
sa.Index("ix_vector_stores_resource", vector_stores.c.resource, vector_stores.c.seq)
_is_made = vector_stores.c.made_for.is_not(None)
sa.Index("ix_vector_stores_made_for", vector_stores.c.made_for, sqlite_where=_is_made, postgresql_where=_is_made)

vector_store_files = sa.Table(
    "vector_store_files",
    metadata,
    _seq(),  # of a file that was removed and added again, another one: a worker's fence
    sa.Column("id", sa.String(64), nullable=False),  # the file's
    _resource(),
    sa.Column("vector_store_id", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("usage_bytes", sa.BigInteger, nullable=False),
    # The store's generation since it is searched as `doc` says.
    sa.Column("generation", sa.BigInteger, nullable=False, server_default="0"),
    # Who ingests it.
    sa.Column("owner", sa.String(64)),
    sa.Column("lease_until", sa.Float),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    _doc(),
    sa.UniqueConstraint("vector_store_id", "id"),
    sqlite_autoincrement=True,  # a number is not given twice there either
)
sa.Index("ix_vector_store_files_store", vector_store_files.c.vector_store_id, vector_store_files.c.seq)
sa.Index("ix_vector_store_files_status", vector_store_files.c.vector_store_id, vector_store_files.c.status)
sa.Index("ix_vector_store_files_file", vector_store_files.c.id)
_is_in_progress = vector_store_files.c.status == "in_progress"
sa.Index(
    "ix_vector_store_files_open",
    vector_store_files.c.seq,
    sqlite_where=_is_in_progress,
    postgresql_where=_is_in_progress,
)

file_batches = sa.Table(
    "file_batches",
    metadata,
    _seq(),
    _id(),
    _resource(),
    sa.Column("vector_store_id", sa.String(64), nullable=False),
    _doc(),
)
sa.Index("ix_file_batches_store", file_batches.c.vector_store_id)

file_batch_files = sa.Table(
    "file_batch_files",
    metadata,
    # The rows of vector_store_files that a batch consists of.
    sa.Column("batch_id", sa.String(64), primary_key=True),
    sa.Column("file_seq", sa.BigInteger, primary_key=True, autoincrement=False),
)
sa.Index("ix_file_batch_files_file", file_batch_files.c.file_seq)

database_identity = sa.Table(
    "database_identity",
    metadata,
    # One row. The blob store that belongs to this database carries the same id.
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", sa.String(64), nullable=False),
)

staged_blobs = sa.Table(
    "staged_blobs",
    metadata,
    # Keys of bytes without a row: see staged_blobs.py.
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("staged_at", sa.Float, nullable=False),
    sa.Column("is_garbage", sa.Boolean, nullable=False),
)
