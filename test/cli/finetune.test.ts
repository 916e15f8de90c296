import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { exposureCounts, modelFor } from "../../src/model/extractors.js";
import { loadModel } from "../../src/model/model.js";
import { segmentPhotograph } from "../../src/segment/segment-map.js";
import { synthesizeBracket } from "../../src/train/synthesis/synthesize.js";
import { writeScene } from "../../src/train/write-scene.js";
import { madeUpSources } from "../train/sources.js";
import { jsonLines, smhdr } from "./process.js";

const model = fileURLToPath(new URL("../golden/D_weights.safetensors", import.meta.url));
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-finetune-"));
  for (const exposures of [4, 2]) {
    for (const [i, split] of ["Training", "Training", "Test"].entries()) {
      const bracket = synthesizeBracket(madeUpSources, { width: 32, height: 32, exposures, bits: 16 }, 10 + i);
      const segments = segmentPhotograph(bracket.exposures[exposures >> 1], 32, 32);
      await writeScene(join(folder, `data${exposures}`, split, `scene ${i}`), bracket, segments);
    }
  }
  const config = {
    curriculum: { plain: 6, rising: 0, falling: 0, peakRatio: 0 },
    ...{ patchesPerScene: 4, patch: 24, batch: 4, averageDecay: 0, metricsEvery: 1 },
    rate: { from: 3e-3, to: 3e-4, warmUp: 0 },
    validation: { every: 3, scenes: 1 },
  };
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
});
after(() => rm(folder, { recursive: true, force: true }));

const finetune = (from: string, exposures: number, run: string, ...more: string[]) =>
  smhdr(
    ...[
      "finetune",
      "--model",
      from,
      "--exposures",
      `${exposures}`,
      "-o",
      join(folder, run),
      "--threads",
      "1",
      "--json",
    ],
    ...["--data", join(folder, `data${exposures}`), ...more],
  );

test("finetune trains an extractor alone, for another number of exposures, and the model carries it", async () => {
  const config = ["--config", join(folder, "config.json")];
  const base = await loadModel(model);
  const first = await finetune(model, 4, "run4", ...config);
  assert.equal(first.code, 0, first.stderr);
  const result = jsonLines(first.stdout).find(({ event }) => event === "result");
  assert.deepEqual(result?.exposures, [3, 4]);
  assert.equal(result?.steps, 12);

  const path = join(folder, "run4", "model.safetensors");
  const four = await loadModel(path);
  assert.deepEqual(exposureCounts(four), [3, 4]);
  assert.deepEqual(modelFor(four, 3).tensors, base.tensors);
  const trained = modelFor(four, 4).tensors;
  for (const [name, tensor] of base.tensors) {
    if (name.startsWith("conv_first.")) assert.notDeepEqual(trained.get(name)?.data, tensor.data, name);
    else assert.deepEqual(trained.get(name), tensor, name);
  }
  const metrics = (await readFile(join(folder, "run4", "metrics.jsonl"), "utf8")).trim().split("\n");
  const losses = metrics.map((line) => JSON.parse(line).loss).filter((loss) => loss !== undefined);
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  assert.ok(mean(losses.slice(-4)) < mean(losses.slice(0, 4)), `${losses}`);

  // The next extractor joins the first; merging and measuring use the one that fits.
  const second = await finetune(path, 2, "run2", ...config);
  assert.equal(second.code, 0, second.stderr);
  const both = await loadModel(join(folder, "run2", "model.safetensors"));
  assert.deepEqual(exposureCounts(both), [2, 3, 4]);
  assert.deepEqual(modelFor(both, 4).tensors, trained);
  const measured = await smhdr("evaluate", join(folder, "data4"), "--model", path, "--json", "--threads", "1");
  assert.equal(measured.code, 0, measured.stderr);
  const lines = jsonLines(measured.stdout);
  assert.ok(!lines.some(({ event }) => event === "note"));
  const apart = Math.abs(Number(lines.at(-1)?.psnrMu) - Number(result?.psnrMu));
  assert.ok(apart < 0.5, `${apart} dB`); // padded to 16 there, to 128 here

  // A finished run goes on to the same model; another model or number is refused.
  await cp(join(folder, "run4"), join(folder, "again"), { recursive: true });
  const again = await finetune(model, 4, "again", "--resume");
  assert.equal(again.code, 0, again.stderr);
  assert.deepEqual((await loadModel(join(folder, "again", "model.safetensors"))).tensors, four.tensors);
  const other = await finetune("smhdr-s", 4, "again", "--resume");
  assert.equal(other.code, 2);
  assert.match(other.stderr, /begun with another model than smhdr-s/);
  const count = await finetune(model, 2, "again", "--resume");
  assert.equal(count.code, 2);
  assert.match(count.stderr, /begun for 4; got 2/);
});

test("wrong calls are refused before anything is written", async () => {
  for (const [count, message] of [
    ["1", /2 or more/],
    ["10", /from 2 to 9/],
  ] as const) {
    const { code, stderr } = await finetune(model, Number(count), "none");
    assert.equal(code, 2);
    assert.match(stderr, message);
  }
  const mixed = await smhdr(
    ...["finetune", "--model", model, "--exposures", "3", "--data", join(folder, "data4"), "-o", join(folder, "none")],
    ...["--config", join(folder, "config.json")],
  );
  assert.equal(mixed.code, 1);
  assert.match(mixed.stderr, /scene 0: expected 3 exposures as the configuration says, found 4/);
  await assert.rejects(readFile(join(folder, "none", "config.json")), { code: "ENOENT" });
});
