// How far bf16 is from fp32: npx tsx bench/quality/precision.ts [--size 384] [--models smhdr,smhdr-s]
// The network's results on a cut from the middle of every real bracket, PSNR after the mu-law of one against the other.
// Data: $SMHDR_DATA or ../shared/data. Needs a processor with AVX-512 BF16.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { readBracket } from "../../src/bracket/read-bracket.js";
import { createNativeEngine } from "../../src/engine/native.js";
import { muLaw } from "../../src/measure/mu-law.js";
import { psnr } from "../../src/measure/psnr.js";
import { loadModel } from "../../src/model/model.js";
import { hasPrior } from "../../src/model/prior.js";
import { bestCount, networkExposures } from "../../src/reconstruct/network.js";
import { mergeRadiance } from "../../src/reconstruct/radiance.js";
import { mergeSampler } from "../../src/reconstruct/sampler.js";

const { values } = parseArgs({
  options: { size: { type: "string", default: "384" }, models: { type: "string", default: "smhdr,smhdr-s" } },
});
const MEMORY = 2 * 2 ** 30;
const root = new URL("../../", import.meta.url).pathname;
const folder = join(process.env.SMHDR_DATA ?? join(root, "../shared/data"), "brackets");
const size = Number(values.size);
for (const name of values.models.split(",")) {
  const model = await loadModel(name);
  const prior = hasPrior(model.tensors);
  const [exact, fast] = [createNativeEngine(model, 0, "fp32"), createNativeEngine(model, 0, "bf16")];
  let least = Number.POSITIVE_INFINITY;
  for (const scene of (await readdir(folder)).sort()) {
    const files = (await readdir(join(folder, scene))).filter((file) => /\.(jpe?g|png|tiff?)$/i.test(file));
    if (files.length < model.exposures) continue;
    const bracket = await readBracket(files.map((file) => join(folder, scene, file)));
    if (bestCount(bracket, { counts: [model.exposures], prior }) === undefined) continue;
    const side = (length: number) => Math.min(size, Math.floor(length / 8) * 8);
    const [width, height] = [side(bracket.width), side(bracket.height)];
    const region = { x: (bracket.width - width) >> 1, y: (bracket.height - height) >> 1, width, height };
    const { samplers, mergeScale } = networkExposures(bracket, { exposures: model.exposures, prior });
    if (prior) samplers.push(mergeSampler(await mergeRadiance(bracket, { memory: MEMORY }), mergeScale));
    const exposures: Float32Array[] = [];
    for (const sampler of samplers) {
      exposures.push(new Float32Array(width * height * 6));
      await sampler.read(region, exposures[exposures.length - 1]);
    }
    bracket.close();
    const input = { exposures, batch: 1, height, width };
    const db = psnr(await fast.run(input), await exact.run(input), muLaw);
    least = Math.min(least, db);
    console.log(`${name}\t${scene}\t${width}x${height}\t${db.toFixed(1)} dB`);
  }
  console.log(`${name}\tleast\t\t${least.toFixed(1)} dB`);
}
