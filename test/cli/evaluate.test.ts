import assert from "node:assert/strict";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { compare, type Measures } from "../../src/measure/compare.js";
import { segmentPhotograph } from "../../src/segment/segment-map.js";
import { findScenes, readScene } from "../../src/train/dataset.js";
import { mergeScene, referenceAlone } from "../../src/train/restore-scene.js";
import { synthesizeBracket } from "../../src/train/synthesis/synthesize.js";
import { writeScene } from "../../src/train/write-scene.js";
import { madeUpSources } from "../train/sources.js";
import { jsonLines, smhdr } from "./process.js";

const model = fileURLToPath(new URL("../golden/D_weights.safetensors", import.meta.url));
let folder: string;
let data: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-evaluate-"));
  data = join(folder, "data");
  for (const [i, exposures] of [3, 5].entries()) {
    const bracket = synthesizeBracket(madeUpSources, { width: 40, height: 24, exposures, bits: 16 }, i + 1);
    const segments = segmentPhotograph(bracket.exposures[exposures >> 1], 40, 24);
    await writeScene(join(data, "Test", `scene ${i}`), bracket, segments);
  }
});
after(() => rm(folder, { recursive: true, force: true }));

const keys = ["psnrL", "psnrMu", "ssimL", "ssimMu", "psnrPu21"] as const;

async function expected(
  restore: (scene: Awaited<ReturnType<typeof readScene>>) => Float32Array | Promise<Float32Array>,
) {
  const all: Measures[] = [];
  for (const files of await findScenes(data, "Test")) {
    const scene = await readScene(files);
    const picture = (values: Float32Array) =>
      ({ ...scene, channels: 3, data: values, encoding: { transfer: "linear", primaries: "srgb" } }) as const;
    all.push(compare(picture(await restore(scene)), picture(scene.truth)));
  }
  return all;
}

for (const [method, restore] of [
  ["reference", referenceAlone],
  [
    "radiance",
    (scene: Parameters<typeof mergeScene>[0]) =>
      mergeScene(scene, { align: "auto", follow: "auto", memory: 2 ** 31, tile: "auto", threads: 1 }),
  ],
] as const) {
  test(`--method ${method}: every scene's measures, then their means`, async () => {
    const { code, stdout, stderr } = await smhdr("evaluate", data, "--method", method, "--json", "--threads", "1");
    assert.equal(code, 0, stderr);
    const lines = jsonLines(stdout).filter(({ event }) => event === "result");
    const all = await expected(restore);
    assert.deepEqual(
      lines.map(({ scene, mean }) => scene ?? mean),
      ["scene 0", "scene 1", true],
    );
    for (const key of keys) {
      for (const [i, measures] of all.entries()) assert.equal(lines[i][key], measures[key]);
      assert.equal(lines[2][key], (all[0][key] + all[1][key]) / 2);
    }
    for (const { align } of lines) assert.equal(align, method === "radiance" ? "auto" : "none");
  });
}

test("a model that sees its merge is given aligned photographs, unless told otherwise", async () => {
  for (const [args, align] of [
    [[], "auto"],
    [["--align", "none"], "none"],
  ] as const) {
    const { code, stdout, stderr } = await smhdr("evaluate", data, ...args, "--json", "--threads", "1");
    assert.equal(code, 0, stderr);
    const results = jsonLines(stdout).filter(({ event }) => event === "result");
    assert.deepEqual([results.at(-1)?.label, results.at(-1)?.align], ["smhdr-s", align]);
  }
});

test("a model's table, with a note where it leaves exposures out", async () => {
  const { code, stdout, stderr } = await smhdr("evaluate", data, "--model", model, "--threads", "1");
  assert.equal(code, 0, stderr);
  const lines = stdout.trimEnd().split("\n");
  assert.equal(lines.length, 4);
  assert.ok(lines[0].startsWith(`${model}, align none `), lines[0]);
  assert.match(lines[0], / PSNR-l +PSNR-mu +SSIM-l +SSIM-mu +PU21-PSNR$/);
  const [first, second, mean] = lines.slice(1).map((line) => line.trim().split(/\s+/).slice(2).map(Number));
  assert.match(lines[3], /^mean of 2 /);
  const means = mean.slice(1); // after "of 2"
  for (const [i, value] of means.entries()) assert.ok(Math.abs(value - (first[i] + second[i]) / 2) < 0.011);
  assert.match(stderr, /takes 3 exposures.*Of these 5, image 1, image 3 and image 5 are used/);
});

test("wrong calls and bad data sets get one clear error", async () => {
  const refused = async (code: number, message: RegExp, ...args: string[]) => {
    const result = await smhdr("evaluate", ...args);
    assert.equal(result.code, code, result.stderr);
    assert.match(result.stderr, message);
  };
  await refused(2, /method "reference" uses no model/, data, "--method", "reference", "--model", model);
  await refused(2, /expected.*one of/, data, "--model", "nonesuch");
  const missing = /data: expected a data set with a folder Training\.$/m;
  await refused(1, missing, data, "--split", "Training", "--method", "reference");
  await refused(1, /Test: expected a data set with a folder Test\.$/m, join(data, "Test"), "--method", "reference");
  await refused(1, /nowhere does not exist\.$/m, join(folder, "nowhere"), "--method", "reference");
  const changed = join(folder, "changed");
  await cp(data, changed, { recursive: true });
  await writeFile(join(changed, "Test", "scene 1", "exposure.txt"), "0\n2\n");
  await refused(1, /scene 1.exposure\.txt: expected 5 exposure values.*got 2/, changed, "--method", "reference");
  await rm(join(changed, "Test", "scene 1", "HDRImg.hdr"));
  await refused(1, /scene 1: the HDR truth is missing/, changed, "--model", model);
});
