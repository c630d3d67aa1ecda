"""Questions about a company's handbook: mixed documents in English and Korean go into a vector store, and answers come
back with the places they were found at.

python employee_questions.py [question]
"""

import glob
import os
import sys

from openai import AzureOpenAI

client = AzureOpenAI(
    api_key=os.getenv("AZURE_OPENAI_API_KEY", "any"),
    api_version="2024-05-01-preview",
    azure_endpoint=os.getenv("AZURE_OPENAI_ENDPOINT", "http://127.0.0.1:8000"),
)
vector_stores = client.vector_stores if hasattr(client, "vector_stores") else client.beta.vector_stores

handbook = os.path.join(os.path.dirname(os.path.abspath(__file__)), "handbook")
QUESTIONS = sys.argv[1:] or [
    "How many days of annual leave do I have, and how many can I take into the next year?",
    "What is the daily allowance when I travel for the company?",
    "How fast must I report a stolen laptop?",
    "재택근무는 일주일에 최대 며칠인가요?",
    "5년 근속 선물은 무엇인가요?",
    "What is the limit for a desk and a chair at home?",
]


def show_answer(run):
    """The answer with its citations as footnotes, as the hosted service's own samples printed them."""
    message = client.beta.threads.messages.list(run.thread_id, run_id=run.id).data[0]
    content = message.content[0].text
    footnotes = []
    for index, annotation in enumerate(content.annotations):
        content.value = content.value.replace(annotation.text, f"[{index}]")
        if citation := getattr(annotation, "file_citation", None):
            cited = client.files.retrieve(citation.file_id)
            quote = " ".join((getattr(citation, "quote", None) or "").split())
            footnotes.append(f"[{index}] {cited.filename}: {quote[:120]}")
    print(content.value)
    print("\n".join(footnotes))


store = vector_stores.create(name="Handbook")
paths = sorted(path for path in glob.glob(os.path.join(handbook, "*")) if not path.endswith(".py"))
batch = vector_stores.file_batches.upload_and_poll(vector_store_id=store.id, files=[open(path, "rb") for path in paths])
print(f"{batch.status}: {batch.file_counts.completed} of {batch.file_counts.total} documents can be searched")

assistant = client.beta.assistants.create(
    name="Handbook",
    instructions="You answer questions of the people who work here from the handbook, briefly, in the language of the "
    "question, and cite what you found.",
    model="gpt-4o",
    tools=[{"type": "file_search"}],
    tool_resources={"file_search": {"vector_store_ids": [store.id]}},
)
thread = client.beta.threads.create()
for number, question in enumerate(QUESTIONS, start=1):
    print(f"\n=== {number}. {question}\n")
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content=question)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    if run.status != "completed":
        sys.exit(f"The run ended as {run.status}: {run.last_error}")
    show_answer(run)
