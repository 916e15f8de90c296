import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { SmhdrError } from "../../src/errors.js";
import { writeRadianceHdr } from "../../src/output/write-radiance-hdr.js";
import { loadSources } from "../../src/train/synthesis/load-sources.js";
import { bracketSeed, streamBrackets } from "../../src/train/synthesis/stream.js";
import { type SyntheticBracket, synthesizeBracket } from "../../src/train/synthesis/synthesize.js";
import { madeUpSources } from "./sources.js";

let folder: string;
let paths: string[];
const options = { width: 32, height: 32, exposures: 3 };

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-stream-"));
  paths = madeUpSources.map((source) => join(folder, `${source.name}.hdr`));
  for (const [i, { width, height, data }] of madeUpSources.entries())
    await writeRadianceHdr(
      { width, height, channels: 3, data, encoding: { transfer: "linear", primaries: "srgb" }, metadata: {} },
      paths[i],
    );
});
after(() => rm(folder, { recursive: true, force: true }));

async function collect(workers: number, first = 0, count = 6): Promise<SyntheticBracket[]> {
  const brackets = [];
  for await (const bracket of streamBrackets({ sources: paths, options, seed: 9, workers, first, count }))
    brackets.push(bracket);
  return brackets;
}

test("a stream is the same brackets in the same order for any number of workers", async () => {
  const sources = await loadSources(paths);
  const expected = Array.from({ length: 6 }, (_, i) => synthesizeBracket(sources, options, bracketSeed(9, i)));
  assert.deepEqual(await collect(1), expected);
  assert.deepEqual(await collect(2, 2, 4), expected.slice(2));
});

test("leaving an endless stream ends its threads, and so does a signal", async () => {
  for await (const bracket of streamBrackets({ sources: paths, options, seed: 1, workers: 1 })) {
    assert.equal(bracket.width, 32);
    break;
  }
  const controller = new AbortController();
  await assert.rejects(
    async () => {
      for await (const _ of streamBrackets({ sources: paths, options, seed: 1, workers: 1, signal: controller.signal }))
        controller.abort();
    },
    (error) => error instanceof SmhdrError && error.code === "CANCELLED",
  );
});

test("what goes wrong in a thread arrives as the error it was", async () => {
  const drain = async (sources: readonly string[], change = {}) => {
    for await (const _ of streamBrackets({
      sources,
      options: { ...options, ...change },
      seed: 1,
      workers: 2,
      count: 1,
    }));
  };
  const fails = (code: string, pattern: RegExp) => (error: unknown) =>
    error instanceof SmhdrError && error.code === code && pattern.test(error.message);
  await assert.rejects(drain([]), fails("INVALID_ARGUMENT", /at least one/));
  await assert.rejects(drain([join(folder, "none.hdr")]), fails("IO", /none\.hdr/));
  await assert.rejects(drain(paths, { width: 3 }), fails("INVALID_ARGUMENT", /width/));
  const notAnImage = join(folder, "text.hdr");
  await writeFile(notAnImage, "hello");
  await assert.rejects(loadSources([notAnImage]), fails("BAD_INPUT", /text\.hdr/));
  const black = join(folder, "black.hdr");
  const data = new Float32Array(64 * 64 * 3);
  await writeRadianceHdr(
    { width: 64, height: 64, channels: 3, data, encoding: { transfer: "linear", primaries: "srgb" }, metadata: {} },
    black,
  );
  await assert.rejects(loadSources([black]), fails("BAD_INPUT", /black/));
});
