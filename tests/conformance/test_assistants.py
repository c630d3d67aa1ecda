"""Behaviours 20-41: assistants, their limits, their lists, their metadata."""

from __future__ import annotations

import re
from typing import Any

import openai
import pytest

from tests.conformance.api import WEATHER, Api
from tests.conformance.behaviours import behaviour
from tests.conformance.conftest import Keyed
from tests.conformance.searching import ASKED, HANDBOOK, upload
from tests.models.upstream import Text


def functions(count: int) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": f"f{n}"}} for n in range(count)]


@behaviour(20, "An assistant made of a model alone has every field, null or empty where unset, and the defaults")
def test_an_assistant_of_a_model_alone_has_the_defaults(api: Api) -> None:
    made = api.post("/assistants", {"model": "gpt-4o"})
    assert re.fullmatch(r"asst_[A-Za-z0-9]{24}", made.pop("id"))
    assert isinstance(made.pop("created_at"), int)
    made.pop("reasoning_effort", None)
    assert made == {
        "object": "assistant",
        "name": None,
        "description": None,
        "model": "gpt-4o",
        "instructions": None,
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "response_format": "auto",
    }
    fields = ("name", "description", "instructions", "tools", "tool_resources", "metadata", "temperature", "top_p")
    nulls = dict.fromkeys((*fields, "response_format"))
    same = api.post("/assistants", {"model": "gpt-4o", **nulls})
    assert {key: value for key, value in same.items() if key in made} == made
    by_parts = {"tool_resources": {"file_search": None, "code_interpreter": None}}
    assert api.post("/assistants", {"model": "gpt-4o", **by_parts})["tool_resources"] == {}


@behaviour(21, "Without a model: 400 missing_required_parameter, param model")
def test_a_model_is_required(api: Api) -> None:
    error = api.refused("POST", "/assistants", {"name": "x"}, code="missing_required_parameter", param="model")
    assert error["message"] == "Missing required parameter: 'model'."


@behaviour(22, "A name of 257, a description of 513 or instructions of 256001 characters are too long")
@pytest.mark.parametrize(("field", "most"), [("name", 256), ("description", 512), ("instructions", 256_000)])
def test_texts_have_a_longest_length(api: Api, field: str, most: int) -> None:
    error = api.refused(
        "POST", "/assistants", {"model": "m", field: "한" * (most + 1)}, code="string_above_max_length", param=field
    )
    assert error["message"] == (
        f"Invalid '{field}': string too long. Expected a string with maximum length {most}, "
        f"but got a string with length {most + 1} instead."
    )
    assert api.post("/assistants", {"model": "m", field: "한" * most})[field] == "한" * most


@behaviour(23, "128 tools are accepted, 129 are not")
def test_an_assistant_has_at_most_128_tools(api: Api) -> None:
    api.refused(
        "POST", "/assistants", {"model": "m", "tools": functions(129)}, code="array_above_max_length", param="tools"
    )
    assert len(api.post("/assistants", {"model": "m", "tools": functions(128)})["tools"]) == 128


@behaviour(24, "An unknown tool type is refused; code-interpreter with a hyphen is code_interpreter")
def test_tool_types_are_known(api: Api) -> None:
    api.refused("POST", "/assistants", {"model": "m", "tools": [{"type": "foo"}]}, param="tools[0].type")
    made = api.post("/assistants", {"model": "m", "tools": [{"type": "code-interpreter"}]})
    assert made["tools"] == [{"type": "code_interpreter"}]


@behaviour(25, "A function tool needs a name of at most 64 letters, digits, hyphens and underscores")
@pytest.mark.parametrize("function", [{}, {"name": "with spaces"}, {"name": "x" * 65}, {"name": ""}, {"name": 1}])
def test_functions_are_named(api: Api, function: dict[str, Any]) -> None:
    api.refused("POST", "/assistants", {"model": "m", "tools": [{"type": "function", "function": function}]})
    named = {"type": "function", "function": {"name": "a-Z_9" + "x" * 59}}
    made = api.post("/assistants", {"model": "m", "tools": [named, WEATHER]})
    assert [tool["function"]["name"] for tool in made["tools"]] == [named["function"]["name"], "get_weather"]  # type: ignore[index]
    assert made["tools"][1]["function"]["parameters"] == WEATHER["function"]["parameters"]


@behaviour(26, "temperature is 0 to 2 and top_p 0 to 1")
def test_temperature_and_top_p_have_limits(api: Api) -> None:
    for field, value in [("temperature", 2.1), ("temperature", -0.1), ("top_p", 1.1), ("top_p", -0.1)]:
        api.refused("POST", "/assistants", {"model": "m", field: value}, param=field)
    made = api.post("/assistants", {"model": "m", "temperature": 0, "top_p": 0})
    assert (made["temperature"], made["top_p"]) == (0, 0)


@behaviour(27, 'The tool resource "code interpreter", with a space as in Azure\'s samples, is code_interpreter')
@pytest.mark.parametrize("key", ["code interpreter", "code-interpreter", "code_interpreter"])
def test_the_code_interpreters_resources_are_read_as_the_samples_write_them(api: Api, key: str) -> None:
    file = api.sdk.files.create(file=("a.csv", b"a\n1\n"), purpose="assistants")
    body = {"model": "m", "tools": [{"type": "code_interpreter"}], "tool_resources": {key: {"file_ids": [file.id]}}}
    assert api.post("/assistants", body)["tool_resources"] == {"code_interpreter": {"file_ids": [file.id]}}


@behaviour(28, "More than 20 files for the code interpreter are refused, and so is an unknown one")
def test_the_code_interpreters_files_exist_and_are_at_most_20(api: Api) -> None:
    ids = [api.sdk.files.create(file=(f"{n}.txt", b"x"), purpose="assistants").id for n in range(21)]

    def body(file_ids: list[str]) -> dict[str, Any]:
        return {"model": "m", "tool_resources": {"code_interpreter": {"file_ids": file_ids}}}

    api.refused("POST", "/assistants", body(ids), code="array_above_max_length")
    assert api.post("/assistants", body(ids[:20]))["tool_resources"]["code_interpreter"]["file_ids"] == ids[:20]
    absent = ids[0][:-4] + "zzzz"
    response = api.call("POST", "/assistants", body([absent]))
    assert response.status_code in (400, 404)
    assert absent in response.json()["error"]["message"]


def searched(*ids: str) -> dict[str, Any]:
    return {"file_search": {"vector_store_ids": list(ids)}}


@behaviour(29, "An assistant takes one vector store, by id or by description, not both")
def test_an_assistant_has_one_vector_store(api: Api) -> None:
    one, two = (api.sdk.vector_stores.create().id for _ in range(2))
    at = "tool_resources.file_search"
    api.refused(
        "POST",
        "/assistants",
        {"model": "m", "tool_resources": searched(one, two)},
        code="array_above_max_length",
        param=f"{at}.vector_store_ids",
    )
    api.refused(
        "POST",
        "/assistants",
        {"model": "m", "tool_resources": {"file_search": {"vector_stores": [{}, {}]}}},
        code="array_above_max_length",
        param=f"{at}.vector_stores",
    )
    both = {"file_search": {"vector_store_ids": [one], "vector_stores": [{}]}}
    api.refused("POST", "/assistants", {"model": "m", "tool_resources": both}, param=at)
    api.refused("POST", "/assistants", {"model": "m", "tool_resources": searched("vs_x")}, status=404)
    api.refused(
        "POST", "/assistants", {"model": "m", "tool_resources": searched("x")}, param=f"{at}.vector_store_ids[0]"
    )
    made = api.post("/assistants", {"model": "m", "tool_resources": searched(one)})
    assert made["tool_resources"] == searched(one)


@behaviour(30, "Vector stores described with an assistant are made and their ids shown")
def test_a_vector_store_is_made_with_its_assistant(api: Api) -> None:
    file = api.sdk.files.create(file=("a.txt", b"words"), purpose="assistants").id
    described = {"file_ids": [file], "metadata": {"a": "b"}, "chunking_strategy": {"type": "auto"}}
    made = api.post("/assistants", {"model": "m", "tool_resources": {"file_search": {"vector_stores": [described]}}})
    (store,) = made["tool_resources"]["file_search"]["vector_store_ids"]
    assert made["tool_resources"] == searched(store)
    stored = api.sdk.vector_stores.retrieve(store)
    assert (stored.expires_after, stored.expires_at, stored.metadata) == (None, None, {"a": "b"})
    assert [each.id for each in api.sdk.vector_stores.files.list(store)] == [file]


@behaviour(31, "An update changes the fields it names; null clears; metadata is replaced as a whole")
def test_an_update_changes_what_it_names(api: Api) -> None:
    made = api.post(
        "/assistants",
        {
            "model": "m",
            "name": "n",
            "instructions": "i",
            "description": "d",
            "temperature": 0.5,
            "metadata": {"a": "1"},
        },
    )
    path = f"/assistants/{made['id']}"
    changed = api.post(path, {"name": None, "metadata": {"b": "2"}})
    assert changed == {**made, "name": None, "metadata": {"b": "2"}}
    assert api.get(path) == changed
    assert api.post(path, {}) == changed
    assert api.post(path, {"metadata": {}, "model": "other"}) == {**changed, "metadata": {}, "model": "other"}


@behaviour(32, "An update of an assistant's vector store replaces it")
def test_an_update_replaces_the_vector_store(api: Api) -> None:
    one, two = (api.sdk.vector_stores.create().id for _ in range(2))
    made = api.assistant(tool_resources=searched(one))
    assert api.post(f"/assistants/{made}", {"name": "n"})["tool_resources"] == searched(one)
    assert api.post(f"/assistants/{made}", {"tool_resources": searched(two)})["tool_resources"] == searched(two)
    described = {"file_search": {"vector_stores": [{}]}}
    resources = api.post(f"/assistants/{made}", {"tool_resources": described})["tool_resources"]
    assert resources["file_search"]["vector_store_ids"] not in ([one], [two])
    assert api.get(f"/assistants/{made}")["tool_resources"] == resources
    assert api.sdk.vector_stores.retrieve(one).id == one


@behaviour(33, "A list has 20 items newest first, says whether there is more, and the SDK pages through all")
def test_lists_are_paged(keyed: Keyed, on_openai: Api) -> None:
    key = keyed.new_key()  # there are no other assistants
    for surface in ("openai", "azure"):
        api = Api(keyed.endpoint, on_openai.wire, on_openai.upstream, surface, key=key)
        made = [api.assistant(name=str(n)) for n in range(25)]
        page = api.get("/assistants")
        assert [each["id"] for each in page["data"]] == made[:4:-1]
        assert (page["first_id"], page["last_id"], page["has_more"]) == (made[-1], made[5], True)
        rest = api.get("/assistants", after=made[5])
        assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (made[4::-1], False)
        assert [each.id for each in api.sdk.beta.assistants.list(limit=10)] == made[::-1]
        assert [each.id for each in api.sdk.beta.assistants.list(limit=25)] == made[::-1]
        assert api.get("/assistants", limit=25)["has_more"] is False
        assert [each["id"] for each in api.get("/assistants", before=made[20], limit=2)["data"]] == [made[22], made[21]]
        for each in made:
            api.sdk.beta.assistants.delete(each)
        empty = api.get("/assistants")
        assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
        api.close()


@behaviour(34, "An unknown assistant is 404: No assistant found with id '…'.")
def test_an_unknown_assistant_is_not_found(api: Api) -> None:
    for method in ("GET", "POST", "DELETE"):
        error = api.refused(method, "/assistants/asst_unknown", {} if method == "POST" else None, status=404)
        assert error == {
            "message": "No assistant found with id 'asst_unknown'.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    with pytest.raises(openai.NotFoundError):
        api.sdk.beta.assistants.retrieve("asst_unknown")


@behaviour(35, "Deleting answers assistant.deleted, and the second time 404")
def test_a_deleted_assistant_is_gone(api: Api) -> None:
    made = api.assistant()
    answer = api.call("DELETE", f"/assistants/{made}").json()
    assert answer == {"id": made, "object": "assistant.deleted", "deleted": True}
    api.refused("DELETE", f"/assistants/{made}", status=404)
    api.refused("GET", f"/assistants/{made}", status=404)
    assert made not in [each["id"] for each in api.get("/assistants", limit=100)["data"]]


@behaviour(36, "Deleting an assistant leaves its threads, messages and runs readable")
def test_what_an_assistant_did_outlives_it(api: Api) -> None:
    assistant = api.assistant()
    run = api.run(Text("Hi."), assistant=assistant)
    api.sdk.beta.assistants.delete(assistant)
    assert api.sdk.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id) == run
    assert api.texts(run.thread_id) == [("user", "hello"), ("assistant", "Hi.")]
    assert api.steps(run)[0].assistant_id == assistant


JSON_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "strict": True,
        "schema": {"type": "object", "properties": {"x": {"type": "number"}}},
    },
}


@behaviour(37, "response_format auto, text, json_object and json_schema come back as they were given")
@pytest.mark.parametrize("form", ["auto", {"type": "text"}, {"type": "json_object"}, JSON_SCHEMA], ids=str)
def test_response_formats_are_kept(api: Api, form: Any) -> None:
    made = api.post("/assistants", {"model": "m", "response_format": form})
    assert made["response_format"] == form
    assert api.get(f"/assistants/{made['id']}")["response_format"] == form


@behaviour(38, "reasoning_effort is accepted and comes back")
@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high"])
def test_reasoning_effort_is_kept(api: Api, effort: str) -> None:
    made = api.post("/assistants", {"model": "m", "reasoning_effort": effort})
    assert made["reasoning_effort"] == effort
    assert api.get(f"/assistants/{made['id']}")["reasoning_effort"] == effort


@behaviour(39, "v1: an assistant's files are linked, listed as assistant.file, and unlinked without being deleted")
@pytest.mark.parametrize("surface", ["openai", "azure"])
def test_v1_assistants_have_files(on_openai: Api, surface: str) -> None:
    with on_openai.speaking(surface=surface, version=1) as v1:
        first, second = (v1.sdk.files.create(file=(name, b"x"), purpose="assistants").id for name in ("a.txt", "b.txt"))
        made = v1.post("/assistants", {"model": "m", "tools": [{"type": "code_interpreter"}], "file_ids": [first]})
        assert made["file_ids"] == [first]
        path = f"/assistants/{made['id']}/files"
        linked = v1.post(path, {"file_id": second})
        assert (linked["id"], linked["object"], linked["assistant_id"]) == (second, "assistant.file", made["id"])
        assert {each["id"] for each in v1.get(path)["data"]} == {first, second}
        assert v1.get(f"{path}/{first}")["id"] == first
        gone = v1.call("DELETE", f"{path}/{first}").json()
        assert gone == {"id": first, "object": "assistant.file.deleted", "deleted": True}
        assert v1.get(f"/assistants/{made['id']}")["file_ids"] == [second]
        assert v1.sdk.files.retrieve(first).id == first
        v1.refused("GET", f"{path}/{first}", status=404)


@behaviour(40, "v1: the retrieval tool behaves as file_search")
@pytest.mark.parametrize("surface", ["openai", "azure"])
def test_retrieval_is_file_search(on_openai: Api, surface: str) -> None:
    file = upload(on_openai, "handbook.txt", HANDBOOK)
    with on_openai.speaking(surface=surface, version=1) as v1:
        tools = [{"type": "retrieval"}]
        made = v1.post("/assistants", {"model": "m", "tools": tools, "file_ids": [file]})
        assert (made["tools"], made["file_ids"]) == (tools, [file])
        thread = v1.post("/threads", {"messages": [{"role": "user", "content": "How much leave?"}]})["id"]
        v1.upstream.script([ASKED, Text("25 days 【0:0†source】.")])
        choice = {"assistant_id": made["id"], "tool_choice": {"type": "retrieval"}}
        run = v1.post(f"/threads/{thread}/runs", choice)
        assert run["tools"] == tools
        on_openai.until(on_openai.sdk.beta.threads.runs.retrieve(run["id"], thread_id=thread), "completed")
        (_, step) = v1.get(f"/threads/{thread}/runs/{run['id']}/steps")["data"]
        (call,) = step["step_details"]["tool_calls"]
        assert call == {"id": call["id"], "type": "retrieval", "retrieval": {}}
        (part,) = v1.get(f"/threads/{thread}/messages")["data"][0]["content"]
        (annotation,) = part["text"]["annotations"]
        assert annotation["type"] == "file_citation"
        assert annotation["file_citation"]["file_id"] == file
        assert annotation["file_citation"]["quote"] in HANDBOOK.decode()
    assert on_openai.sdk.beta.assistants.retrieve(made["id"]).tools[0].type == "file_search"


@behaviour(41, "Metadata has at most 16 pairs, keys of 64 and values of 512 characters, and values are strings")
def test_metadata_has_limits(api: Api) -> None:
    assistant = api.assistant()
    most = {f"{n:02}" + "k" * 62: "v" * 512 for n in range(16)}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({str(n): "x" for n in range(17)}, "object_above_max_properties"),
        ({"k" * 65: "x"}, "property_name_above_max_length"),
        ({"k": "v" * 513}, "string_above_max_length"),
        ({"k": 1}, "invalid_type"),
        ({"k": None}, "invalid_type"),
    ]
    for path, body in [("/assistants", {"model": "m"}), (f"/assistants/{assistant}", {}), ("/threads", {})]:
        for metadata, code in wrong:
            error = api.refused("POST", path, {**body, "metadata": metadata}, code=code)
            assert error["param"].startswith("metadata")
        assert api.post(path, {**body, "metadata": most})["metadata"] == most
