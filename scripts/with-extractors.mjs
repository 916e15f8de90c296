// node scripts/with-extractors.mjs NETWORK OTHER OUT: the weights of NETWORK, with the extractors for other numbers of exposures that OTHER has.
import { writeFileSync } from "node:fs";
import { encodeSafetensors, readSafetensors } from "../dist/model/safetensors.js";

const [network, other, out] = process.argv.slice(2);
if (!out) throw new Error("Expected NETWORK OTHER OUT.");
const [own, extended] = await Promise.all([network, other].map(readSafetensors));
const tensors = new Map(own.tensors);
for (const [name, tensor] of extended.tensors) if (name.startsWith("extractors.")) tensors.set(name, tensor);
writeFileSync(out, encodeSafetensors(tensors, extended.metadata));
