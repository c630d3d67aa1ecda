// What the SDK matrix asks of every Node SDK: the list of `python_behaviours.py`, under the same names.
//
//     node node_behaviours.mjs folder-with-node_modules [part of a name ...]
//
// Each behaviour stands alone: it makes what it needs, and others may use the server at the same time.

import { createReadStream, writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import assert from "node:assert/strict";
import { NotInSdk, allOf, behaviour, isPng, refused, report } from "./node_sdk.mjs";

const equal = assert.deepEqual;

const CSV = Buffer.from("item,amount\npens,40\nbooks,2\n");
const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg==",
  "base64",
);
const CODE = { type: "code_interpreter" };
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

// ---- assistants

behaviour(async function assistant_from_create_to_delete(sdk) {
  const assistants = sdk.client.beta.assistants;
  const made = await assistants.create({
    model: "gpt-4o",
    name: "Tutor",
    instructions: "Solve.",
    metadata: { a: "b" },
  });
  equal([made.object, made.model, made.name, made.metadata], ["assistant", "gpt-4o", "Tutor", { a: "b" }]);
  assert(made.id.startsWith("asst_"), made.id);
  equal(await assistants.retrieve(made.id), made);
  const changed = await assistants.update(made.id, { name: "Teacher", metadata: {} });
  equal([changed.name, changed.metadata, changed.instructions], ["Teacher", {}, "Solve."]);
  equal({ ...(await sdk.delete(assistants, made.id)) }, { id: made.id, object: "assistant.deleted", deleted: true });
  await refused(sdk.package.NotFoundError, assistants.retrieve(made.id));
});

behaviour(async function assistant_with_every_field(sdk) {
  const fields = {
    model: "gpt-4o",
    name: "n".repeat(256),
    description: "d".repeat(512),
    instructions: "i",
    tools: [CODE, WEATHER],
    metadata: Object.fromEntries(Array.from({ length: 16 }, (_, n) => [String(n), "v".repeat(512)])),
    temperature: 0,
    top_p: 0.5,
    response_format: { type: "json_object" },
  };
  const made = await sdk.client.beta.assistants.create(fields);
  equal(Object.fromEntries(Object.keys(fields).map((name) => [name, made[name]])), fields);
});

behaviour(async function assistants_page_after_page(sdk) {
  const assistants = sdk.client.beta.assistants;
  const made = [];
  for (let n = 0; n < 5; n++) made.push((await assistants.create({ model: "gpt-4o", name: String(n) })).id);
  const first = await assistants.list({ limit: 2, order: "asc", after: made[0] });
  assert(first.hasNextPage(), "there is a next page");
  equal((await first.getNextPage()).data.length, 2);
  const walked = (await allOf(assistants.list({ limit: 2, order: "asc", after: made[0] }))).map((each) => each.id);
  equal(walked.filter((id) => made.includes(id)), made.slice(1));
  const newest = (await assistants.list({ limit: 100 })).data.map((each) => each.id);
  equal(newest.filter((id) => made.includes(id)), made.toReversed?.() ?? [...made].reverse());
});

behaviour(async function explicit_nulls_mean_nothing_was_said(sdk) {
  const beta = sdk.client.beta;
  const nothing = { name: null, description: null, instructions: null, metadata: null };
  const made = await beta.assistants.create({ model: "gpt-4o", ...nothing });
  equal([made.name, made.description, made.instructions, made.metadata, made.tools], [null, null, null, {}, []]);
  const thread = await beta.threads.create({ metadata: null });
  await beta.threads.messages.create(thread.id, { role: "user", content: "say: ok", metadata: null });
  const run = await beta.threads.runs.createAndPoll(thread.id, {
    assistant_id: made.id,
    model: null,
    instructions: null,
    additional_instructions: null,
    tools: null,
    metadata: null,
    temperature: null,
  });
  equal([run.status, run.model], ["completed", "gpt-4o"]);
  const named = await beta.assistants.update(made.id, { name: "named" });
  const cleared = await beta.assistants.update(made.id, { name: null });
  equal([named.name, cleared.name], ["named", null]);
});

// ---- threads and messages

behaviour(async function thread_from_create_to_delete(sdk) {
  const threads = sdk.client.beta.threads;
  const made = await threads.create({ metadata: { a: "b" } });
  equal([made.object, made.metadata], ["thread", { a: "b" }]);
  equal(await threads.retrieve(made.id), made);
  equal((await threads.update(made.id, { metadata: { c: "d" } })).metadata, { c: "d" });
  equal({ ...(await sdk.delete(threads, made.id)) }, { id: made.id, object: "thread.deleted", deleted: true });
  await refused(sdk.package.NotFoundError, threads.retrieve(made.id));
});

behaviour(async function thread_created_with_messages(sdk) {
  const threads = sdk.client.beta.threads;
  const messages = ["one", "two"].map((content) => ({ role: "user", content }));
  const thread = await threads.create({ messages });
  const newestFirst = (await threads.messages.list(thread.id)).data;
  equal(newestFirst.map(textOf), ["two", "one"]);
  for (const each of newestFirst) equal([each.role, each.run_id, each.assistant_id], ["user", null, null]);
});

behaviour(async function message_from_create_to_update(sdk) {
  const threads = sdk.client.beta.threads;
  const thread = await threads.create();
  const made = await threads.messages.create(thread.id, { role: "user", content: "hello", metadata: { a: "b" } });
  equal([made.object, made.thread_id, textOf(made)], ["thread.message", thread.id, "hello"]);
  equal(made.content[0].text.annotations, []);
  equal(await threads.messages.retrieve(...sdk.of(made)), made);
  const changed = await threads.messages.update(...sdk.of(made, { metadata: { c: "d" } }));
  equal([changed.metadata, textOf(changed)], [{ c: "d" }, "hello"]);
});

behaviour(async function message_is_deleted(sdk) {
  const messages = sdk.client.beta.threads.messages;
  const thread = await sdk.client.beta.threads.create({ messages: [{ role: "user", content: "one" }] });
  const [message] = (await messages.list(thread.id)).data;
  const gone = await sdk.delete(messages, ...sdk.of(message));
  equal({ ...gone }, { id: message.id, object: "thread.message.deleted", deleted: true });
  equal((await messages.list(thread.id)).data, []);
});

behaviour(async function messages_in_order_and_in_pages(sdk) {
  const messages = sdk.client.beta.threads.messages;
  const thread = await sdk.client.beta.threads.create();
  const sent = [];
  for (let n = 0; n < 7; n++) sent.push((await messages.create(thread.id, { role: "user", content: String(n) })).id);
  const ids = (listed) => listed.map((each) => each.id);
  equal(ids(await allOf(messages.list(thread.id, { limit: 3, order: "asc" }))), sent);
  equal(ids(await allOf(messages.list(thread.id, { limit: 3 }))), [...sent].reverse());
  const after = await messages.list(thread.id, { limit: 2, order: "asc", after: sent[2] });
  equal(ids(after.data), sent.slice(3, 5));
  const before = await messages.list(thread.id, { limit: 2, order: "asc", before: sent[5] });
  equal(ids(before.data), sent.slice(3, 5));
});

behaviour(async function picture_in_a_message_reaches_the_model(sdk) {
  const file = await sdk.client.files.create({ file: await sdk.package.toFile(PNG, "dot.png"), purpose: "vision" });
  const picture = { type: "image_file", image_file: { file_id: file.id, detail: "low" } };
  const content = [{ type: "text", text: "repeat" }, picture];
  const thread = await sdk.client.beta.threads.create({ messages: [{ role: "user", content }] });
  const assistant = await sdk.client.beta.assistants.create({ model: "gpt-4o" });
  const run = await sdk.client.beta.threads.runs.createAndPoll(thread.id, { assistant_id: assistant.id });
  equal([run.status, run.last_error], ["completed", null]);
  const [answer, question] = (await sdk.client.beta.threads.messages.list(run.thread_id)).data;
  equal(question.content.map((part) => part.type), ["text", "image_file"]);
  equal([question.content[1].image_file.file_id, question.content[0].text.value], [file.id, "repeat"]);
  equal(JSON.parse(textOf(answer)).pictures, [PNG.toString("base64")]);
});

behaviour(async function unicode_comes_back_as_it_went(sdk) {
  const text = "한국어 \u{1f642} e\u0301 \u2028 \ud7a3 \\u0041 \t\r\n«»";
  const { run, message } = await answered(sdk, `say: ${text}`, { metadata: { 키: text } });
  equal(textOf(message), text);
  equal(run.metadata, { 키: text });
  equal((await uploaded(sdk, sdk.client, "보고서 최종.csv")).filename, "보고서 최종.csv");
});

// ---- files

behaviour(async function file_from_bytes_comes_back_exact(sdk) {
  const data = Buffer.alloc(256 * 300, Buffer.from(Array.from({ length: 256 }, (_, n) => n)));
  const made = await uploaded(sdk, sdk.client, "data.bin", data);
  equal([made.object, made.bytes, made.filename, made.purpose], ["file", data.length, "data.bin", "assistants"]);
  equal(await sdk.client.files.retrieve(made.id), made);
  equal((await sdk.client.files.waitForProcessing(made.id)).status, "processed");
  assert(data.equals(await downloaded(sdk, made.id)), "the bytes differ");
});

behaviour(async function file_from_a_path(sdk) {
  writeFileSync("from a path.csv", CSV);
  const made = await sdk.client.files.create({ file: createReadStream("from a path.csv"), purpose: "assistants" });
  equal([made.filename, made.bytes], ["from a path.csv", CSV.length]);
  equal(await downloaded(sdk, made.id), CSV);
});

behaviour(async function file_from_a_stream(sdk) {
  const file = await sdk.package.toFile(Readable.from([CSV.subarray(0, 5), CSV.subarray(5)]), "stream.csv");
  const made = await sdk.client.files.create({ file, purpose: "assistants" });
  equal([made.filename, made.bytes], ["stream.csv", CSV.length]);
  equal(await downloaded(sdk, made.id), CSV);
});

behaviour(async function files_listed_by_purpose_and_deleted(sdk) {
  const files = sdk.client.files;
  const made = await uploaded(sdk, sdk.client, "a.csv");
  const other = await files.create({ file: await sdk.package.toFile(Buffer.from("{}\n"), "b.jsonl"), purpose: "batch" });
  const listed = (await allOf(files.list({ purpose: "assistants" }))).map((each) => each.id);
  equal([listed.includes(made.id), listed.includes(other.id)], [true, false]);
  equal({ ...(await sdk.delete(files, made.id)) }, { id: made.id, object: "file", deleted: true });
  await refused(sdk.package.NotFoundError, files.retrieve(made.id));
  await refused(sdk.package.NotFoundError, files.content(made.id));
});

behaviour(async function upload_in_parts(sdk) {
  const uploads = sdk.client.uploads;
  const about = { purpose: "assistants", mime_type: "text/csv" };
  const upload = await uploads.create({ filename: "big.csv", bytes: 2 * CSV.length, ...about });
  equal([upload.object, upload.status], ["upload", "pending"]);
  const part_ids = [];
  for (let n = 0; n < 2; n++) {
    part_ids.push((await uploads.parts.create(upload.id, { data: await sdk.package.toFile(CSV, "part") })).id);
  }
  const done = await uploads.complete(upload.id, { part_ids });
  equal([done.status, done.file.filename, done.file.bytes], ["completed", "big.csv", 2 * CSV.length]);
  equal(await downloaded(sdk, done.file.id), Buffer.concat([CSV, CSV]));
  const other = await uploads.create({ filename: "x.csv", bytes: 1, ...about });
  equal((await uploads.cancel(other.id)).status, "cancelled");
});

behaviour(async function file_of_the_assistant_is_read_by_code(sdk) {
  const file = await uploaded(sdk, sdk.client, "sales.csv");
  const tool_resources = { code_interpreter: { file_ids: [file.id] } };
  const assistant = await sdk.client.beta.assistants.create({ model: "gpt-4o", tools: [CODE], tool_resources });
  const { message } = await answered(sdk, "total", { assistant_id: assistant.id });
  equal(textOf(message), "The total is 42.");
});

behaviour(async function file_of_a_message_is_read_by_code(sdk) {
  const file = await uploaded(sdk, sdk.client, "sales.csv");
  const attachments = [{ file_id: file.id, tools: [CODE] }];
  const { message } = await answered(sdk, "total", { tools: [CODE] }, { attachments });
  equal(textOf(message), "The total is 42.");
});

// ---- runs

behaviour(async function run_created_and_polled(sdk) {
  const { run, message } = await answered(sdk, "say: Hello there.");
  equal([run.object, run.status, run.last_error, run.required_action], ["thread.run", "completed", null, null]);
  equal([textOf(message), message.role, message.run_id], ["Hello there.", "assistant", run.id]);
  equal(message.assistant_id, run.assistant_id);
  equal([run.usage.prompt_tokens, run.usage.completion_tokens, run.usage.total_tokens], [10, 5, 15]);
  assert(run.created_at <= run.started_at && run.started_at <= run.completed_at, "its times are in order");
});

behaviour(async function run_followed_by_retrieving_it(sdk) {
  let run = await begun(sdk, "say: Hello.");
  equal([run.status, run.started_at, run.usage], ["queued", null, null]);
  equal(run.expires_at, run.created_at + 600);
  run = await finished(sdk, run);
  equal([run.status, run.expires_at], ["completed", null]);
});

behaviour(async function runs_listed_and_labelled(sdk) {
  const runs = sdk.client.beta.threads.runs;
  const first = await finished(sdk, await begun(sdk, "say: one"));
  const second = await runs.createAndPoll(first.thread_id, { assistant_id: first.assistant_id });
  equal((await allOf(runs.list(first.thread_id, { limit: 1 }))).map((each) => each.id), [second.id, first.id]);
  const labelled = await runs.update(...sdk.of(first, { metadata: { a: "b" } }));
  equal([labelled.metadata, labelled.status], [{ a: "b" }, "completed"]);
});

behaviour(async function run_is_cancelled(sdk) {
  const runs = sdk.client.beta.threads.runs;
  let run = await begun(sdk, "wait");
  equal((await runs.cancel(...sdk.of(run))).status, "cancelling");
  run = await runs.poll(...sdk.of(run));
  equal([run.status, run.cancelled_at === null], ["cancelled", false]);
  const error = await refused(sdk.package.BadRequestError, runs.cancel(...sdk.of(run)));
  equal(error.error.message, "Cannot cancel run with status 'cancelled'.");
});

behaviour(async function what_a_run_says_reaches_the_model(sdk) {
  const { run, message } = await answered(sdk, "say: not this", {
    instructions: "Be brief.",
    additional_instructions: "Be kind.",
    additional_messages: [{ role: "user", content: "repeat" }],
    temperature: 0,
    model: "gpt-4o-mini",
  });
  const told = JSON.parse(textOf(message));
  assert.match(told.instructions, /Be brief\.[^]*Be kind\./);
  equal([told.users, told.temperature], [["say: not this", "repeat"], 0]);
  equal([run.model, run.temperature], ["gpt-4o-mini", 0]);
});

behaviour(async function steps_of_a_run(sdk) {
  const { run, message } = await answered(sdk, "chart", { tools: [CODE] });
  const steps = sdk.client.beta.threads.runs.steps;
  const [last, first] = (await steps.list(...sdk.of(run))).data;
  equal([first.object, first.type, first.status], ["thread.run.step", "tool_calls", "completed"]);
  equal([last.type, last.step_details.message_creation.message_id], ["message_creation", message.id]);
  const [call] = first.step_details.tool_calls;
  assert(call.code_interpreter.input.includes("plt.plot"), call.code_interpreter.input);
  const [logs, image] = call.code_interpreter.outputs;
  equal([logs.type, logs.logs.trim(), image.type], ["logs", "drawn", "image"]);
  equal(await steps.retrieve(...sdk.ofStep(first)), first);
  equal(first.usage.total_tokens + last.usage.total_tokens, run.usage.total_tokens);
});

behaviour(async function thread_created_and_run(sdk) {
  const threads = sdk.client.beta.threads;
  const { id: assistant_id } = await sdk.client.beta.assistants.create({ model: "gpt-4o" });
  const thread = { messages: [{ role: "user", content: "say: one" }] };
  let run = await finished(sdk, await threads.createAndRun({ assistant_id, thread }));
  equal([run.status, textOf(await newest(sdk, run.thread_id))], ["completed", "one"]);
  run = await threads.createAndRunPoll({ assistant_id, thread });
  equal([run.status, textOf(await newest(sdk, run.thread_id))], ["completed", "one"]);
});

behaviour(async function run_that_fails_says_why(sdk) {
  const run = await finished(sdk, await begun(sdk, "fail"));
  equal([run.status, run.failed_at === null], ["failed", false]);
  assert(["server_error", "invalid_prompt"].includes(run.last_error.code), run.last_error.code);
  assert(run.last_error.message, "the error has words");
});

behaviour(async function run_ends_incomplete_at_its_budget(sdk) {
  const budget = { max_completion_tokens: 256, max_prompt_tokens: 256 };
  const run = await finished(sdk, await begun(sdk, "ramble", budget));
  equal([run.status, run.max_completion_tokens, run.max_prompt_tokens], ["incomplete", 256, 256]);
  equal(run.incomplete_details.reason, "max_completion_tokens");
  equal((await newest(sdk, run.thread_id)).status, "incomplete");
});

behaviour(async function run_sees_the_last_messages_only(sdk) {
  const messages = ["a", "b", "repeat"].map((content) => ({ role: "user", content }));
  const thread = await sdk.client.beta.threads.create({ messages });
  const assistant = await sdk.client.beta.assistants.create({ model: "gpt-4o" });
  const run = await sdk.client.beta.threads.runs.createAndPoll(thread.id, {
    assistant_id: assistant.id,
    truncation_strategy: { type: "last_messages", last_messages: 2 },
  });
  equal({ ...run.truncation_strategy }, { type: "last_messages", last_messages: 2 });
  equal(JSON.parse(textOf(await newest(sdk, thread.id))).users, ["b", "repeat"]);
});

// ---- errors

behaviour(async function unknown_id_is_not_found(sdk) {
  const error = await refused(sdk.package.NotFoundError, sdk.client.beta.assistants.retrieve("asst_unknown"));
  equal(error.error.message, "No assistant found with id 'asst_unknown'.");
  equal([error.status, error.type, error.param, error.code], [404, "invalid_request_error", null, null]);
});

behaviour(async function unknown_parameter_is_a_bad_request(sdk) {
  const asked = sdk.client.beta.assistants.create({ model: "gpt-4o", colour: "red" });
  const error = await refused(sdk.package.BadRequestError, asked);
  equal(error.error.message, "Unknown parameter: 'colour'.");
  equal([error.status, error.type], [400, "invalid_request_error"]);
  equal([error.param, error.code], ["colour", "unknown_parameter"]);
});

behaviour(async function wrong_key_is_an_authentication_error(sdk) {
  const client = sdk.openai({ apiKey: "wrong" });
  const error = await refused(sdk.package.AuthenticationError, client.beta.assistants.create({ model: "gpt-4o" }));
  equal([error.status, error.code], [401, "invalid_api_key"]);
  await refused(sdk.package.AuthenticationError, uploaded(sdk, client, "a.csv"));
});

behaviour(async function busy_thread_is_refused_and_not_retried(sdk) {
  const { BadRequestError } = sdk.package;
  const [client, sent] = sdk.counting();
  const { messages, runs } = client.beta.threads;
  const run = await begun(sdk, "wait");
  let error = await refused(BadRequestError, messages.create(run.thread_id, { role: "user", content: "x" }));
  equal(error.error.message, `Can't add messages to ${run.thread_id} while a run ${run.id} is active.`);
  error = await refused(BadRequestError, runs.create(run.thread_id, { assistant_id: run.assistant_id }));
  equal(error.error.message, `Thread ${run.thread_id} already has an active run ${run.id}.`);
  equal([error.type, error.param, error.code], ["invalid_request_error", null, null]);
  equal(sent.length, 2);
  await sdk.client.beta.threads.runs.cancel(...sdk.of(run));
  equal((await finished(sdk, run)).status, "cancelled");
  await messages.create(run.thread_id, { role: "user", content: "x" });
});

// ---- streams

behaviour(async function stream_calls_every_handler(sdk) {
  const { stream, heard, run } = await streamed(sdk, "say: It streams 한국어 well.");
  const names = heard.map(([name]) => name);
  equal(
    onceEach(names.filter((name) => !["event", "messageDelta"].includes(name))),
    ["runStepCreated", "messageCreated", "textCreated", "textDelta", "textDone", "messageDone", "runStepDone", "end"],
  );
  const deltas = heardAs(heard, "textDelta");
  equal(deltas.length, heardAs(heard, "messageDelta").length);
  assert(deltas.length > 2, "it came in several pieces");
  equal(deltas.map(([delta]) => delta.value).join(""), "It streams 한국어 well.");
  equal(await stream.finalRun(), run);
  await heardTheMessage(sdk, stream, heard, run);
  const steps = (await sdk.client.beta.threads.runs.steps.list(...sdk.of(run, { order: "asc" }))).data;
  equal(heardAs(heard, "runStepDone").map(([step]) => step), steps);
  equal((await stream.finalRunSteps()).map((step) => step.id), steps.map((step) => step.id));
});

behaviour(async function stream_without_a_handler(sdk) {
  const { thread, assistant } = await prepared(sdk, "say: One two three.");
  const stream = sdk.client.beta.threads.runs.stream(thread.id, { assistant_id: assistant.id });
  let said = "";
  for await (const event of stream) {
    if (event.event === "thread.message.delta") said += event.data.delta.content[0].text.value;
  }
  equal(said, "One two three.");
});

behaviour(async function stream_of_plain_events_is_in_order(sdk) {
  const { thread, assistant } = await prepared(sdk, "say: One two three.");
  const runs = sdk.client.beta.threads.runs;
  const events = await allOf(await runs.create(thread.id, { assistant_id: assistant.id, stream: true }));
  equal(onceEach(events.map((event) => event.event)), RUN_IN_WORDS);
  const [stored] = (await runs.list(thread.id)).data;
  equal(events.at(-1).data, stored);
});

behaviour(async function stream_of_a_new_thread(sdk) {
  const threads = sdk.client.beta.threads;
  const { id: assistant_id } = await sdk.client.beta.assistants.create({ model: "gpt-4o" });
  const thread = { messages: [{ role: "user", content: "say: One two three." }] };
  const events = await allOf(await threads.createAndRun({ assistant_id, thread, stream: true }));
  equal(onceEach(events.map((event) => event.event)), ["thread.created", ...RUN_IN_WORDS]);
  const stream = threads.createAndRunStream({ assistant_id, thread });
  equal((await stream.finalRun()).status, "completed");
  equal(textOf((await stream.finalMessages())[0]), "One two three.");
});

behaviour(async function stream_of_the_code_interpreter(sdk) {
  const { stream, heard, run } = await streamed(sdk, "chart", { tools: [CODE] });
  equal(run.status, "completed");
  const steps = (await sdk.client.beta.threads.runs.steps.list(...sdk.of(run, { order: "asc" }))).data;
  equal(heardAs(heard, "runStepDone").map(([step]) => step), steps);
  const [call] = steps[0].step_details.tool_calls;
  const [[created]] = heardAs(heard, "toolCallCreated");
  equal([created.type, created.id], ["code_interpreter", call.id]);
  const deltas = heardAs(heard, "toolCallDelta").map(([delta]) => delta.code_interpreter);
  equal(deltas.map((delta) => delta.input ?? "").join(""), call.code_interpreter.input);
  equal(deltas.flatMap((delta) => delta.outputs ?? []).map((output) => output.type), ["logs", "image"]);
  const [done] = heardAs(heard, "toolCallDone").at(-1);
  equal([done.id, done.code_interpreter.input], [call.id, call.code_interpreter.input]);
  const message = await heardTheMessage(sdk, stream, heard, run);
  equal(heardAs(heard, "imageFileDone").map(([image]) => image), [message.content[0].image_file]);
});

behaviour(async function stream_of_a_run_that_fails(sdk) {
  const { stream, run } = await streamed(sdk, "fail");
  equal([run.status, (await stream.finalRun()).status], ["failed", "failed"]);
});

behaviour(async function stream_left_early_does_not_stop_the_run(sdk) {
  const { thread, assistant } = await prepared(sdk, "say: One two three.");
  const stream = await sdk.client.beta.threads.runs.create(thread.id, { assistant_id: assistant.id, stream: true });
  let run;
  for await (const event of stream) {
    run = event.data;
    break;
  }
  run = await finished(sdk, run);
  equal([run.status, textOf(await newest(sdk, thread.id))], ["completed", "One two three."]);
});

// ---- code interpreter

behaviour(async function picture_and_table_are_downloaded(sdk) {
  const { message } = await answered(sdk, "chart", { tools: [CODE] });
  const [image, words] = message.content;
  equal([image.type, words.type], ["image_file", "text"]);
  isPng(await downloaded(sdk, image.image_file.file_id));
  const [annotation] = words.text.annotations;
  equal([annotation.type, annotation.text], ["file_path", "sandbox:/mnt/data/table.csv"]);
  equal(words.text.value.slice(annotation.start_index, annotation.end_index), annotation.text);
  const table = await sdk.client.files.retrieve(annotation.file_path.file_id);
  equal((await downloaded(sdk, table.id)).toString(), "n,square\n1,1\n2,4\n3,9\n");
  equal([table.filename.split("/").at(-1), table.purpose], ["table.csv", "assistants_output"]);
});

// ---- functions

behaviour(async function function_is_called_and_answered(sdk) {
  const runs = sdk.client.beta.threads.runs;
  let run = await askedWeather(sdk, "weather: Seoul");
  equal(run.required_action.type, "submit_tool_outputs");
  const [call, ...others] = run.required_action.submit_tool_outputs.tool_calls;
  equal(others, []);
  equal([call.type, call.function.name], ["function", "get_weather"]);
  equal(JSON.parse(call.function.arguments), { city: "Seoul" });
  assert(call.id.startsWith("call_"), call.id);
  const tool_outputs = [{ tool_call_id: call.id, output: "맑음" }];
  run = await runs.submitToolOutputs(...sdk.of(run, { tool_outputs }));
  equal([run.status, run.required_action], ["queued", null]);
  run = await finished(sdk, run);
  equal([run.status, textOf(await newest(sdk, run.thread_id))], ["completed", "맑음"]);
  const [, step] = (await runs.steps.list(...sdk.of(run))).data;
  equal(step.step_details.tool_calls[0].function.output, "맑음");
});

behaviour(async function functions_are_called_in_parallel(sdk) {
  const runs = sdk.client.beta.threads.runs;
  let run = await askedWeather(sdk, "weather: Seoul, Busan, Jeju");
  const tool_outputs = weatherOf(run);
  equal(tool_outputs.map((each) => each.output), ["rain in Seoul", "rain in Busan", "rain in Jeju"]);
  run = await runs.submitToolOutputsAndPoll(...sdk.of(run, { tool_outputs }));
  equal(run.status, "completed");
  equal(textOf(await newest(sdk, run.thread_id)), "rain in Seoul; rain in Busan; rain in Jeju");
  const [, step] = (await runs.steps.list(...sdk.of(run))).data;
  equal(step.step_details.tool_calls.map((each) => each.id), tool_outputs.map((each) => each.tool_call_id));
});

behaviour(async function functions_are_called_one_at_a_time(sdk) {
  const runs = sdk.client.beta.threads.runs;
  let run = await askedWeather(sdk, "weather: Seoul, Busan", { parallel_tool_calls: false });
  for (const city of ["Seoul", "Busan"]) {
    const tool_outputs = weatherOf(run);
    equal(tool_outputs.map((each) => each.output), [`rain in ${city}`]);
    run = await runs.submitToolOutputsAndPoll(...sdk.of(run, { tool_outputs }));
  }
  equal([run.status, textOf(await newest(sdk, run.thread_id))], ["completed", "rain in Seoul; rain in Busan"]);
});

behaviour(async function function_outputs_are_streamed(sdk) {
  const { stream, heard, run } = await streamed(sdk, "weather: Seoul, Busan", { tools: [WEATHER] });
  equal([run.status, (await stream.finalRun()).status], ["requires_action", "requires_action"]);
  const calls = heardAs(heard, "toolCallCreated").map(([call]) => call.function.name);
  equal(calls, ["get_weather", "get_weather"]);
  const asked = [];
  for (const [delta] of heardAs(heard, "toolCallDelta")) {
    asked[delta.index] = (asked[delta.index] ?? "") + (delta.function.arguments ?? "");
  }
  equal(asked.map((each) => JSON.parse(each)), [{ city: "Seoul" }, { city: "Busan" }]);
  const body = { tool_outputs: weatherOf(run) };
  const second = sdk.client.beta.threads.runs.submitToolOutputsStream(...sdk.of(run, body));
  const events = [];
  second.on("event", (event) => events.push(event.event));
  equal((await second.finalRun()).status, "completed");
  equal(events[0], "thread.run.step.completed");
  equal(textOf((await second.finalMessages())[0]), "rain in Seoul; rain in Busan");
});

behaviour(async function wrong_function_outputs_are_refused(sdk) {
  const runs = sdk.client.beta.threads.runs;
  const { BadRequestError } = sdk.package;
  let run = await askedWeather(sdk, "weather: Seoul, Busan");
  const [first, second] = weatherOf(run);
  let error = await refused(BadRequestError, runs.submitToolOutputs(...sdk.of(run, { tool_outputs: [first] })));
  const [seoul, busan] = [first.tool_call_id, second.tool_call_id];
  equal(error.error.message, `Expected tool outputs for call_ids ['${seoul}', '${busan}'], got ['${seoul}']`);
  run = await finished(sdk, await runs.cancel(...sdk.of(run)));
  error = await refused(BadRequestError, runs.submitToolOutputs(...sdk.of(run, { tool_outputs: [first, second] })));
  equal(error.error.message, 'Runs in status "cancelled" do not accept tool outputs.');
});

// ---- what the SDK offers for each request

behaviour(async function raw_response_has_headers(sdk) {
  const { data, response } = await sdk.client.beta.assistants.create({ model: "gpt-4o" }).withResponse();
  assert(response.headers.get("x-request-id").startsWith("req_"), "a request id");
  equal([response.status, data.object], [200, "assistant"]);
});

behaviour(async function response_is_read_as_it_comes(sdk) {
  const data = Buffer.alloc(256 * 4000, Buffer.from(Array.from({ length: 256 }, (_, n) => n)));
  const made = await uploaded(sdk, sdk.client, "data.bin", data);
  const content = await sdk.client.files.content(made.id);
  assert(data.equals(Buffer.concat(await allOf(content.body))), "the bytes differ");
  const response = await sdk.client.beta.assistants.create({ model: "gpt-4o" }).asResponse();
  equal((await response.json()).object, "assistant");
});

behaviour(async function headers_and_query_of_ones_own(sdk) {
  const assistants = sdk.client.beta.assistants;
  const made = [];
  for (let n = 0; n < 2; n++) made.push((await assistants.create({ model: "gpt-4o" })).id);
  const page = await assistants.list({}, { query: { limit: 1 }, headers: { "X-Trace": "a" } });
  equal(page.data.length, 1);
  const same = await assistants.retrieve(made[0], { headers: { "X-Trace": "a" }, query: { trace: "a" } });
  equal(same.id, made[0]);
  const headers = { Authorization: "Bearer wrong" };
  await refused(sdk.package.AuthenticationError, assistants.retrieve(made[0], { headers }));
});

behaviour(async function timeouts_are_kept(sdk) {
  const files = sdk.openai({ maxRetries: 0 }).files;
  const big = async () => ({ file: await sdk.package.toFile(Buffer.alloc(4 * 1024 ** 2), "big.bin"), purpose: "assistants" });
  await refused(sdk.package.APIConnectionTimeoutError, files.create(await big(), { timeout: 1 }));
  equal((await files.create(await big(), { timeout: 30_000 })).bytes, 4 * 1024 ** 2);
});

behaviour(async function models_are_listed(sdk) {
  const [first] = await allOf(sdk.client.models.list());
  equal((await sdk.client.models.retrieve(first.id)).id, first.id);
});

// ---- Azure

behaviour(async function azure_client(sdk) {
  await worksOnAzure(sdk, sdk.azure());
});

behaviour(async function azure_client_with_a_deployment(sdk) {
  await worksOnAzure(sdk, sdk.azure({ deployment: "my-deployment" }));
});

behaviour(async function azure_client_with_a_token(sdk) {
  await worksOnAzure(sdk, sdk.azure({ azureADTokenProvider: async () => sdk.key }));
});

behaviour(async function azure_client_at_the_v1_address(sdk) {
  const client = sdk.azure({ baseURL: `${sdk.endpoint}/openai/v1/`, apiVersion: "preview" });
  const made = await client.beta.assistants.create({ model: "my-deployment" });
  equal((await client.beta.assistants.retrieve(made.id)).id, made.id);
});

behaviour(async function azure_sample_streams(sdk) {
  const client = sdk.azure();
  const assistant = await client.beta.assistants.create({
    name: "Math Tutor",
    tools: [CODE],
    model: "gpt-4-1106-preview",
  });
  const thread = await client.beta.threads.create();
  await client.beta.threads.messages.create(thread.id, { role: "user", content: "chart" });
  let screen = "";
  const run = client.beta.threads.runs
    .stream(thread.id, {
      assistant_id: assistant.id,
      instructions: "Please address the user as Jane Doe. The user has a premium account.",
    })
    .on("textCreated", () => (screen += "\nassistant > "))
    .on("textDelta", (textDelta) => (screen += textDelta.value))
    .on("toolCallCreated", (toolCall) => (screen += `\nassistant > ${toolCall.type}\n\n`))
    .on("toolCallDelta", (toolCallDelta) => {
      if (toolCallDelta.type === "code_interpreter") {
        if (toolCallDelta.code_interpreter.input) screen += toolCallDelta.code_interpreter.input;
        if (toolCallDelta.code_interpreter.outputs) {
          screen += "\noutput >\n";
          toolCallDelta.code_interpreter.outputs.forEach((output) => {
            if (output.type === "logs") screen += `\n${output.logs}\n`;
          });
        }
      }
    });
  await run.done();
  for (const part of [
    "\nassistant > code_interpreter\n",
    "plt.plot([1, 4, 9])",
    "\noutput >\n\ndrawn",
    "\nassistant > The table: [table.csv](sandbox:/mnt/data/table.csv)",
  ]) {
    assert(screen.includes(part), `${JSON.stringify(part)} is not in ${JSON.stringify(screen)}`);
  }
});

behaviour(async function azure_errors(sdk) {
  const create = (options) => sdk.azure(options).beta.assistants.create({ model: "m" });
  let error = await refused(sdk.package.AuthenticationError, create({ apiKey: "wrong" }));
  assert.match(error.error.message, /Access denied due to invalid subscription key/);
  error = await refused(sdk.package.NotFoundError, create({ apiVersion: "1999-01-01" }));
  equal([error.error.message, error.code], ["Resource not found", "404"]);
});

// ---- v1

behaviour(async function v1_files_of_an_assistant() {
  throw new NotInSdk("assistants.files");
});

behaviour(async function v1_files_of_a_message() {
  throw new NotInSdk("messages.files");
});

behaviour(async function v1_retrieval_is_file_search() {
  throw new NotInSdk("the retrieval tool");
});

behaviour(async function v1_and_v2_show_the_same_objects(sdk) {
  const old = sdk.azure({ apiVersion: "2024-02-15-preview" });
  const later = sdk.azure({ apiVersion: "2024-05-01-preview" });
  const file_ids = [(await uploaded(sdk, old, "a.csv")).id];
  const made = await old.beta.assistants.create({ model: "m", tools: [CODE], file_ids });
  equal(made.file_ids, file_ids);
  const seen = await later.beta.assistants.retrieve(made.id);
  equal(seen.tool_resources.code_interpreter.file_ids, file_ids);
  const thread = await old.beta.threads.create({ messages: [{ role: "user", content: "x", file_ids }] });
  equal((await old.beta.threads.messages.list(thread.id)).data[0].file_ids, file_ids);
  const [after] = (await later.beta.threads.messages.list(thread.id)).data;
  equal(after.attachments.map((each) => each.file_id), file_ids);
  const tool_resources = { code_interpreter: { file_ids } };
  const asked = old.beta.assistants.create({ model: "m", tool_resources });
  const error = await refused(sdk.package.BadRequestError, asked);
  equal([error.param, error.code], ["tool_resources", "unknown_parameter"]);
});

// ---- vector stores

behaviour(async function vector_store_from_create_to_delete(sdk) {
  const stores = sdk.client.vectorStores;
  const made = await stores.create({ name: "Documents" });
  equal([made.object, made.name, made.status], ["vector_store", "Documents", "completed"]);
  equal((await stores.retrieve(made.id)).id, made.id);
  equal((await stores.update(made.id, { name: "Papers" })).name, "Papers");
  assert((await allOf(stores.list())).some((each) => each.id === made.id), "it is listed");
  const words = await sdk.package.toFile(Buffer.from("words"), "a.txt");
  const file = await sdk.client.files.create({ file: words, purpose: "assistants" });
  const added = await stores.files.create(made.id, { file_id: file.id });
  equal([added.id, added.object, added.vector_store_id], [file.id, "vector_store.file", made.id]);
  equal((await allOf(stores.files.list(made.id))).map((each) => each.id), [file.id]);
  const batch = await stores.fileBatches.create(made.id, { file_ids: [file.id] });
  equal([batch.file_counts.total, batch.vector_store_id], [1, made.id]);
  equal((await sdk.delete(stores, made.id)).deleted, true);
});

// ---- what several of them need

/** A streamed run that answers in words; its deltas count as one. */
const RUN_IN_WORDS = [
  "thread.run.created",
  "thread.run.queued",
  "thread.run.in_progress",
  "thread.run.step.created",
  "thread.run.step.in_progress",
  "thread.message.created",
  "thread.message.in_progress",
  "thread.message.delta",
  "thread.message.completed",
  "thread.run.step.completed",
  "thread.run.completed",
];

const CALLBACKS = [
  "event",
  "messageCreated",
  "messageDelta",
  "messageDone",
  "runStepCreated",
  "runStepDone",
  "textCreated",
  "textDelta",
  "textDone",
  "toolCallCreated",
  "toolCallDelta",
  "toolCallDone",
  "imageFileDone",
  "end",
];

/** Names that follow themselves count once. */
function onceEach(names) {
  return names.filter((name, at) => name !== names[at - 1]);
}

/** What a callback was called with, each time. */
function heardAs(heard, callback) {
  return heard.filter(([name]) => name === callback).map(([, ...seen]) => seen);
}

/** The words of a message that has nothing else. */
function textOf(message) {
  const [part, ...others] = message.content;
  equal(others, []);
  return part.text.value;
}

async function uploaded(sdk, client, name, data = CSV) {
  return await client.files.create({ file: await sdk.package.toFile(data, name), purpose: "assistants" });
}

async function downloaded(sdk, fileId) {
  return Buffer.from(await (await sdk.client.files.content(fileId)).arrayBuffer());
}

/** A new assistant, and a new thread whose user says this. */
async function prepared(sdk, words) {
  const assistant = await sdk.client.beta.assistants.create({ model: "gpt-4o" });
  const thread = await sdk.client.beta.threads.create({ messages: [{ role: "user", content: words }] });
  return { assistant, thread };
}

/** A run of a new assistant on a new thread whose user says this. */
async function begun(sdk, words, options = {}) {
  const { thread, assistant } = await prepared(sdk, words);
  return await sdk.client.beta.threads.runs.create(thread.id, { assistant_id: assistant.id, ...options });
}

/** The run once it moves no more, asked for as often as it takes. */
async function finished(sdk, run) {
  while (["queued", "in_progress", "cancelling"].includes(run.status)) {
    await new Promise((wake) => setTimeout(wake, 20));
    run = await sdk.client.beta.threads.runs.retrieve(...sdk.of(run));
  }
  return run;
}

/** A completed run on a new thread whose user says this, and the answer. */
async function answered(sdk, words, options = {}, ofMessage = {}) {
  const threads = sdk.client.beta.threads;
  const assistant_id = options.assistant_id ?? (await sdk.client.beta.assistants.create({ model: "gpt-4o" })).id;
  const thread = await threads.create();
  await threads.messages.create(thread.id, { role: "user", content: words, ...ofMessage });
  const run = await threads.runs.createAndPoll(thread.id, { assistant_id, ...options });
  equal([run.status, run.last_error], ["completed", null]);
  return { run, message: await newest(sdk, thread.id) };
}

async function newest(sdk, threadId) {
  return (await sdk.client.beta.threads.messages.list(threadId)).data[0];
}

/** The ended stream of a run on a new thread whose user says this, what its callbacks heard, and the run as stored. */
async function streamed(sdk, words, options = {}) {
  const { thread, assistant } = await prepared(sdk, words);
  const runs = sdk.client.beta.threads.runs;
  const stream = runs.stream(thread.id, { assistant_id: assistant.id, ...options });
  const heard = [];
  for (const name of CALLBACKS) stream.on(name, (...seen) => heard.push([name, ...structuredClone(seen)]));
  await stream.done();
  const [run] = (await runs.list(thread.id)).data;
  return { stream, heard, run };
}

/** The run's one message, which the stream told as it is stored. Before Node 7 only its deltas make a final message. */
async function heardTheMessage(sdk, stream, heard, run) {
  const message = await newest(sdk, run.thread_id);
  equal(heardAs(heard, "messageDone").map(([done]) => done), [message]);
  const [final, ...others] = await stream.finalMessages();
  equal([final.id, withoutIndex(final.content), others], [message.id, message.content, []]);
  return message;
}

function withoutIndex(value) {
  if (Array.isArray(value)) return value.map(withoutIndex);
  if (value === null || typeof value !== "object") return value;
  const kept = Object.entries(value).filter(([name]) => name !== "index");
  return Object.fromEntries(kept.map(([name, each]) => [name, withoutIndex(each)]));
}

/** A run that waits for get_weather's outputs. */
async function askedWeather(sdk, words, options = {}) {
  const assistant = await sdk.client.beta.assistants.create({ model: "gpt-4o", tools: [WEATHER] });
  const thread = await sdk.client.beta.threads.create({ messages: [{ role: "user", content: words }] });
  const run = await sdk.client.beta.threads.runs.createAndPoll(thread.id, { assistant_id: assistant.id, ...options });
  equal([run.status, run.last_error], ["requires_action", null]);
  return run;
}

/** The outputs a run asks for. */
function weatherOf(run) {
  return run.required_action.submit_tool_outputs.tool_calls.map((call) => ({
    tool_call_id: call.id,
    output: `rain in ${JSON.parse(call.function.arguments).city}`,
  }));
}

/** Each family of paths, through this client. */
async function worksOnAzure(sdk, client) {
  const file = await uploaded(sdk, client, "a.csv");
  assert(file.id.startsWith("assistant-"), file.id);
  equal(Buffer.from(await (await client.files.content(file.id)).arrayBuffer()), CSV);
  const tool_resources = { code_interpreter: { file_ids: [file.id] } };
  const assistant = await client.beta.assistants.create({ model: "my-deployment", tools: [CODE], tool_resources });
  const thread = await client.beta.threads.create({ messages: [{ role: "user", content: "total" }] });
  const run = await client.beta.threads.runs.createAndPoll(thread.id, { assistant_id: assistant.id });
  equal(run.status, "completed");
  equal(textOf((await client.beta.threads.messages.list(thread.id)).data[0]), "The total is 42.");
}

await report(...process.argv.slice(2));
