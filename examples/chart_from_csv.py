"""A CSV turned into a chart and a table; both are downloaded and written to disk.

python chart_from_csv.py [your.csv] ["what you want to know"]
"""

import os
import sys

from openai import AzureOpenAI

client = AzureOpenAI(
    api_key=os.getenv("AZURE_OPENAI_API_KEY", "any"),
    api_version="2024-05-01-preview",
    azure_endpoint=os.getenv("AZURE_OPENAI_ENDPOINT", "http://127.0.0.1:8000"),
)

path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "sales.csv")
question = sys.argv[2] if len(sys.argv) > 2 else "Plot this data as a chart and save a summary as a CSV file."

file = client.files.create(file=open(path, "rb"), purpose="assistants")
assistant = client.beta.assistants.create(
    model="gpt-4o",
    tools=[{"type": "code_interpreter"}],
    tool_resources={"code_interpreter": {"file_ids": [file.id]}},
)
thread = client.beta.threads.create(messages=[{"role": "user", "content": question}])
run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
print(f"Status: {run.status}")

for step in client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc"):
    if step.type == "tool_calls":
        for call in step.step_details.tool_calls:
            print("--- code ---", call.code_interpreter.input, sep="\n")
            for output in call.code_interpreter.outputs:
                print("--- output ---", output.logs if output.type == "logs" else output.image.file_id, sep="\n")

answer = client.beta.threads.messages.list(thread.id).data[0]
for part in answer.content:
    if part.type == "image_file":
        client.files.content(part.image_file.file_id).write_to_file("chart.png")
        print("Written: chart.png")
    else:
        print("--- answer ---", part.text.value, sep="\n")
        for annotation in part.text.annotations:
            name = os.path.basename(annotation.text)
            with open(name, "wb") as target:
                target.write(client.files.content(annotation.file_path.file_id).read())
            print(f"Written: {name}")
