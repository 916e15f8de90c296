import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { writeRadianceHdr } from "../../src/output/write-radiance-hdr.js";
import { findScenes, readScene } from "../../src/train/dataset.js";
import { loadSources } from "../../src/train/synthesis/load-sources.js";
import { bracketSeed } from "../../src/train/synthesis/stream.js";
import { synthesizeBracket } from "../../src/train/synthesis/synthesize.js";
import { madeUpSource } from "./sources.js";

const program = fileURLToPath(new URL("../../src/cli/smhdr.ts", import.meta.url));
let folder: string;
let source: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-synthesize-"));
  source = join(folder, "made up.hdr");
  const { width, height, data } = madeUpSource("made up", 200, 160);
  await writeRadianceHdr(
    { width, height, channels: 3, data, encoding: { transfer: "linear", primaries: "srgb" }, metadata: {} },
    source,
  );
});
after(() => rm(folder, { recursive: true, force: true }));

function start(...args: string[]): ChildProcess {
  return spawn(process.execPath, ["--import", "tsx", program, "synthesize", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
}

async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = start(...args);
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (text) => {
    stdout += text;
  });
  child.stderr?.on("data", (text) => {
    stderr += text;
  });
  const [code] = await once(child, "close");
  return { code, stdout, stderr };
}

const settings = ["--seed", "4", "--size", "64x48", "--exposures", "4", "--threads", "1"];

test("it makes a data set, goes on with it, and refuses to mix recipes", async () => {
  const out = join(folder, "set");
  const first = await run(source, "-o", out, "--count", "2", ...settings);
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stdout, /2 scenes in .*Training/);
  const before = await Promise.all((await findScenes(out, "Training")).map(readScene));
  assert.deepEqual(
    before.map((scene) => scene.name),
    ["00000", "00001"],
  );
  assert.ok(before.every((scene) => scene.exposures.length === 4 && scene.width === 64 && scene.height === 48));
  // Ids are unique over the set.
  const ids = before.map((scene) => new Set(scene.segments));
  assert.ok([...ids[0]].every((id) => !ids[1].has(id)));

  const more = await run(source, "-o", out, "--count", "3", "--json", ...settings);
  assert.deepEqual(JSON.parse(more.stdout.trim().split("\n").at(-1) as string), {
    event: "result",
    folder: join(out, "Training"),
    scenes: 3,
    made: 1,
  });
  const options = { width: 64, height: 48, exposures: 4 };
  const third = synthesizeBracket(await loadSources([source]), options, bracketSeed(4, 2));
  const scenes = await Promise.all((await findScenes(out, "Training")).map(readScene));
  assert.deepEqual(scenes[2].exposures, third.exposures);
  assert.deepEqual(scenes.slice(0, 2), before);

  const other = await run(source, "-o", out, "--count", "3", ...settings, "--seed", "5");
  assert.equal(other.code, 2);
  assert.match(other.stderr, /already holds scenes made otherwise \(seed 4, not 5\): choose another --output\.\n$/);
});

test("more scenes than their segments can be numbered are refused before any is made", async () => {
  const out = join(folder, "many");
  const { code, stderr } = await run(source, "-o", out, "--count", "5000000", ...settings);
  assert.equal(code, 2);
  assert.match(stderr, /--count: expected at most 3355443 scenes of 64x48 .*got 5000000/);
  assert.deepEqual(await readdir(folder), ["made up.hdr", "set"]);
});

test("Ctrl-C leaves whole scenes only", async () => {
  const out = join(folder, "stopped");
  const child = start(source, "-o", out, "--count", "100000", ...settings);
  const training = join(out, "Training");
  while (!(await readdir(training).catch((): string[] => [])).includes("00001"))
    await new Promise((resolve) => setTimeout(resolve, 50));
  child.kill("SIGINT");
  const [code] = await once(child, "close");
  assert.equal(code, 130);
  const names = await readdir(training);
  assert.ok(names.length >= 2 && names.every((name) => /^\d{5}$/.test(name)), names.join(" "));
  for (const files of await findScenes(out, "Training")) await readScene(files);
});

test("the photographs can go through JPEG", async () => {
  const out = join(folder, "jpeg");
  assert.equal((await run(source, "-o", out, "--count", "1", ...settings, "--jpeg", "60", "--split", "Test")).code, 0);
  const other = await run(source, "-o", out, "--count", "1", ...settings, "--split", "Test");
  assert.match(other.stderr, /\(jpeg 60, not none\)/);
  const [files] = await findScenes(out, "Test");
  const { exposures } = await readScene(files);
  assert.ok(exposures.every((codes) => codes.every((code) => code % 257 === 0)));
  assert.match(await readFile(join(out, "synthesis-Test.json"), "utf8"), /"jpeg": 60/);
});

test("the spacing of the exposures can be chosen", async () => {
  const out = join(folder, "spaced");
  const made = await run(source, "-o", out, "--count", "4", ...settings, "--spacing", "1.5", "2.5");
  assert.equal(made.code, 0, made.stderr);
  const spacings = (await Promise.all((await findScenes(out, "Training")).map(readScene))).map(
    ({ exposureValues }) => exposureValues[3] / 3,
  );
  assert.deepEqual([...new Set(spacings)].sort(), [1.5, 2.5]);
  const refused = await run(source, "-o", join(folder, "bad"), "--count", "1", ...settings, "--spacing", "7");
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /stops above 0, 6 at most/);
});

test("a wrong call ends with one clear message", async () => {
  for (const [from, more, wanted, pattern] of [
    [source, ["--exposures", "12"], 2, /option '--exposures <n>' argument '12' is invalid\. .* from 2 to 9\.\n/],
    [source, ["--size", "20000x20000"], 2, /option '--size <WxH>' .* each from 16 to 8192\.\n/],
    [join(folder, "none.hdr"), [], 1, /^smhdr: .*none\.hdr does not exist\.\n$/],
    [folder, [], 1, /^smhdr: .* is a folder; expected a file\.\n$/],
  ] as const) {
    const { code, stderr } = await run(from, "-o", join(folder, "bad"), "--count", "1", ...settings, ...more);
    assert.equal(code, wanted, stderr);
    assert.match(stderr, pattern);
  }
});
