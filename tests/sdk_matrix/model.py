"""The model behind the SDK matrix: what a user says decides what it does, so that every SDK can ask for the same.

say: <text>               says the text
repeat                    says, as JSON, what it was told: the instructions, the users' words and pictures, ...
wait                      begins and never ends
fail                      answers with an error
ramble                    says as many tokens as it may
weather: <city>, <city>   calls get_weather for each city, then says what it heard
total                     adds up the `amount` column of the announced csv file in Python
chart                     draws a figure and writes table.csv in Python, then links the table
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.models.upstream import Call, Calls, Hang, Reply, Status, Text, Usage

Message = dict[str, Any]

CHART = """\
import matplotlib.pyplot as plt
plt.plot([1, 4, 9])
plt.show()
with open('/mnt/data/table.csv', 'w') as table:
    table.write('n,square\\n1,1\\n2,4\\n3,9\\n')
print('drawn')
"""
TOTAL = "import csv\nwith open({path!r}) as file:\n    print(sum(int(row['amount']) for row in csv.DictReader(file)))\n"


def answer(body: dict[str, Any]) -> Reply:
    """The reply to one chat request."""
    messages: list[Message] = body["messages"]
    last = max(index for index, message in enumerate(messages) if message["role"] == "user")
    word, _, rest = _words(messages[last]).partition(":")
    results = [message["content"] for message in messages[last:] if message["role"] == "tool"]
    match word:
        case "say":
            return Text(rest.strip())
        case "repeat":
            return Text(json.dumps(_told(body), ensure_ascii=False))
        case "wait":
            return Hang("One moment ")
        case "fail":
            return Status(400, body={"error": {"message": "The model does not like this.", "code": None}})
        case "ramble":
            return _ramble(body)
        case "weather":
            return _weather(body, [city.strip() for city in rest.split(",")], results)
        case "total":
            (path,) = re.findall(r"/mnt/data/\S+\.csv", _words(messages[0]))
            return Text(f"The total is {results[-1].strip()}.") if results else _code(TOTAL.format(path=path))
        case "chart":
            return Text("The table: [table.csv](sandbox:/mnt/data/table.csv)") if results else _code(CHART)
    raise ValueError(f"no such scenario: {word!r}")


def _words(message: Message) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content if "text" in part)


def _told(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "instructions": _words(body["messages"][0]) if body["messages"][0]["role"] == "system" else "",
        "users": [_words(message) for message in body["messages"] if message["role"] == "user"],
        "pictures": [url.partition("base64,")[2] for url in _pictures(body["messages"])],
        "temperature": body.get("temperature"),
    }


def _pictures(messages: list[Message]) -> list[str]:
    parts = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def _ramble(body: dict[str, Any]) -> Text:
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit is None:
        return Text("I was not stopped.")
    return Text("and so on " * 20, finish_reason="length", usage=Usage(10, limit))


def _weather(body: dict[str, Any], cities: list[str], results: list[str]) -> Reply:
    waiting = cities[len(results) :]
    if not waiting:
        return Text("; ".join(results))
    if body.get("parallel_tool_calls") is False:
        waiting = waiting[:1]
    return Calls([Call("get_weather", {"city": city}, id=f"call_of{city}") for city in waiting])


def _code(program: str) -> Call:
    return Call("code_interpreter", {"code": program})
