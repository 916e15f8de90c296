// node scripts/average-models.mjs A B OUT: the mean of two models' weights, which often has the better part of both where one went
// on from the other (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).
import { writeFileSync } from "node:fs";
import { encodeSafetensors, readSafetensors } from "../dist/model/safetensors.js";

const [first, second, out] = process.argv.slice(2);
const [a, b] = await Promise.all([first, second].map(readSafetensors));
const tensors = new Map();
for (const [name, { shape, data }] of b.tensors) {
  const other = a.tensors.get(name);
  if (other?.shape.join() !== shape.join()) throw new Error(`${name}: the models differ in shape.`);
  tensors.set(name, { shape, data: data.map((value, i) => (value + other.data[i]) / 2) });
}
const { exposures } = b.metadata;
writeFileSync(out, encodeSafetensors(tensors, exposures ? { exposures } : {}));
