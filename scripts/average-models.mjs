// node scripts/average-models.mjs A B OUT [SHARE]: SHARE (0.5) of B's weights and the rest of A's, which often has the better part of
// both where one went on from the other (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022). Where B went on with a
// prior, A gets one as training gave it.
import { writeFileSync } from "node:fs";
import { FIRST_GATE, hasPrior, withPrior } from "../dist/model/prior.js";
import { encodeSafetensors, readSafetensors } from "../dist/model/safetensors.js";

const [first, second, out, given = "0.5"] = process.argv.slice(2);
const share = Number(given);
if (!out || !(share >= 0 && share <= 1)) throw new Error("Expected A B OUT and possibly a share, 0 to 1.");
const [a, b] = await Promise.all([first, second].map(readSafetensors));
const { exposures } = b.metadata;
const before =
  hasPrior(b.tensors) && !hasPrior(a.tensors) ? withPrior(a.tensors, Number(exposures), FIRST_GATE.learnt) : a.tensors;
const tensors = new Map();
for (const [name, { shape, data }] of b.tensors) {
  const other = before.get(name);
  if (other?.shape.join() !== shape.join()) throw new Error(`${name}: the models differ in shape.`);
  tensors.set(name, { shape, data: data.map((value, i) => share * value + (1 - share) * other.data[i]) });
}
writeFileSync(out, encodeSafetensors(tensors, exposures ? { exposures } : {}));
