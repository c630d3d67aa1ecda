"""Request bodies: what is refused, in which words, and what they mean."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from locum.api.v2.requests.assistants import AssistantBody, AssistantChanges
from locum.api.v2.requests.base import Body, MetadataBody
from locum.api.v2.requests.messages import MessageBody
from locum.api.v2.requests.runs import RunBody, ThreadAndRunBody, ToolOutputsBody
from locum.api.v2.requests.threads import ThreadBody, ThreadChangesBody
from locum.api.validation import parse
from locum.domain.files import File, Surface
from locum.domain.messages import Attachment, TextPart
from locum.domain.runs import TruncationStrategy
from locum.domain.tools import (
    CodeInterpreterResources,
    CodeInterpreterTool,
    FileSearchOptions,
    FileSearchTool,
    RankingOptions,
    ToolResources,
)
from locum.errors import InvalidRequest
from locum.services.params import NewMessage
from locum.services.tool_resources import from_file_ids

RUN = {"assistant_id": "asst_1"}
SAY = {"role": "user", "content": "hi"}
LONG = "x" * 256_001


def texts(message: NewMessage) -> list[str]:
    return [part.text.value for part in message.content if isinstance(part, TextPart)]


def refused(model: type[Body], body: dict[str, Any], surface: Surface = "openai") -> tuple[str, str | None, str | None]:
    with pytest.raises(InvalidRequest) as caught:
        parse(model, body, surface=surface)
    return caught.value.message, caught.value.param, caught.value.code


@pytest.mark.parametrize(
    ("model", "body", "message", "param", "code"),
    [
        (AssistantBody, {}, "Missing required parameter: 'model'.", "model", "missing_required_parameter"),
        (
            AssistantBody,
            {"model": 5},
            "Invalid type for 'model': expected a string, but got an integer instead.",
            "model",
            "invalid_type",
        ),
        (
            AssistantBody,
            {"model": None},
            "Invalid type for 'model': expected a string, but got null instead.",
            "model",
            "invalid_type",
        ),
        (AssistantBody, {"model": "m", "foo": 1}, "Unknown parameter: 'foo'.", "foo", "unknown_parameter"),
        (
            AssistantBody,
            {"model": "m", "name": "x" * 300},
            "Invalid 'name': string too long. Expected a string with maximum length 256, "
            "but got a string with length 300 instead.",
            "name",
            "string_above_max_length",
        ),
        (
            AssistantBody,
            {"model": "m", "tools": [{"type": "code_interpreter"}] * 129},
            "Invalid 'tools': array too long. Expected an array with maximum length 128, "
            "but got an array with length 129 instead.",
            "tools",
            "array_above_max_length",
        ),
        (
            AssistantBody,
            {"model": "m", "tools": [{"type": "foo"}]},
            "Invalid value: 'foo'. Supported values are: 'code_interpreter', 'function', and 'file_search'.",
            "tools[0].type",
            "invalid_value",
        ),
        (
            AssistantBody,
            {"model": "m", "tools": [{}]},
            "Missing required parameter: 'tools[0].type'.",
            "tools[0].type",
            "missing_required_parameter",
        ),
        (
            AssistantBody,
            {"model": "m", "tools": ["code_interpreter"]},
            "Invalid type for 'tools[0]': expected an object, but got a string instead.",
            "tools[0]",
            "invalid_type",
        ),
        (
            AssistantBody,
            {"model": "m", "tools": [{"type": "function"}]},
            "Missing required parameter: 'tools[0].function'.",
            "tools[0].function",
            "missing_required_parameter",
        ),
        (
            AssistantBody,
            {"model": "m", "tools": [{"type": "function", "function": {}}]},
            "Missing required parameter: 'tools[0].function.name'.",
            "tools[0].function.name",
            "missing_required_parameter",
        ),
        (
            AssistantBody,
            {"model": "m", "tools": [{"type": "function", "function": {"name": "get weather"}}]},
            "Invalid 'tools[0].function.name': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            "tools[0].function.name",
            "invalid_value",
        ),
        (
            AssistantBody,
            {"model": "m", "tools": [{"type": "function", "function": {"name": "f" * 65}}]},
            "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, "
            "but got a string with length 65 instead.",
            "tools[0].function.name",
            "string_above_max_length",
        ),
        (
            AssistantBody,
            {"model": "m", "tools": [{"type": "code_interpreter", "function": {"name": "f"}}]},
            "Unknown parameter: 'tools[0].function'.",
            "tools[0].function",
            "unknown_parameter",
        ),
        (
            AssistantBody,
            {"model": "m", "temperature": 3},
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
            "temperature",
            "decimal_above_max_value",
        ),
        (
            AssistantBody,
            {"model": "m", "temperature": -0.1},
            "Invalid 'temperature': decimal below minimum value. Expected a value >= 0, but got -0.1 instead.",
            "temperature",
            "decimal_below_min_value",
        ),
        (
            AssistantBody,
            {"model": "m", "top_p": True},
            "Invalid type for 'top_p': expected a decimal, but got a boolean instead.",
            "top_p",
            "invalid_type",
        ),
        (
            AssistantBody,
            {"model": "m", "metadata": {str(n): "v" for n in range(17)}},
            "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
            "but got an object with 17 properties instead.",
            "metadata",
            "object_above_max_properties",
        ),
        (
            AssistantBody,
            {"model": "m", "metadata": {"k": "x" * 600}},
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
            "but got a string with length 600 instead.",
            "metadata.k",
            "string_above_max_length",
        ),
        (
            AssistantBody,
            {"model": "m", "metadata": {"k": 1}},
            "Invalid type for 'metadata.k': expected a string, but got an integer instead.",
            "metadata.k",
            "invalid_type",
        ),
        (
            AssistantBody,
            {"model": "m", "metadata": {"k" * 65: "v"}},
            "Invalid 'metadata': property name too long. Expected a property name with maximum length 64, "
            "but got one with length 65 instead.",
            "metadata",
            "property_name_above_max_length",
        ),
        (
            AssistantBody,
            {"model": "m", "tool_resources": {"code interpreter": {"file_ids": [f"file-{n}" for n in range(21)]}}},
            "Invalid 'tool_resources.code_interpreter.file_ids': array too long. Expected an array with maximum "
            "length 20, but got an array with length 21 instead.",
            "tool_resources.code_interpreter.file_ids",
            "array_above_max_length",
        ),
        (
            AssistantBody,
            {"model": "m", "response_format": "json"},
            "Invalid value: 'json'. Supported values are: 'auto' and 'none'.",
            "response_format",
            "invalid_value",
        ),
        (
            AssistantBody,
            {"model": "m", "response_format": {"type": "json_schema"}},
            "Missing required parameter: 'response_format.json_schema'.",
            "response_format.json_schema",
            "missing_required_parameter",
        ),
        (
            AssistantBody,
            {"model": "m", "response_format": {"type": "json_schema", "json_schema": {}}},
            "Missing required parameter: 'response_format.json_schema.name'.",
            "response_format.json_schema.name",
            "missing_required_parameter",
        ),
        (
            MessageBody,
            {"role": "system", "content": "x"},
            "Invalid value: 'system'. Supported values are: 'user' and 'assistant'.",
            "role",
            "invalid_value",
        ),
        (
            MessageBody,
            {"role": "user", "content": ""},
            "Invalid 'content': string too short. Expected a string with minimum length 1, "
            "but got an empty string instead.",
            "content",
            "string_below_min_length",
        ),
        (
            MessageBody,
            {"role": "user", "content": []},
            "Invalid 'content': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "content",
            "empty_array",
        ),
        (
            MessageBody,
            {"role": "user", "content": [{"type": "text"}]},
            "Missing required parameter: 'content[0].text'.",
            "content[0].text",
            "missing_required_parameter",
        ),
        (
            MessageBody,
            {"role": "user", "content": [{"type": "text", "text": {"value": "x"}}]},
            "Invalid type for 'content[0].text': expected a string, but got an object instead.",
            "content[0].text",
            "invalid_type",
        ),
        (
            MessageBody,
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x/y.png"}}]},
            "Invalid 'content[0].image_url.url': Expected a base64-encoded data URL with an image MIME type or a valid "
            "URL.",
            "content[0].image_url.url",
            "invalid_value",
        ),
        (
            MessageBody,
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "https://x/ max_tokens is [1, 2]"}}],
            },
            "Invalid 'content[0].image_url.url': Expected a base64-encoded data URL with an image MIME type or a valid "
            "URL.",
            "content[0].image_url.url",
            "invalid_value",
        ),
        (
            MessageBody,
            {"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": "file-1", "detail": "x"}}]},
            "Invalid value: 'x'. Supported values are: 'auto', 'low', and 'high'.",
            "content[0].image_file.detail",
            "invalid_value",
        ),
        (
            MessageBody,
            {"role": "user", "content": [{"type": "audio"}]},
            "Invalid value: 'audio'. Supported values are: 'text', 'image_url', and 'image_file'.",
            "content[0].type",
            "invalid_value",
        ),
        (
            MessageBody,
            {**SAY, "attachments": [{"file_id": "file-1", "tools": [{"type": "function"}]}]},
            "Invalid value: 'function'. Supported values are: 'code_interpreter' and 'file_search'.",
            "attachments[0].tools[0].type",
            "invalid_value",
        ),
        (
            MessageBody,
            {**SAY, "attachments": [{"tools": []}]},
            "Missing required parameter: 'attachments[0].file_id'.",
            "attachments[0].file_id",
            "missing_required_parameter",
        ),
        (
            ThreadBody,
            {"messages": [SAY, {**SAY, "attachments": [{"file_id": "x"}]}]},
            "Invalid 'messages[1].attachments[0].file_id': 'x'. Expected an ID that begins with 'file'.",
            "messages[1].attachments[0].file_id",
            "invalid_value",
        ),
        (MetadataBody, {"role": "user"}, "Unknown parameter: 'role'.", "role", "unknown_parameter"),
        (RunBody, {}, "Missing required parameter: 'assistant_id'.", "assistant_id", "missing_required_parameter"),
        (
            RunBody,
            {"assistant_id": "undefined"},
            "Invalid 'assistant_id': 'undefined'. Expected an ID that begins with 'asst'.",
            "assistant_id",
            "invalid_value",
        ),
        (
            RunBody,
            {**RUN, "max_prompt_tokens": 100},
            "Invalid 'max_prompt_tokens': integer below minimum value. Expected a value >= 256, but got 100 instead.",
            "max_prompt_tokens",
            "integer_below_min_value",
        ),
        (
            RunBody,
            {**RUN, "truncation_strategy": {"type": "last_messages", "last_messages": 0}},
            "Invalid 'truncation_strategy.last_messages': integer below minimum value. "
            "Expected a value >= 1, but got 0 instead.",
            "truncation_strategy.last_messages",
            "integer_below_min_value",
        ),
        (
            RunBody,
            {**RUN, "truncation_strategy": {"type": "last_messages"}},
            "Missing required parameter: 'truncation_strategy.last_messages'.",
            "truncation_strategy.last_messages",
            "missing_required_parameter",
        ),
        (
            RunBody,
            {**RUN, "tool_choice": "any"},
            "Invalid value: 'any'. Supported values are: 'none', 'auto', and 'required'.",
            "tool_choice",
            "invalid_value",
        ),
        (
            RunBody,
            {**RUN, "tool_choice": {"type": "function"}},
            "Missing required parameter: 'tool_choice.function'.",
            "tool_choice.function",
            "missing_required_parameter",
        ),
        (
            RunBody,
            {**RUN, "tool_choice": {"type": "foo"}},
            "Invalid value: 'foo'. Supported values are: 'code_interpreter', 'function', and 'file_search'.",
            "tool_choice.type",
            "invalid_value",
        ),
        (
            ToolOutputsBody,
            {"tool_outputs": [{"output": "x"}]},
            "Missing required parameter: 'tool_outputs[0].tool_call_id'.",
            "tool_outputs[0].tool_call_id",
            "missing_required_parameter",
        ),
        (
            ToolOutputsBody,
            {"tool_outputs": [{"tool_call_id": "call_1", "output": 5}]},
            "Invalid type for 'tool_outputs[0].output': expected a string, but got an integer instead.",
            "tool_outputs[0].output",
            "invalid_type",
        ),
        (
            RunBody,
            {**RUN, "stream": "yes"},
            "Invalid type for 'stream': expected a boolean, but got a string instead.",
            "stream",
            "invalid_type",
        ),
        (RunBody, {**RUN, "thread": {}}, "Unknown parameter: 'thread'.", "thread", "unknown_parameter"),
        (
            ThreadAndRunBody,
            {**RUN, "additional_messages": []},
            "Unknown parameter: 'additional_messages'.",
            "additional_messages",
            "unknown_parameter",
        ),
        (
            ThreadAndRunBody,
            {**RUN, "thread": {"messages": [{"role": "user"}]}},
            "Missing required parameter: 'thread.messages[0].content'.",
            "thread.messages[0].content",
            "missing_required_parameter",
        ),
    ],
)
def test_the_hosted_validators_words(model: type[Body], body: Any, message: str, param: str, code: str) -> None:
    assert refused(model, body) == (message, param, code)


def test_azure_names_its_own_file_prefix() -> None:
    message, _, _ = refused(MessageBody, {**SAY, "file_ids": ["x"]}, "azure")
    assert message == "Invalid 'file_ids[0]': 'x'. Expected an ID that begins with 'assistant'."


@pytest.mark.parametrize("field", ["instructions", "additional_instructions"])
def test_instructions_have_a_limit(field: str) -> None:
    assert refused(RunBody, {**RUN, field: LONG})[2] == "string_above_max_length"


def test_a_long_value_is_not_repeated_in_full() -> None:
    message, _, _ = refused(MessageBody, {"role": "x" * 10_000, "content": "hi"})
    assert len(message) < 300


def test_one_finding_is_enough_for_a_long_list() -> None:
    message, _, _ = refused(ThreadBody, {"messages": [1] * 100_000})
    assert message.startswith("Invalid type for 'messages[0]'")


def test_nulls_on_create_mean_absent() -> None:
    fields = {name: None for name in AssistantBody.model_fields if name != "model"}
    params = parse(AssistantBody, {"model": "m", **fields}, surface="openai").to_params()
    assert params.model == "m"
    assert all(getattr(params, name) is UNSET for name in fields)


def test_nulls_on_a_run_mean_absent() -> None:
    fields = {name: None for name in RunBody.model_fields if name != "assistant_id"}
    with_nulls = parse(RunBody, {**RUN, **fields}, surface="openai").to_params()
    assert with_nulls == parse(RunBody, RUN, surface="openai").to_params()
    assert with_nulls.tools is UNSET
    assert with_nulls.temperature is UNSET
    assert with_nulls.tool_choice == "auto"
    assert with_nulls.parallel_tool_calls is True


def test_an_update_tells_null_from_absent() -> None:
    params = parse(
        AssistantChanges, {"name": None, "metadata": None, "temperature": None}, surface="openai"
    ).to_params()
    assert params.name is None
    assert params.metadata == {}
    assert params.temperature is None  # shown as 1
    assert params.description is UNSET
    assert params.tools is UNSET


def test_an_assistant_always_has_a_model() -> None:
    assert parse(AssistantChanges, {"model": None}, surface="openai").to_params().model is UNSET


def test_zero_and_empty_are_values() -> None:
    params = parse(RunBody, {**RUN, "temperature": 0, "top_p": 0, "tools": []}, surface="openai").to_params()
    assert (params.temperature, params.top_p, params.tools) == (0, 0, ())


def test_a_thread_update_tells_null_from_absent() -> None:
    assert parse(ThreadChangesBody, {}, surface="openai").to_params().metadata is UNSET
    cleared = parse(ThreadChangesBody, {"metadata": None, "tool_resources": None}, surface="openai").to_params()
    assert (cleared.metadata, cleared.tool_resources) == ({}, ToolResources())
    assert parse(MetadataBody, {}, surface="openai").to_params() is UNSET
    assert parse(MetadataBody, {"metadata": {"a": "b"}}, surface="openai").to_params() == {"a": "b"}


@pytest.mark.parametrize("key", ["code_interpreter", "code interpreter", "code-interpreter"])
def test_azures_samples_spell_code_interpreter_in_three_ways(key: str) -> None:
    body = {"model": "m", "tools": [{"type": key}], "tool_resources": {key: {"file_ids": ["assistant-1"]}}}
    params = parse(AssistantBody, body, surface="azure").to_params()
    assert params.tools == (CodeInterpreterTool(),)
    assert params.tool_resources == ToolResources(code_interpreter=CodeInterpreterResources(file_ids=("assistant-1",)))


@pytest.mark.parametrize("empty", [None, {}, {"vector_store_ids": []}, {"vector_store_ids": None, "vector_stores": []}])
def test_empty_file_search_resources_ask_for_nothing(empty: Any) -> None:
    params = parse(ThreadBody, {"tool_resources": {"file_search": empty}}, surface="openai").to_params()
    assert params.tool_resources == ToolResources()


def test_a_tool_that_is_named_twice_is_there_once() -> None:
    body = {"model": "m", "tools": [{"type": "code_interpreter"}] * 128}
    assert parse(AssistantBody, body, surface="openai").to_params().tools == (CodeInterpreterTool(),)


@pytest.mark.parametrize(
    ("said", "tool"),
    [
        ({}, FileSearchTool()),
        ({"file_search": None}, FileSearchTool()),
        ({"file_search": {}}, FileSearchTool()),
        ({"file_search": {"max_num_results": None, "ranking_options": None}}, FileSearchTool()),
        ({"file_search": {"max_num_results": 50}}, FileSearchTool(file_search=FileSearchOptions(max_num_results=50))),
        (
            {"file_search": {"ranking_options": {"score_threshold": 1}}},
            FileSearchTool(file_search=FileSearchOptions(ranking_options=RankingOptions(score_threshold=1.0))),
        ),
        (
            {"file_search": {"ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.5}}},
            FileSearchTool(
                file_search=FileSearchOptions(
                    ranking_options=RankingOptions(ranker="default_2024_08_21", score_threshold=0.5)
                )
            ),
        ),
    ],
)
def test_file_search_takes_how_many_results_and_how_good(said: Any, tool: FileSearchTool) -> None:
    body = {"model": "m", "tools": [{"type": "file_search", **said}]}
    assert parse(AssistantBody, body, surface="openai").to_params().tools == (tool,)


@pytest.mark.parametrize(
    ("said", "param", "code"),
    [
        ({"max_num_results": 0}, "max_num_results", "integer_below_min_value"),
        ({"max_num_results": 51}, "max_num_results", "integer_above_max_value"),
        ({"max_num_results": "5"}, "max_num_results", "invalid_type"),
        ({"ranking_options": {}}, "ranking_options.score_threshold", "missing_required_parameter"),
        ({"ranking_options": {"score_threshold": 1.1}}, "ranking_options.score_threshold", "decimal_above_max_value"),
        ({"ranking_options": {"score_threshold": -0.1}}, "ranking_options.score_threshold", "decimal_below_min_value"),
        ({"ranking_options": {"ranker": "best", "score_threshold": 0}}, "ranking_options.ranker", "invalid_value"),
        ({"other": 1}, "other", "unknown_parameter"),
    ],
)
def test_what_file_search_does_not_take_is_refused(said: Any, param: str, code: str) -> None:
    body = {"model": "m", "tools": [{"type": "file_search", "file_search": said}]}
    assert refused(AssistantBody, body)[1:] == (f"tools[0].file_search.{param}", code)


def test_of_a_hosted_tool_that_is_named_twice_the_first_counts() -> None:
    options = [{"max_num_results": 3}, {"max_num_results": 4}]
    body = {"model": "m", "tools": [{"type": "file_search", "file_search": each} for each in options]}
    (tool,) = parse(AssistantBody, body, surface="openai").to_params().tools  # type: ignore[misc]
    assert tool == FileSearchTool(file_search=FileSearchOptions(max_num_results=3))


def test_an_attachment_says_which_tools_it_is_for() -> None:
    tools = [{"type": "file_search"}, {"type": "code-interpreter"}, {"type": "file_search"}]
    body = {**SAY, "attachments": [{"file_id": "file-1", "tools": tools}]}
    (attachment,) = parse(MessageBody, body, surface="openai").to_params().attachments
    assert attachment == Attachment(file_id="file-1", tools=(FileSearchTool(), CodeInterpreterTool()))


def test_file_ids_of_a_message_are_attachments_for_every_tool_that_can_read_them() -> None:
    body = {**SAY, "attachments": [{"file_id": "file-1"}], "file_ids": ["assistant-2", "assistant-3"]}
    message = parse(MessageBody, body, surface="azure").to_params()
    files = {
        id_: File(id=id_, created_at=1, filename=name, purpose="assistants", bytes=1, sha256="")
        for id_, name in (("assistant-2", "a.csv"), ("assistant-3", "b.PDF"))
    }
    assert from_file_ids(message, files).attachments == (
        Attachment(file_id="file-1"),
        Attachment(file_id="assistant-2", tools=(CodeInterpreterTool(),)),
        Attachment(file_id="assistant-3", tools=(CodeInterpreterTool(), FileSearchTool())),
    )


def test_an_attachment_may_be_for_both_tools() -> None:
    tools = [{"type": "file_search"}, {"type": "code-interpreter"}, {"type": "file_search"}]
    body = {**SAY, "attachments": [{"file_id": "file-1", "tools": tools}]}
    (attachment,) = parse(MessageBody, body, surface="openai").to_params().attachments
    assert attachment.tools == (FileSearchTool(), CodeInterpreterTool())


@pytest.mark.parametrize("allowed", [1, 2])
def test_an_object_has_as_many_vector_stores_as_is_allowed(allowed: int) -> None:
    for name, each in (("vector_store_ids", "vs_1"), ("vector_stores", {})):
        at = f"thread.tool_resources.file_search.{name}"
        thread = {"tool_resources": {"file_search": {name: [each] * (allowed + 1)}}}
        body = {"assistant_id": "asst_1", "thread": thread}
        with pytest.raises(InvalidRequest) as refused:
            parse(ThreadAndRunBody, body, surface="openai", stores_per_object=allowed)
        assert (refused.value.param, refused.value.code) == (at, "array_above_max_length")
        assert f"Expected an array with maximum length {allowed}, but" in refused.value.message
        thread["tool_resources"]["file_search"][name].pop()
        parse(ThreadAndRunBody, body, surface="openai", stores_per_object=allowed)


def test_content_is_a_string_or_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "나"}]
    assert texts(parse(MessageBody, SAY, surface="openai").to_params()) == ["hi"]
    assert texts(parse(MessageBody, {**SAY, "content": parts}, surface="openai").to_params()) == ["a", "나"]


def test_images_of_a_message_keep_what_was_said_of_them() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "https://x.example/y.png", "detail": "high"}},
        {"type": "image_file", "image_file": {"file_id": "file-1"}},
    ]
    content = parse(MessageBody, {**SAY, "content": parts}, surface="openai").to_params().content
    assert list(msgspec.to_builtins(content)) == parts


def test_functions_of_a_tool_keep_what_was_given_and_nothing_else() -> None:
    full = {"name": "f", "description": "d", "parameters": {"type": "object", "x-own": 1}, "strict": True}
    tools = [{"type": "function", "function": {"name": "bare"}}, {"type": "function", "function": full}]
    params = parse(AssistantBody, {"model": "m", "tools": tools}, surface="openai").to_params()
    assert list(msgspec.to_builtins(params.tools)) == tools


def test_an_output_that_is_left_out_is_an_empty_one() -> None:
    body = {"tool_outputs": [{"tool_call_id": "a"}, {"tool_call_id": "b", "output": ""}]}
    assert parse(ToolOutputsBody, body, surface="openai").to_params() == (("a", ""), ("b", ""))


def test_a_response_format_goes_through_as_it_came() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}
    assert parse(RunBody, {**RUN, "response_format": "none"}, surface="openai").to_params().response_format == "auto"
    for said in ("auto", {"type": "text"}, {"type": "json_object"}, schema):
        params = parse(RunBody, {**RUN, "response_format": said}, surface="openai").to_params()
        assert params.response_format == said


def test_settings_of_a_run_go_through() -> None:
    body = {
        **RUN,
        "tool_choice": {"type": "code_interpreter"},
        "parallel_tool_calls": False,
        "truncation_strategy": {"type": "last_messages", "last_messages": 2},
        "reasoning_effort": "low",
        "max_prompt_tokens": 256,
        "max_completion_tokens": 5000,
        "additional_instructions": "more",
        "additional_messages": [SAY],
    }
    run = parse(RunBody, body, surface="openai").to_params()
    assert run.tool_choice == {"type": "code_interpreter"}
    assert run.parallel_tool_calls is False
    assert run.truncation_strategy == TruncationStrategy(type="last_messages", last_messages=2)
    assert run.reasoning_effort == "low"
    assert run.additional_instructions == "more"
    assert [texts(message) for message in run.additional_messages] == [["hi"]]
    assert (run.max_prompt_tokens, run.max_completion_tokens) == (256, 5000)


def test_create_and_run_without_a_thread_makes_an_empty_one() -> None:
    body = parse(ThreadAndRunBody, {**RUN, "thread": None}, surface="openai")
    assert body.to_thread().messages == ()
