"""The asynchronous client: two threads at once, one polled and one streamed, each with a session of its own."""

import asyncio
import os

from openai import AsyncAzureOpenAI

client = AsyncAzureOpenAI(
    api_key=os.getenv("AZURE_OPENAI_API_KEY"),
    api_version="2024-05-01-preview",
    azure_endpoint=os.getenv("AZURE_OPENAI_ENDPOINT"),
)


async def polled(assistant_id: str) -> str:
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": "Solve 2x + 1 = 9"}])
    run = await client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant_id)
    messages = await client.beta.threads.messages.list(thread.id)
    return f"polled ({run.status}): {messages.data[0].content[0].text.value}"


async def streamed(assistant_id: str) -> str:
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": "Solve 5y - 3 = 7"}])
    text = ""
    async with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant_id) as stream:
        async for delta in stream.text_deltas:
            text += delta
        run = await stream.get_final_run() if hasattr(stream, "get_final_run") else stream.current_run
    return f"streamed ({run.status}): {text}"


async def main() -> None:
    assistant = await client.beta.assistants.create(model="gpt-4", tools=[{"type": "code_interpreter"}])
    for line in await asyncio.gather(polled(assistant.id), streamed(assistant.id)):
        print(line)
    await client.close()


asyncio.run(main())
