"""Runs as nobody would script them: whatever a model does and whenever a client cancels, every rule of `streams.py`
holds, and what was told is what is stored.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.conformance.api import TIME, WEATHER, Api
from tests.conformance.streams import Event
from tests.conformance.wire import Wire
from tests.models.upstream import Call, Calls, Cut, Reply, ScriptedUpstream, Status, Text
from tests.serving import ServerProcess

RUNS = 60
CODE = (
    "6 * 7",
    "print('한국')",
    "1 / 0",
    "import matplotlib.pyplot as plt\nfor n in range(2):\n    plt.plot([n])\n    plt.show()\n    print(n)",
    "open('/mnt/data/o.csv', 'w').write('a')",
)
WORDS = ("Done.", "", "a\n\nb", "Here: [o.csv](sandbox:/mnt/data/o.csv), 😀 and [x](sandbox:/mnt/data/none.csv)")


class Dice:
    """What a model, and a client, may do next."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.choose = self._random.choice

    def call(self) -> Call:
        fragments, text = self.choose([1, 3, 7]), self.choose(["", "", "Let me look. 😀"])
        return self.choose(
            [
                Call("code_interpreter", {"code": self.choose(CODE)}, fragments=fragments, text=text),
                Call("get_weather", {"city": "서울 " * self.choose([1, 9])}, fragments=fragments, text=text),
                Call("get_time", self.choose([{}, '{"broken": ']), text=text),
            ]
        )

    def end(self) -> Text:
        return Text(self.choose(WORDS), split=self.choose([None, 1, 5]), streamed=self.choose([True, True, False]))

    def reply(self) -> Reply:
        calls = Calls([self.call() for _ in range(self.choose([2, 3, 4]))], text=self.choose(["", "Both."]))
        rare: list[Reply] = [
            Cut("half an answer"),
            Status(self.choose([400, 401, 500])),
            Text("cut", finish_reason="length"),
        ]
        return self.choose([self.call(), self.call(), calls, calls, self.end(), self.choose(rare)])

    def replies(self) -> list[Reply]:
        return [*(self.reply() for _ in range(self.choose([0, 1, 2, 4]))), self.end(), self.end(), self.end()]

    def options(self, version: int) -> dict[str, Any]:
        options: list[dict[str, Any]] = [{}, {}, {"max_completion_tokens": 300}]
        if version == 2:
            options += [{"parallel_tool_calls": False}, {"tool_choice": "required"}]
        return self.choose(options)

    def cancels_after(self) -> int | None:
        """How many events a client hears before it cancels; None: it does not."""
        return self.choose([None, None, None, 2, 4, 6, 8, 12])


def told(api: Api, stream: Any, cancel_after: int | None) -> list[Event]:
    """The events of an SDK's stream, read to its end; the run is cancelled behind so many of them."""
    with stream:
        for count, event in enumerate(stream):
            if event.event == "thread.run.created":
                run = event.data
            if count == cancel_after:
                api.call("POST", f"/threads/{run.thread_id}/runs/{run.id}/cancel")
    return api.wire.streams[-1]


def play(api: Api, dice: Dice) -> None:
    """One run to its end; what was told is compared with what is stored."""
    api.upstream.forget()
    api.upstream.script(dice.replies())
    tools = [WEATHER, TIME, {"type": "code_interpreter"}]
    assistant = api.post("/assistants", {"model": "m", "tools": tools})["id"]
    thread = api.post("/threads", {"messages": [{"role": "user", "content": "x"}]})["id"]
    runs = api.sdk.beta.threads.runs
    stream = runs.create(thread, assistant_id=assistant, stream=True, **dice.options(api.version))
    events = heard = told(api, stream, dice.cancels_after())
    while heard[-2].name == "thread.run.requires_action":
        run = heard[-2].data
        if api.get(f"/threads/{thread}/runs/{run['id']}")["status"] != "requires_action":
            break  # the cancel came behind the end of the stream
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs: list[Any] = [{"tool_call_id": call["id"], "output": "ok"} for call in calls]
        stream = runs.submit_tool_outputs(run["id"], thread_id=thread, tool_outputs=outputs, stream=True)
        heard = told(api, stream, None)
        events = [*events, *heard]
    (run,) = api.get(f"/threads/{thread}/runs")["data"]
    stored = {"run": {run["id"]: run}}
    stored["step"] = {each["id"]: each for each in api.get(f"/threads/{thread}/runs/{run['id']}/steps")["data"]}
    stored["message"] = {each["id"]: each for each in api.get(f"/threads/{thread}/messages")["data"]}
    for event in events:
        if event.verb in ("completed", "failed", "cancelled", "incomplete") and event.noun in stored:
            assert stored[event.noun][event.data["id"]] == event.data, event.name
    if run["status"] == "completed":
        assert run["usage"]["total_tokens"] == sum(each["usage"]["total_tokens"] for each in stored["step"].values())


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("surface", "version"), [("openai", 2), ("azure", 2), ("azure", 1)])
def test_whatever_happens_in_a_run_its_stream_keeps_the_rules(
    main_server: ServerProcess, wire: Wire, upstream: ScriptedUpstream, surface: str, version: int
) -> None:
    api = Api(main_server.azure_endpoint, wire, upstream, surface, version)
    for seed in range(RUNS):
        wire.forget()
        play(api, Dice(seed))
        assert not wire.problems, (seed, wire.problems)
    api.close()
