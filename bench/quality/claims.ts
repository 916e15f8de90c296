// The paper's claims, tested small: npx tsx bench/quality/claims.ts [--seeds 3] [--epochs 16] [--json]
// 1. Masks: none, random, semantic with the curriculum; loss weights uniform or by quality; at equal budgets, on scenes like
//    those trained on (other seeds, same images) and on the public test images, which were never trained on.
// 2. Another number of exposures: an extractor fine-tuned for five against a network trained for five from scratch, at equal steps,
//    and against three of the five exposures.
// Small networks and minutes of training: what it shows is a direction, not the published figures.
// Data: $SMHDR_DATA or ../shared/data.
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { createNativeEngine } from "../../src/engine/native.js";
import { exposureCounts, modelFor } from "../../src/model/extractors.js";
import { FOLD_WEIGHT, plainFold, spreadFold } from "../../src/model/fold.js";
import { loadModel, type Model } from "../../src/model/model.js";
import { segmentPhotograph, smallestSegment } from "../../src/segment/segment-map.js";
import { makeConfig, type TrainConfig } from "../../src/train/config.js";
import type { Scene } from "../../src/train/dataset.js";
import { streamBrackets } from "../../src/train/synthesis/stream.js";
import { train } from "../../src/train/train.js";
import { mean, validate } from "../../src/train/validation.js";
import { writeScene } from "../../src/train/write-scene.js";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "3" },
    epochs: { type: "string", default: "16" },
    scenes: { type: "string", default: "24" },
    json: { type: "boolean", default: false },
  },
});
const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => i + 1);
const epochs = Number(values.epochs);
const count = Number(values.scenes);
const data = process.env.SMHDR_DATA ?? new URL("../../../shared/data", import.meta.url).pathname;
const test = /leadenhall|peppermint|st_peters|phalzer|potsdamer|lebombo|Desk|GoldenGate|CandleGlass/;
const skyOnly = /aristea_wreck|pmndrs_sky/;
const SIZE = 128;
const MEMORY = 2 ** 31;

async function images(ofTest: boolean): Promise<string[]> {
  const all = (
    await Promise.all(
      ["hdri", "exr"].map(async (folder) =>
        (await readdir(join(data, folder))).map((file) => join(data, folder, file)),
      ),
    )
  ).flat();
  return all.filter((path) => /\.(hdr|exr)$/.test(path) && test.test(path) === ofTest && !skyOnly.test(path));
}

interface Recipe {
  readonly sources: readonly string[];
  readonly exposures: number;
  readonly seed: number;
  readonly total: number;
}

async function* brackets({ sources, exposures, seed, total }: Recipe) {
  const options = { width: SIZE, height: SIZE, exposures, evSpacing: [exposures === 3 ? 2 : 1], motion: 1 };
  yield* streamBrackets({ sources, options, seed, workers: 2, first: 0, count: total });
}

/** A training set on disk, as smhdr synthesize writes it. */
async function writeSet(directory: string, recipe: Recipe): Promise<void> {
  const ids = Math.floor((SIZE * SIZE) / smallestSegment) + 2;
  let index = 0;
  for await (const bracket of brackets(recipe)) {
    const segments = segmentPhotograph(bracket.exposures[recipe.exposures >> 1], SIZE, SIZE, index * ids);
    await writeScene(join(directory, "Training", String(index++).padStart(5, "0")), bracket, segments);
  }
}

async function testScenes(recipe: Recipe): Promise<Scene[]> {
  const scenes: Scene[] = [];
  for await (const bracket of brackets(recipe))
    scenes.push({ name: `${scenes.length}`, ...bracket, segments: undefined });
  return scenes;
}

const network = { width: 24, stages: 2, blocks: 2, heads: 2, outputBias: -2, prior: false };
const masked = Math.round(epochs / 8);
const base = {
  network,
  curriculum: { plain: epochs - 2 * masked, rising: masked, falling: masked, peakRatio: 0.9, changing: true },
  ...{ patchesPerScene: 8, patch: 64, batch: 8, rate: { from: 2e-3, to: 2e-5, warmUp: 20 } },
  validation: { every: 0, scenes: 0 },
  checkpointMinutes: 1000,
} as const;
const unmasked = { plain: epochs, rising: 0, falling: 0, peakRatio: 0, changing: true };
const variants: Record<string, object> = {
  "no masks, uniform loss": { ...base, curriculum: unmasked, masks: "none", lossWeights: "uniform" },
  "no masks, weighted loss": { ...base, curriculum: unmasked, masks: "none", lossWeights: "quality" },
  "random masks, weighted loss": { ...base, masks: "random", lossWeights: "quality" },
  "semantic masks, constant ratio 0.75, weighted loss": {
    ...base,
    curriculum: { ...base.curriculum, peakRatio: 0.75, changing: false },
    ...{ masks: "semantic", lossWeights: "quality" },
  },
  "semantic masks, curriculum, uniform loss": { ...base, masks: "semantic", lossWeights: "uniform" },
  "semantic masks, curriculum, weighted loss": { ...base, masks: "semantic", lossWeights: "quality" },
};

async function quality(model: Model, exposures: number, scenes: readonly Scene[]): Promise<number> {
  const engine = createNativeEngine(modelFor(model, exposures), 2);
  return mean((await validate(scenes, engine, MEMORY, undefined, async () => {})).map(({ psnrMu }) => psnrMu));
}

/** Shortest, reference and longest of five. */
const threeOf = (scene: Scene): Scene => ({
  ...scene,
  exposures: [0, 2, 4].map((i) => scene.exposures[i]),
  exposureValues: [0, 2, 4].map((i) => scene.exposureValues[i]),
});

const show = (figures: readonly number[]) => {
  const m = mean(figures);
  const spread = Math.sqrt(mean(figures.map((v) => (v - m) ** 2)));
  return `${m.toFixed(2)} (${spread.toFixed(2)})`;
};

const folder = await mkdtemp(join(tmpdir(), "smhdr-claims-"));
const report = (row: Record<string, unknown>, line: string) => console.log(values.json ? JSON.stringify(row) : line);
try {
  const [training, unseen] = [await images(false), await images(true)];
  await writeSet(join(folder, "three"), { sources: training, exposures: 3, seed: 1, total: count });
  const like = await testScenes({ sources: training, exposures: 3, seed: 9001, total: 12 });
  const strange = await testScenes({ sources: unseen, exposures: 3, seed: 9002, total: 12 });
  const learn = async (config: TrainConfig, set: string, name: string, more: object = {}) => {
    const output = join(folder, name);
    await train({ output, data: join(folder, set), config, threads: 2, ...more });
    return loadModel(join(output, "model.safetensors"));
  };
  report(
    { part: "masks" },
    `masks and loss weights, ${seeds.length} seeds, ${epochs} epochs of ${count} scenes: PSNR-mu, mean (standard deviation)`,
  );
  let plain: Model | undefined;
  for (const [name, given] of Object.entries(variants)) {
    const figures: number[][] = [[], []];
    for (const seed of seeds) {
      const model = await learn(makeConfig({ ...given, seed }, "small"), "three", `${basename(name)}-${seed}`);
      if (seed === seeds[0]) plain ??= model;
      figures[0].push(await quality(model, 3, like));
      figures[1].push(await quality(model, 3, strange));
    }
    report(
      { variant: name, like: figures[0], unseen: figures[1] },
      `${name.padEnd(52)} like the training's ${show(figures[0])}   unseen images ${show(figures[1])}`,
    );
  }
  await writeSet(join(folder, "five"), { sources: training, exposures: 5, seed: 2, total: count });
  const five = await testScenes({ sources: unseen, exposures: 5, seed: 9003, total: 12 });
  const start = plain as Model;
  const schedule = { ...base, curriculum: unmasked, masks: "none", lossWeights: "uniform", exposures: 5 } as const;
  const scratch = await learn(makeConfig({ ...schedule, seed: 1 }, "small"), "five", "scratch5");
  const fold = spreadFold(plainFold(start.width, 3), 5);
  const model = { ...start, exposures: 5, tensors: new Map(start.tensors).set(FOLD_WEIGHT, fold) };
  const tuned = await learn(makeConfig({ ...schedule, seed: 1 }, "finetune"), "five", "tuned5", { base: start, model });
  const rows = {
    "three of the five, not fine-tuned": await quality(start, 3, five.map(threeOf)),
    "extractor fine-tuned for five": await quality(tuned, 5, five),
    "trained for five from scratch": await quality(scratch, 5, five),
  };
  report(
    { part: "exposures", counts: exposureCounts(tuned), rows },
    "\nfive exposures one stop apart, unseen images: PSNR-mu",
  );
  if (!values.json) for (const [name, db] of Object.entries(rows)) console.log(`${name.padEnd(40)} ${db.toFixed(2)}`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
