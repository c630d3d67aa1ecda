"""Function calling: the program answers what the assistant asks it for, polled first and then streamed."""

import json
import os

from openai import AssistantEventHandler, AzureOpenAI

client = AzureOpenAI(
    api_key=os.getenv("AZURE_OPENAI_API_KEY"),
    api_version="2024-05-01-preview",
    azure_endpoint=os.getenv("AZURE_OPENAI_ENDPOINT"),
)


def get_current_temperature(location, unit):
    return "57" if unit == "Fahrenheit" else "14"


def get_rain_probability(location):
    return "0.06"


functions = {"get_current_temperature": get_current_temperature, "get_rain_probability": get_rain_probability}

assistant = client.beta.assistants.create(
    instructions="You are a weather bot. Use the provided functions to answer questions.",
    model="gpt-4o",
    tools=[
        {
            "type": "function",
            "function": {
                "name": "get_current_temperature",
                "description": "Get the current temperature for a specific location",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "location": {"type": "string", "description": "The city and state, e.g., San Francisco, CA"},
                        "unit": {
                            "type": "string",
                            "enum": ["Celsius", "Fahrenheit"],
                            "description": "The temperature unit to use. Infer this from the user's location.",
                        },
                    },
                    "required": ["location", "unit"],
                },
            },
        },
        {
            "type": "function",
            "function": {
                "name": "get_rain_probability",
                "description": "Get the probability of rain for a specific location",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "location": {"type": "string", "description": "The city and state, e.g., San Francisco, CA"}
                    },
                    "required": ["location"],
                },
            },
        },
    ],
)


def ask(question):
    thread = client.beta.threads.create()
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content=question)
    return thread


def outputs_of(run):
    tool_outputs = []
    for tool in run.required_action.submit_tool_outputs.tool_calls:
        output = functions[tool.function.name](**json.loads(tool.function.arguments))
        print(f"{tool.function.name}({tool.function.arguments}) -> {output}", flush=True)
        tool_outputs.append({"tool_call_id": tool.id, "output": output})
    return tool_outputs


# Polled

thread = ask("What's the weather in San Francisco today and the likelihood it'll rain?")
run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)

while run.status == "requires_action":
    run = client.beta.threads.runs.submit_tool_outputs_and_poll(
        thread_id=thread.id, run_id=run.id, tool_outputs=outputs_of(run)
    )

print(f"polled: {run.status}")
print(client.beta.threads.messages.list(thread_id=thread.id).data[0].content[0].text.value)


# Streamed


class EventHandler(AssistantEventHandler):
    def on_event(self, event):
        if event.event == "thread.run.requires_action":
            self.submit_tool_outputs(event.data)
        elif event.event == "thread.run.completed":
            print(f"\nstreamed: {event.data.status}", flush=True)

    def on_text_delta(self, delta, snapshot):
        print(delta.value or "", end="", flush=True)

    def submit_tool_outputs(self, run):
        with client.beta.threads.runs.submit_tool_outputs_stream(
            thread_id=run.thread_id, run_id=run.id, tool_outputs=outputs_of(run), event_handler=EventHandler()
        ) as stream:
            stream.until_done()


thread = ask("What is the temperature in Seoul, in Celsius?")
with client.beta.threads.runs.stream(
    thread_id=thread.id, assistant_id=assistant.id, event_handler=EventHandler()
) as stream:
    stream.until_done()
