// What the behaviours of the Node SDK stand on: one client, and a report of one line per behaviour.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { inflateSync } from "node:zlib";
import assert from "node:assert/strict";

/** This version of the SDK has no such thing; the text says what. */
export class NotInSdk extends Error {}

/** The SDK in a folder with `node_modules`, and the server it talks to. */
export class Sdk {
  constructor(folder) {
    const require = createRequire(join(resolve(folder), "package.json"));
    this.package = require("openai");
    this.version = JSON.parse(readFileSync(join(folder, "node_modules/openai/package.json"))).version;
    this.major = Number(this.version.split(".")[0]);
    this.endpoint = process.env.MATRIX_ENDPOINT;
    this.key = process.env.MATRIX_KEY;
    this.client = this.openai();
  }

  openai(options = {}) {
    return new this.package.OpenAI({ baseURL: `${this.endpoint}/v1`, apiKey: this.key, timeout: 20_000, ...options });
  }

  azure(options = {}) {
    const where = "baseURL" in options ? {} : { endpoint: this.endpoint };
    const key = "azureADTokenProvider" in options ? {} : { apiKey: this.key };
    return new this.package.AzureOpenAI({ ...where, ...key, apiVersion: "2024-05-01-preview", timeout: 20_000, ...options });
  }

  /** A client, and the list to which every request it sends is added: retries show. */
  counting() {
    const sent = [];
    const counted = (url, init) => {
      sent.push(`${init.method} ${url}`);
      return fetch(url, init);
    };
    return [this.openai({ fetch: counted }), sent];
  }

  /** The arguments that name what belongs to a thread, and a body: Node 4 takes ids in the order of the path. */
  of(thing, body = {}) {
    const { thread_id, id } = thing;
    return this.major === 4 ? [thread_id, id, body] : [id, { thread_id, ...body }];
  }

  /** The arguments that name a step. */
  ofStep({ thread_id, run_id, id }) {
    return this.major === 4 ? [thread_id, run_id, id] : [id, { thread_id, run_id }];
  }

  /** `resource.delete`, which was `del` in Node 4. */
  delete(resource, ...named) {
    return (resource.delete ?? resource.del).apply(resource, named);
  }
}

export async function allOf(items) {
  const all = [];
  for await (const item of items) all.push(item);
  return all;
}

/** The error of this kind that the promise must end with. */
export async function refused(kind, promise) {
  const value = await Promise.resolve(promise).catch((error) => {
    if (error instanceof kind) return new Refusal(error);
    throw error;
  });
  assert(value instanceof Refusal, `no ${kind.name} but ${JSON.stringify(value)}`);
  return value.error;
}

class Refusal {
  constructor(error) {
    this.error = error;
  }
}

/** Fails unless these bytes are a whole PNG with its pixels there. */
export function isPng(data) {
  assert.deepEqual([...data.subarray(0, 8)], [...Buffer.from("\x89PNG\r\n\x1a\n", "latin1")]);
  const kinds = [];
  const pixels = [];
  for (let at = 8; at < data.length; ) {
    const size = data.readUInt32BE(at);
    const kind = data.toString("latin1", at + 4, at + 8);
    kinds.push(kind);
    if (kind === "IDAT") pixels.push(data.subarray(at + 8, at + 8 + size));
    at += 12 + size;
  }
  assert.deepEqual([kinds.at(0), kinds.at(-1)], ["IHDR", "IEND"]);
  assert(inflateSync(Buffer.concat(pixels)).length > 0, "the picture has no pixels");
}

const behaviours = [];

/** Put it on the list that `report` goes through. */
export function behaviour(does) {
  behaviours.push(does);
}

/** Print the SDK's version, try each behaviour and print its line: name, outcome and why, as JSON. */
export async function report(folder, ...partsOfNames) {
  const sdk = new Sdk(folder);
  console.log(JSON.stringify(sdk.version));
  for (const does of behaviours) {
    if (!partsOfNames.length || partsOfNames.some((part) => does.name.includes(part))) {
      console.log(JSON.stringify([does.name, ...(await outcome(does, sdk))]));
    }
  }
}

async function outcome(does, sdk) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("not within 60 seconds")), 60_000);
  });
  try {
    await Promise.race([does(sdk), late]);
  } catch (error) {
    if (error instanceof NotInSdk) return ["not in this SDK", error.message];
    const line = /node_behaviours\.mjs:\d+/.exec(error?.stack ?? "")?.[0] ?? "";
    return ["failed", `${error?.name}: ${error?.message} (${line})`];
  } finally {
    clearTimeout(timer);
  }
  return ["ok", ""];
}
