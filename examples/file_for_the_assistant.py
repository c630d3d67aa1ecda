"""An assistant that has a file. The key in `tool_resources` has a space, as in a sample that many apps grew from."""

import os
import sys

from openai import AzureOpenAI

client = AzureOpenAI(
    api_key=os.getenv("AZURE_OPENAI_API_KEY"),
    api_version="2024-05-01-preview",
    azure_endpoint=os.getenv("AZURE_OPENAI_ENDPOINT"),
)

path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "sales.csv")

# Upload a file with an "assistants" purpose
file = client.files.create(file=open(path, "rb"), purpose="assistants")
print(f"Uploaded: {file.id}")

# Create an assistant using the file ID
assistant = client.beta.assistants.create(
    instructions="You are an AI assistant that can write code to help answer math questions.",
    model="gpt-4-1106-preview",
    tools=[{"type": "code_interpreter"}],
    tool_resources={"code interpreter": {"file_ids": [file.id]}},
)
print(f"Files: {assistant.tool_resources.code_interpreter.file_ids}")

thread = client.beta.threads.create(messages=[{"role": "user", "content": "Describe the data in the file."}])
run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
print(f"Status: {run.status}")
print(client.beta.threads.messages.list(thread_id=thread.id).data[0].content[-1].text.value)
