"""`tool_resources`, of assistants, threads and create_and_run."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from locum.api.v2.requests.base import Body, FileId, Metadata, T, VectorStoreId, canonical
from locum.api.v2.requests.chunking import ChunkingBody
from locum.api.validation import STORES_PER_OBJECT
from locum.domain.tools import CodeInterpreterResources, ToolResources
from locum.domain.vector_stores import MAX_FILES
from locum.services.params import NewVectorStore, NewVectorStoreFile


class CodeInterpreterFiles(Body):
    file_ids: Annotated[list[FileId], Field(max_length=20)] | None = None


class VectorStoreOfObject(Body):
    """A store that is described along with the assistant or thread it is for."""

    file_ids: Annotated[list[FileId], Field(max_length=MAX_FILES, fail_fast=True)] | None = None
    chunking_strategy: ChunkingBody | None = None
    metadata: Metadata | None = None

    def to_params(self) -> NewVectorStore:
        chunking = self.chunking_strategy.to_domain() if self.chunking_strategy else None
        files = tuple(NewVectorStoreFile(file_id=file_id, chunking=chunking) for file_id in self.file_ids or ())
        return NewVectorStore(files=files, metadata=self.metadata or {})


def _as_many_as_allowed(value: list[T], info: ValidationInfo) -> list[T]:
    most = (info.context or {}).get(STORES_PER_OBJECT, 1)
    if len(value) > most:
        raise PydanticKnownError("too_long", {"field_type": "List", "max_length": most, "actual_length": len(value)})
    return value


class FileSearchStores(Body):
    """Some clients always send the keys; empty they ask for nothing."""

    vector_store_ids: Annotated[list[VectorStoreId], AfterValidator(_as_many_as_allowed)] | None = None
    vector_stores: Annotated[list[VectorStoreOfObject], AfterValidator(_as_many_as_allowed)] | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> FileSearchStores:
        if self.vector_store_ids and self.vector_stores:
            raise PydanticCustomError("both", "'vector_store_ids' and 'vector_stores' cannot be given together")
        return self


class ToolResourcesBody(Body):
    """`tool_resources`, of assistants, threads and create_and_run."""

    code_interpreter: CodeInterpreterFiles | None = None
    file_search: FileSearchStores | None = None

    @model_validator(mode="before")
    @classmethod
    def _canonical_keys(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {canonical(key): resources for key, resources in value.items()}

    def to_domain(self) -> ToolResources:
        resources = ToolResources()
        if self.code_interpreter is not None:
            file_ids = tuple(self.code_interpreter.file_ids or ())
            resources = ToolResources(code_interpreter=CodeInterpreterResources(file_ids=file_ids))
        if self.file_search is not None and self.file_search.vector_store_ids:
            resources = resources.with_vector_stores(tuple(dict.fromkeys(self.file_search.vector_store_ids)))
        return resources

    def new_stores(self) -> tuple[NewVectorStore, ...]:
        """The stores it describes."""
        described = (self.file_search and self.file_search.vector_stores) or ()
        return tuple(store.to_params() for store in described)


def resources_of(body: ToolResourcesBody | None) -> ToolResources:
    return ToolResources() if body is None else body.to_domain()


def new_stores_of(body: ToolResourcesBody | None) -> tuple[NewVectorStore, ...]:
    return () if body is None else body.new_stores()
