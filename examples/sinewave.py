"""An image made by the code interpreter: its id is in the newest message, its bytes are in the Files API."""

import json
import os

from openai import AzureOpenAI

client = AzureOpenAI(
    api_key=os.getenv("AZURE_OPENAI_API_KEY"),
    api_version="2024-05-01-preview",
    azure_endpoint=os.getenv("AZURE_OPENAI_ENDPOINT"),
)

assistant = client.beta.assistants.create(
    name="Data Visualization",
    instructions="You are a helpful AI assistant who makes interesting visualizations based on data. "
    "You have access to a sandboxed environment for writing and testing code.",
    tools=[{"type": "code_interpreter"}],
    model="gpt-4-1106-preview",
)

thread = client.beta.threads.create()
client.beta.threads.messages.create(
    thread_id=thread.id, role="user", content="Create a visualization of a sinewave: plot y = sin(x)"
)
run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
print(f"Status: {run.status}")

messages = client.beta.threads.messages.list(thread_id=thread.id)
data = json.loads(messages.model_dump_json(indent=2))
image_file_id = data["data"][0]["content"][0]["image_file"]["file_id"]
print(image_file_id)

content = client.files.content(image_file_id)
content.write_to_file("sinewave.png")
print("Written: sinewave.png")
