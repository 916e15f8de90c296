import assert from "node:assert/strict";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadAddon } from "../../src/engine/addon.js";
import { createNativeEngine } from "../../src/engine/native.js";
import { type ErrorCode, SmhdrError } from "../../src/errors.js";
import { loadModel } from "../../src/model/model.js";
import { writeOpenExr } from "../../src/output/write-openexr.js";
import { encodeNpy } from "../../src/segment/npy.js";
import { readCheckpoint, writeCheckpoint } from "../../src/train/checkpoint.js";
import type { TrainConfig } from "../../src/train/config.js";
import { findScenes, readScene } from "../../src/train/dataset.js";
import { type Metric, readMetrics } from "../../src/train/metrics.js";
import { reconstructScene } from "../../src/train/reconstruct-scene.js";
import { type TrainOptions, train } from "../../src/train/train.js";
import { sceneHeight, sceneWidth, tinyConfig, writeSources, writeTrainingSet } from "./training-set.js";

let root: string;
let data: string;
let runs = 0;
const newRun = () => join(root, `run${runs++}`);

before(async () => {
  root = await mkdtemp(join(tmpdir(), "smhdr-train-"));
  data = join(root, "data");
  await writeTrainingSet(data);
});
after(() => rm(root, { recursive: true, force: true }));

function fails(code: ErrorCode, ...patterns: RegExp[]) {
  return (error: unknown) => {
    assert.ok(error instanceof SmhdrError, String(error));
    assert.equal(error.code, code, error.message);
    for (const pattern of patterns) assert.match(error.message, pattern);
    return true;
  };
}

const steps = (metrics: readonly Metric[]) => metrics.filter((metric) => metric.event === "step");
/** All that a run computed: the model, and the metrics without their times. */
async function outcome(run: string) {
  const metrics = await readMetrics(join(run, "metrics.jsonl"));
  const { state, quality, position } = await readCheckpoint(join(run, "checkpoint.safetensors"));
  return {
    model: await readFile(join(run, "model.safetensors")),
    ...{ state, quality, position: { ...position, seconds: 0 } },
    metrics: metrics.map((metric) => ({ ...metric, secondsPerStep: 0 })),
  };
}

/** Trains, stopping after each of `stops` steps and going on. */
async function trainInParts(options: TrainOptions, stops: readonly number[]): Promise<void> {
  for (const [i, stop] of stops.entries()) {
    const controller = new AbortController();
    const part = train({
      ...options,
      ...(i > 0 && { resume: true, config: undefined }),
      threads: 1,
      signal: controller.signal,
      onProgress: (_, { step }) => {
        if (step >= stop) controller.abort();
      },
    });
    await assert.rejects(part, fails("CANCELLED", /checkpoint\.safetensors/, /--resume/));
  }
  await train({ ...options, config: undefined, resume: true });
}

test("products of bfloat16 train nearly as those of float32 do, where the processor has them", async () => {
  const trained = async (precision: TrainConfig["precision"]) => {
    const output = newRun();
    const config = tinyConfig({ dropPath: 0, patchesPerScene: 6, precision });
    await train({ data, output, config });
    return steps(await readMetrics(join(output, "metrics.jsonl"))).map((metric) => metric.loss as number);
  };
  if (!loadAddon().cpuInfo().bf16) {
    await assert.rejects(trained("bf16"), fails("UNSUPPORTED", /precision/, /bfloat16/));
    return;
  }
  const [exact, rounded] = [await trained("fp32"), await trained("bf16")];
  assert.notDeepEqual(rounded, exact);
  for (const [i, loss] of rounded.entries())
    assert.ok(Math.abs(loss - exact[i]) < 0.1 * exact[i], `step ${i + 1}: ${loss}, ${exact[i]}`);
});

test("a tiny network learns, and its model is one", async () => {
  const output = newRun();
  const fractions: number[] = [];
  const notes: string[] = [];
  const result = await train({
    ...{ data, output, config: tinyConfig({ dropPath: 0, patchesPerScene: 12 }) },
    onProgress: (fraction) => fractions.push(fraction),
    onNote: (message) => notes.push(message),
  });
  const metrics = await readMetrics(join(output, "metrics.jsonl"));
  const losses = steps(metrics).map((metric) => metric.loss as number);
  assert.equal(losses.length, 63);
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b) / values.length;
  assert.ok(mean(losses.slice(-9)) < 0.5 * mean(losses.slice(0, 3)), losses.join(" "));
  assert.equal(result.position.steps, 63);
  assert.equal(fractions.at(-1), 1);
  assert.deepEqual(notes, []);

  const validations = metrics.filter((metric) => metric.event === "validation");
  assert.deepEqual(
    validations.map(({ epoch }) => epoch),
    [3, 6, 7],
  );
  assert.equal(result.psnrMu, validations[2].psnrMu);
  assert.deepEqual(
    metrics.filter((metric) => metric.event === "quality").map(({ epoch }) => epoch),
    [5, 6, 7],
  );
  assert.deepEqual(
    [...new Set(steps(metrics).map((metric) => metric.maskRatio))],
    [0, 0.9],
    "the ratio of epochs 1 to 5 and 7, and of 6",
  );
  const pictures = await readdir(join(output, "pictures"));
  assert.deepEqual(
    pictures.filter((name) => name.startsWith("scene")),
    ["scene-0-epoch-00003.png", "scene-0-epoch-00006.png", "scene-0-epoch-00007.png"],
  );
  assert.equal(pictures.filter((name) => name.startsWith("maps-")).length, 6);

  const model = await loadModel(join(output, "model.safetensors"));
  assert.deepEqual([model.width, model.exposures], [12, 3]);
  const [files] = await findScenes(data, "Test");
  const scene = await readScene(files);
  const whole = await reconstructScene(scene, createNativeEngine(model, 1), 2 ** 30);
  assert.equal(whole.length, sceneWidth * sceneHeight * 3);
  assert.ok(whole.every((v) => v >= 0 && v <= 1));
  await assert.rejects(train({ data, output, config: tinyConfig() }), fails("INVALID_ARGUMENT", /already holds/));
});

test("stopped anywhere and gone on with, a run arrives at the same bits", async () => {
  const config = tinyConfig();
  const whole = newRun();
  await train({ data, output: whole, config });
  const parts = newRun();
  // In an epoch, at an epoch's end, with masks, and one step before the last.
  await trainInParts({ data, output: parts, config }, [2, 6, 16, 20]);
  assert.deepEqual(await outcome(parts), await outcome(whole));
  // A finished run stays as it is.
  await train({ data, output: parts, resume: true });
  assert.deepEqual(await outcome(parts), await outcome(whole));
});

test("so does a run whose scenes are made on the way", async () => {
  const sources = await writeSources(root);
  const config = tinyConfig({
    synthesis: { scenes: 3, size: 48, evSpacing: [2], response: 0.1, motion: 0.9, iso: [100, 6400], truth: "merged" },
    masks: "random",
    perceptual: "vgg",
    lossWeights: "uniform",
    scenesAtOnce: 2,
  });
  const vgg = new URL("../golden/perceptual.safetensors", import.meta.url).pathname;
  const whole = newRun();
  await train({ sources, output: whole, config, vgg });
  const parts = newRun();
  await trainInParts({ sources, output: parts, config, vgg }, [5, 17]);
  assert.deepEqual(await outcome(parts), await outcome(whole));
  const [first] = steps(await readMetrics(join(whole, "metrics.jsonl")));
  assert.ok((first.perceptualLoss as number) > 0);
  await assert.rejects(
    train({ sources, output: newRun(), config }),
    fails("INVALID_ARGUMENT", /--vgg FILE/, /"structure"/),
  );
});

test("a new network begins near its prior, and its gate's weight keeps the gate from opening for good", async () => {
  const { network, curriculum } = tinyConfig();
  const changes = {
    network: { ...network, prior: true },
    curriculum: { ...curriculum, plain: 4, rising: 0, falling: 0 },
  };
  const run = async (gateWeight: number) => {
    const output = newRun();
    await train({ data, output, config: tinyConfig({ ...changes, dropPath: 0, gateWeight }) });
    const { state } = await readCheckpoint(join(output, "checkpoint.safetensors"));
    const [first] = steps(await readMetrics(join(output, "metrics.jsonl")));
    return { loss: first.loss as number, gate: state.parameters["conv_end.bias"].data[3] };
  };
  const [free, held] = [await run(0), await run(10)];
  const begun = Math.log(0.8 / 0.2);
  assert.ok(held.gate < begun && begun < free.gate, `${held.gate}, ${begun}, ${free.gate}`);
  // Half of ten times the squared logit that it begins with.
  assert.ok(Math.abs(held.loss - free.loss - 5 * begun ** 2) < 1e-3, `${held.loss}, ${free.loss}`);
});

test("a model's weights are where training begins, and only what is named is trained", async () => {
  const first = newRun();
  const short = tinyConfig({ curriculum: { ...tinyConfig().curriculum, plain: 1, rising: 0, falling: 0 } });
  await train({ data, output: first, config: short });
  const model = await loadModel(join(first, "model.safetensors"));
  const second = newRun();
  await train({ data, output: second, config: { ...short, trained: ["conv_first."], averageDecay: 0 }, model });
  const after = await loadModel(join(second, "model.safetensors"));
  for (const [name, { data: values }] of after.tensors) {
    const before = model.tensors.get(name)?.data;
    if (name.startsWith("conv_first.")) assert.notDeepEqual(values, before, name);
    else assert.deepEqual(values, before, name);
  }
  await assert.rejects(
    train({ data, output: newRun(), config: { ...short, trained: ["nothing"] }, model }),
    fails("INVALID_ARGUMENT", /nothing/),
  );
  await assert.rejects(
    train({ data, output: newRun(), config: short, model: { ...model, exposures: 5 } }),
    fails("INVALID_ARGUMENT", /for 3 exposures/),
  );
  const damaged = new Map(model.tensors);
  damaged.delete("norm.bias");
  await assert.rejects(
    train({ data, output: newRun(), config: short, model: { ...model, tensors: damaged } }),
    fails("INVALID_ARGUMENT", /norm\.bias/),
  );
});

test("a checkpoint of another configuration or other scenes is refused", async () => {
  const output = newRun();
  const config = tinyConfig();
  const controller = new AbortController();
  await assert.rejects(
    train({ ...{ data, output, config, signal: controller.signal }, onProgress: () => controller.abort() }),
    fails("CANCELLED", /after 1 steps/),
  );
  const resume = (changes: Partial<TrainOptions>) => train({ data, output, resume: true, ...changes });
  await assert.rejects(
    resume({ config: tinyConfig({ batch: 2 }) }),
    fails("INVALID_ARGUMENT", /another configuration/, /batch \(2, not 4\)/),
  );
  await assert.rejects(
    resume({ config: tinyConfig({ network: { ...config.network, width: 24 } }) }),
    fails("INVALID_ARGUMENT", /network\.width \(24, not 12\)/),
  );
  const other = join(root, "other");
  await cp(join(data, "Training", "a"), join(other, "Training", "z"), { recursive: true });
  await assert.rejects(resume({ data: other }), fails("INVALID_ARGUMENT", /other scenes/));
  await assert.rejects(train({ data, output: newRun(), resume: true }), fails("IO", / does not exist\.$/));
  await assert.rejects(
    train({ data, output: other, resume: true }),
    fails("IO", /a training run, with a config\.json/),
  );
  await assert.rejects(train({ output: newRun() }), fails("INVALID_ARGUMENT", /--data/));
  // Of the many things a file can be.
  const checkpoint = join(output, "checkpoint.safetensors");
  const bytes = await readFile(checkpoint);
  await writeFile(checkpoint, bytes.subarray(0, bytes.length >> 1));
  await assert.rejects(resume({}), fails("BAD_INPUT", /checkpoint\.safetensors/));
  await writeFile(checkpoint, await readFile(join(output, "model.safetensors")));
  await assert.rejects(resume({}), fails("BAD_INPUT", /expected a training checkpoint/));
  // What changes nothing that is computed may change.
  await writeFile(checkpoint, bytes);
  await resume({ config: tinyConfig({ checkpointMinutes: 3, validation: { every: 0, scenes: 0 } }) });
});

test("a checkpoint that cannot be completed leaves the one before", async () => {
  const output = newRun();
  const config = tinyConfig({ curriculum: { ...tinyConfig().curriculum, plain: 1, rising: 0, falling: 0 } });
  await train({ data, output, config });
  const path = join(output, "checkpoint.safetensors");
  const before = await readFile(path);
  const checkpoint = await readCheckpoint(path);
  const full = async (file: string, bytes: Uint8Array) => {
    await writeFile(file, bytes.subarray(0, 1000));
    throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
  };
  await assert.rejects(writeCheckpoint(path, checkpoint, full), fails("IO", /checkpoint\.safetensors.*no space left/));
  assert.deepEqual(await readFile(path), before);
  assert.deepEqual(
    (await readdir(output)).filter((name) => name.endsWith(".tmp")),
    [],
  );
});

test("bad data sets are refused before anything is written", async () => {
  let copies = 0;
  const changed = async (change: (scene: string) => Promise<unknown>, config: TrainConfig = tinyConfig()) => {
    const directory = join(root, `bad${copies++}`);
    await cp(data, directory, { recursive: true });
    await change(join(directory, "Training", "b"));
    const output = newRun();
    try {
      await train({ data: directory, output, config });
    } finally {
      await assert.rejects(readdir(output));
    }
  };
  await assert.rejects(
    changed((scene) => rm(join(scene, "masks.npy"))),
    fails("BAD_INPUT", /b: masks\.npy is missing/, /smhdr segment/),
  );
  await assert.rejects(
    changed((scene) => rm(join(scene, "HDRImg.hdr"))),
    fails("BAD_INPUT", /HDRImg\.hdr/),
  );
  await assert.rejects(
    changed((scene) => writeFile(join(scene, "exposure.txt"), "0\n2\n")),
    fails("BAD_INPUT", /expected 3 exposure values/),
  );
  await assert.rejects(
    changed((scene) => writeFile(join(scene, "masks.npy"), encodeNpy(new Float32Array(16), [4, 4, 1]))),
    fails("BAD_INPUT", /masks\.npy/, /\(4, 4, 1\)/),
  );
  for (const [value, pattern] of [
    [-1, /-1 at pixel/],
    [Number.NaN, /NaN at pixel/],
    [Number.POSITIVE_INFINITY, /Infinity at pixel/],
  ] as const)
    await assert.rejects(
      changed(async (scene) => {
        const pixels = new Float32Array(sceneWidth * sceneHeight * 3).fill(0.5);
        pixels[77] = -1;
        const encoding = { transfer: "linear", primaries: "srgb" } as const;
        const path = join(scene, "HDRImg.hdr");
        await rm(path);
        await writeOpenExr(
          { width: sceneWidth, height: sceneHeight, channels: 3, data: pixels, encoding, metadata: {} },
          path,
          { precision: "float", compression: "none" },
        );
        // The writer makes everything finite, so what is not goes into the file's bytes.
        const bytes = await readFile(path);
        bytes.writeFloatLE(value, bytes.lastIndexOf(Buffer.from(Float32Array.of(-1).buffer)));
        await writeFile(path, bytes);
      }),
      fails("BAD_INPUT", /HDRImg\.hdr/, pattern),
    );
  await assert.rejects(
    changed((scene) => cp(join(scene, "1.tif"), join(scene, "0.tif")).then(() => rm(join(scene, "2.tif")))),
    fails("BAD_INPUT", /expected 2 exposure values/),
  );
  await assert.rejects(
    changed(
      async () => {},
      tinyConfig({
        patch: 64,
        synthesis: { scenes: 1, size: 64, evSpacing: [], response: 0.1, motion: 0.9, iso: [100, 6400], truth: "scene" },
      }),
    ),
    fails("BAD_INPUT", /64x64 pixels for a patch, got 72x56/),
  );
  await assert.rejects(
    changed(async () => {}, tinyConfig({ exposures: 5 })),
    fails("BAD_INPUT", /expected 5 exposures/),
  );
  // Without masks and weights no segments are needed.
  const output = newRun();
  const plain = join(root, "plain");
  await cp(data, plain, { recursive: true, filter: (path) => !path.endsWith("masks.npy") && !path.endsWith("Test") });
  const notes: string[] = [];
  const config = tinyConfig({ masks: "random", lossWeights: "uniform", perceptual: "none", scenesAtOnce: 1 });
  await train({ data: plain, output, config, onNote: (message) => notes.push(message) });
  assert.match(notes.join(), /Test to validate on/);
});
