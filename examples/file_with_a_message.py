"""A file that comes with a message: `file_ids`, the older spelling, on a thread of the newer API version."""

import os

from openai import AzureOpenAI

client = AzureOpenAI(
    api_key=os.getenv("AZURE_OPENAI_API_KEY"),
    api_version="2024-05-01-preview",
    azure_endpoint=os.getenv("AZURE_OPENAI_ENDPOINT"),
)

file = client.files.create(
    file=open(os.path.join(os.path.dirname(__file__), "sales.csv"), "rb"),
    purpose="assistants",
)

assistant = client.beta.assistants.create(model="gpt-4", tools=[{"type": "code_interpreter"}])

thread = client.beta.threads.create(
    messages=[{"role": "user", "content": "What is in this data? Describe it.", "file_ids": [file.id]}]
)
print(f"Files of the thread: {thread.tool_resources.code_interpreter.file_ids}")

run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
print(f"Status: {run.status}")
print(client.beta.threads.messages.list(thread_id=thread.id).data[0].content[-1].text.value)
