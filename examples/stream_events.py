"""Streaming with an event handler, on the OpenAI surface: the code as it is written, its output, the words."""

import os

from openai import AssistantEventHandler, OpenAI

endpoint = os.getenv("AZURE_OPENAI_ENDPOINT", "http://127.0.0.1:8000")
client = OpenAI(base_url=f"{endpoint}/v1", api_key=os.getenv("AZURE_OPENAI_API_KEY", "any"))


class EventHandler(AssistantEventHandler):
    def on_text_created(self, text):
        print("\nassistant > ", end="", flush=True)

    def on_text_delta(self, delta, snapshot):
        print(delta.value or "", end="", flush=True)

    def on_tool_call_created(self, tool_call):
        print(f"\nassistant > {tool_call.type}\n", flush=True)

    def on_tool_call_delta(self, delta, snapshot):
        if delta.type == "code_interpreter":
            if delta.code_interpreter.input:
                print(delta.code_interpreter.input, end="", flush=True)
            if delta.code_interpreter.outputs:
                print("\n\noutput >", flush=True)
                for output in delta.code_interpreter.outputs:
                    if output.type == "logs":
                        print(f"\n{output.logs}", flush=True)

    def on_image_file_done(self, image_file):
        print(f"\nimage > {image_file.file_id}", flush=True)

    def on_end(self):
        print("\nend", flush=True)


assistant = client.beta.assistants.create(
    name="Math Tutor",
    instructions="You are a personal math tutor. Write and run code to answer math questions.",
    tools=[{"type": "code_interpreter"}],
    model="gpt-4o",
)
thread = client.beta.threads.create()
client.beta.threads.messages.create(
    thread_id=thread.id, role="user", content="I need to solve the equation `x^2 - 5x + 6 = 0`. Can you help me?"
)

with client.beta.threads.runs.stream(
    thread_id=thread.id, assistant_id=assistant.id, event_handler=EventHandler()
) as stream:
    stream.until_done()
print(f"Messages: {len(stream.get_final_messages())}, steps: {len(stream.get_final_run_steps())}")
