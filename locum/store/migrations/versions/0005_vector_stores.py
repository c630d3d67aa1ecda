"""vector stores, their files, and the batches these come in"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "vector_stores",
        sa.Column("seq", _Sequence, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("resource", sa.String(64), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("doc", sa.Text(), nullable=False),
    )
    op.create_index("ix_vector_stores_resource", "vector_stores", ["resource", "seq"])

    op.create_table(
        "vector_store_files",
        sa.Column("seq", _Sequence, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("resource", sa.String(64), nullable=False),
        sa.Column("vector_store_id", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("usage_bytes", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("owner", sa.String(64)),
        sa.Column("lease_until", sa.Float()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.UniqueConstraint("vector_store_id", "id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_vector_store_files_store", "vector_store_files", ["vector_store_id", "seq"])
    op.create_index("ix_vector_store_files_status", "vector_store_files", ["vector_store_id", "status"])
    op.create_index("ix_vector_store_files_file", "vector_store_files", ["id"])
    is_in_progress = sa.text("status = 'in_progress'")
    op.create_index(
        "ix_vector_store_files_open",
        "vector_store_files",
        ["seq"],
        sqlite_where=is_in_progress,
        postgresql_where=is_in_progress,
    )

    op.create_table(
        "file_batches",
        sa.Column("seq", _Sequence, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("resource", sa.String(64), nullable=False),
        sa.Column("vector_store_id", sa.String(64), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
    )
    op.create_index("ix_file_batches_store", "file_batches", ["vector_store_id"])
    op.create_table(
        "file_batch_files",
        sa.Column("batch_id", sa.String(64), primary_key=True),
        sa.Column("file_seq", sa.BigInteger(), primary_key=True, autoincrement=False),
    )
    op.create_index("ix_file_batch_files_file", "file_batch_files", ["file_seq"])
