"""uploads, expiring files, threads by metadata, idempotency keys, permissions of keys"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("keys", sa.Column("permissions", sa.String(length=256), nullable=False, server_default=""))
    op.add_column("files", sa.Column("expires_at", sa.BigInteger(), nullable=True))
    expires = sa.text("expires_at IS NOT NULL")
    op.create_index("ix_files_expires", "files", ["expires_at"], sqlite_where=expires, postgresql_where=expires)
    op.create_index("ix_threads_resource", "threads", ["resource", "seq"])
    _make_labels()
    op.create_table(
        "uploads",
        sa.Column("seq", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(length=64), nullable=False, unique=True),
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
    )
    pending = sa.text("status = 'pending'")
    op.create_index("ix_uploads_pending", "uploads", ["expires_at"], sqlite_where=pending, postgresql_where=pending)
    op.create_table(
        "upload_parts",
        sa.Column("seq", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(length=64), nullable=False, unique=True),
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("upload_id", sa.String(length=64), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
    )
    op.create_index("ix_upload_parts_upload", "upload_parts", ["upload_id", "seq"])
    op.create_table(
        "once",
        sa.Column("resource", sa.String(length=64), primary_key=True),
        sa.Column("key", sa.String(length=255), primary_key=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_once_created", "once", ["created_at"])


def _make_labels() -> None:
    labels = op.create_table(
        "thread_labels",
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("thread_id", sa.String(length=64), primary_key=True),
        sa.Column("key", sa.String(length=64), primary_key=True),
        sa.Column("value", sa.String(length=512), nullable=False),
    )
    op.create_index("ix_thread_labels_value", "thread_labels", ["resource", "key", "value"])
    connection = op.get_bind()
    threads = connection.execute(sa.text("SELECT id, resource, doc FROM threads"))
    while batch := threads.fetchmany(1000):
        rows = [
            {"resource": resource, "thread_id": thread_id, "key": key, "value": value}
            for thread_id, resource, doc in batch
            for key, value in json.loads(doc)["metadata"].items()
        ]
        if rows:
            connection.execute(sa.insert(labels), rows)
