import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { hasOnnxRuntime } from "../../src/engine/onnx.js";
import { decodeNpy } from "../../src/segment/npy.js";
import { segmentWithSam } from "../../src/segment/sam/segmenter.js";
import { segmentPhotograph } from "../../src/segment/segment-map.js";
import { writeScene } from "../../src/train/write-scene.js";
import { decoder, encoder } from "./stand-in.js";

const program = fileURLToPath(new URL("../../src/cli/smhdr.ts", import.meta.url));
const skip = hasOnnxRuntime() ? false : "onnxruntime-node is not installed";
const [width, height] = [96, 64];
let folder: string;
let models: [string, string];

/** Two halves, which lie elsewhere in every scene; other exposures than the middle one have none. */
function photograph(scene: number): Uint16Array {
  return Uint16Array.from({ length: width * height * 3 }, (_, i) => {
    const left = Math.floor(i / 3) % width < 40 + 8 * scene;
    return 257 * (left ? [200, 252, 200] : [20, 253, 220])[i % 3];
  });
}

async function dataSet(name: string, scenes: readonly string[]): Promise<string> {
  const directory = join(folder, name);
  for (const [i, scene] of scenes.entries()) {
    const flat = new Uint16Array(width * height * 3).fill(30000);
    const bracket = {
      width,
      height,
      exposures: [flat, photograph(i), flat],
      exposureValues: [0, 2, 4],
      truth: new Float32Array(width * height * 3).fill(0.5),
      moving: new Uint8Array(width * height),
    };
    const none = { width, height, ids: new Float32Array(width * height), count: 1 };
    await writeScene(join(directory, scene), bracket, none);
  }
  return directory;
}

const readMap = async (directory: string, scene: string) =>
  decodeNpy(await readFile(join(directory, scene, "masks.npy")));

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-segment-"));
  models = [join(folder, "encoder.onnx"), join(folder, "decoder.onnx")];
  await writeFile(models[0], encoder({ size: width }));
  await writeFile(models[1], decoder({ size: width, batch: 1 }));
});
after(() => rm(folder, { recursive: true, force: true }));

function start(...args: string[]): ChildProcess {
  return spawn(process.execPath, ["--import", "tsx", program, "segment", ...args], {
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

test("the built-in segmenter maps every scene's middle exposure, with ids unique over the set", async () => {
  const directory = await dataSet("built-in", ["Training/a", "Training/b/deeper", "Test/c"]);
  const { code, stdout, stderr } = await run(directory);
  assert.equal(code, 0, stderr);
  assert.equal(stdout, `3 scenes of ${directory}: 6 segments\n`);
  let firstId = 0;
  for (const [i, scene] of ["Training/a", "Training/b/deeper", "Test/c"].entries()) {
    const { shape, data } = await readMap(directory, scene);
    const expected = segmentPhotograph(photograph(i), width, height, firstId);
    assert.deepEqual(shape, [height, width, 1]);
    assert.deepEqual(data, expected.ids);
    assert.equal(expected.count, 3);
    firstId += expected.count;
  }
  assert.deepEqual((await readdir(join(directory, "Training/a"))).sort(), [
    "0.tif",
    "1.tif",
    "2.tif",
    "HDRImg.hdr",
    "exposure.txt",
    "masks.npy",
  ]);
});

test("--sam maps them with a Segment Anything model, and remembers", { skip }, async () => {
  const directory = await dataSet("sam", ["Training/a", "Training/b"]);
  const expected = await segmentWithSam(
    { width, height, codes: photograph(1) },
    { encoder: models[0], decoder: models[1] },
    { firstId: 3, pointsPerSide: 8 },
  );
  for (const args of [
    [directory, "--sam", ...models],
    ["--sam", ...models, directory],
  ]) {
    const { code, stdout, stderr } = await run(...args, "--points-per-side", "8", "--json");
    assert.equal(code, 0, stderr);
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.deepEqual(lines.at(-1), { event: "result", folder: directory, scenes: 2, segments: 4, method: "sam" });
    assert.ok(lines.slice(0, -1).every(({ event, stage }) => event === "progress" && stage === "Segment"));
    assert.deepEqual((await readMap(directory, "Training/b")).data, expected.ids);
    assert.equal((await readdir(join(directory, ".segments"))).length, 2);
  }
});

test("Ctrl-C ends it between and within scenes, and leaves whole files", { skip }, async () => {
  const directory = await dataSet("stopped", ["Training/a"]);
  const child = start(directory, "--sam", ...models, "--points-per-side", "256", "--json");
  await new Promise<void>((resolve) => {
    child.stdout?.on("data", (text) => {
      if (/"fraction":0\.1/.test(String(text))) resolve();
    });
  });
  child.kill("SIGINT");
  const begun = performance.now();
  const [code] = await once(child, "close");
  assert.equal(code, 130);
  assert.ok(performance.now() - begun < 2000);
  assert.equal((await readdir(join(directory, "Training/a"))).length, 6);
  assert.ok((await readMap(directory, "Training/a")).data.every((id) => id === 0)); // as it was
});

test("models that are not there are named", { skip }, async () => {
  const directory = await dataSet("models", ["Training/a"]);
  for (const more of [[], ["--no-cache"]]) {
    const { code, stderr } = await run(directory, "--sam", "none.onnx", "none too.onnx", ...more);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /^smhdr: none( too)?\.onnx does not exist\.\n$/);
  }
});

test("a wrong call ends with one clear message", async () => {
  for (const [args, exit, message] of [
    [[join(folder, "nothing")], 1, /nothing does not exist\.\n$/],
    [[folder], 1, /expected a data set with a folder Training, Test or both\.\n$/],
    [[folder, "--sam", models[0]], 2, /--sam: expected two files/],
    [["--stability", "2", folder], 2, /number from 0 to 1/],
  ] as const) {
    const { code, stderr } = await run(...args);
    assert.equal(code, exit, stderr);
    assert.match(stderr, message);
  }
});
