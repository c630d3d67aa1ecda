"""An assistant that writes and runs code to answer a maths question."""

import json
import os
import time

from openai import AzureOpenAI

client = AzureOpenAI(
    api_key=os.getenv("AZURE_OPENAI_API_KEY"),
    api_version="2024-05-01-preview",
    azure_endpoint=os.getenv("AZURE_OPENAI_ENDPOINT"),
)

assistant = client.beta.assistants.create(
    name="Math Assist",
    instructions="You are an AI assistant that can write code to help answer math questions.",
    tools=[{"type": "code_interpreter"}],
    model="gpt-4-1106-preview",
)

thread = client.beta.threads.create()

message = client.beta.threads.messages.create(
    thread_id=thread.id,
    role="user",
    content="I need to solve the equation `3x + 11 = 14`. Can you help me?",
)

run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)

while run.status not in ["completed", "cancelled", "expired", "failed"]:
    time.sleep(0.2)
    run = client.beta.threads.runs.retrieve(thread_id=thread.id, run_id=run.id)
print(f"Status: {run.status}")

messages = client.beta.threads.messages.list(thread_id=thread.id)
print(messages.data[0].content[0].text.value)

run_steps = client.beta.threads.runs.steps.list(thread_id=thread.id, run_id=run.id)
print(json.dumps(json.loads(run_steps.model_dump_json())["data"], indent=2))
