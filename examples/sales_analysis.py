"""A sales analysis over several turns: a workbook and a csv file go in, a chart and an edited workbook come back.

python sales_analysis.py [where to write what comes back] [--code]
"""

import os
import sys

from openai import AzureOpenAI

client = AzureOpenAI(
    api_key=os.getenv("AZURE_OPENAI_API_KEY", "any"),
    api_version="2024-05-01-preview",
    azure_endpoint=os.getenv("AZURE_OPENAI_ENDPOINT", "http://127.0.0.1:8000"),
)

arguments = [argument for argument in sys.argv[1:] if argument != "--code"]
shows_code = "--code" in sys.argv
folder = arguments[0] if arguments else "."
data = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sales")

QUESTIONS = [
    "Clean the orders in orders.xlsx and join them with products.csv. What did you have to fix?",
    "월별 매출을 막대 차트로 그려 줘. 제목과 축 이름은 한글로 써 줘.",
    "Which products sell best? Show the top five by revenue.",
    "What would the next quarter bring if the trend of the last months goes on, and if we raised prices by 5 percent?",
    "orders.xlsx에 월별 매출 시트와 차트를 추가해서 엑셀 파일로 돌려줘.",
]


def upload(name):
    with open(os.path.join(data, name), "rb") as file:
        uploaded = client.files.create(file=file, purpose="assistants")
    print(f"Uploaded {name} ({uploaded.bytes:,} bytes) as {uploaded.id}")
    return uploaded.id


def download(file_id, name):
    content = client.files.content(file_id).read()
    with open(os.path.join(folder, name), "wb") as target:
        target.write(content)
    print(f"  [{name}: {len(content):,} bytes]")


def show_work(run):
    """What the assistant ran to find its answer, and what that printed."""
    for step in client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc"):
        for call in getattr(step.step_details, "tool_calls", []):
            lines = call.code_interpreter.input.strip().splitlines()
            print(f"  [ran {len(lines)} lines of Python]")
            if shows_code:
                print("\n".join(f"  | {line}" for line in lines))
                logs = [output.logs for output in call.code_interpreter.outputs if output.type == "logs"]
                print("\n".join(f"  > {line}" for line in "".join(logs).splitlines()))


def show_answer(run, number):
    for message in client.beta.threads.messages.list(run.thread_id, run_id=run.id, order="asc"):
        for part in message.content:
            if part.type == "image_file":
                download(part.image_file.file_id, f"chart-{number}.png")
            elif part.type == "text":
                print(part.text.value)
                for annotation in part.text.annotations:
                    if annotation.type == "file_path":
                        download(annotation.file_path.file_id, os.path.basename(annotation.text))


assistant = client.beta.assistants.create(
    name="Sales analyst",
    instructions="You analyse sales for the owner of a shop. Answer briefly, in the language of the question, with "
    "figures that you computed. Chart labels are in the language of the question.",
    model="gpt-4o",
    tools=[{"type": "code_interpreter"}],
    tool_resources={"code_interpreter": {"file_ids": [upload("orders.xlsx"), upload("products.csv")]}},
)
thread = client.beta.threads.create()

for number, question in enumerate(QUESTIONS, start=1):
    print(f"\n=== {number}. {question}\n")
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content=question)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    if run.status != "completed":
        sys.exit(f"The run ended as {run.status}: {run.last_error}")
    show_work(run)
    show_answer(run, number)
