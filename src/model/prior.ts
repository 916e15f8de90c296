import { FOLD_WEIGHT, plainFold } from "./fold.js";
import type { StoredTensor } from "./safetensors.js";

// A network with a prior gives, pixel by pixel, its own radiance or that of the merge without a network, which it takes as one
// more exposure, the last. conv_end has a fourth output, the gate between them (PriorArgs in native/ops/ops.h), and the learnt
// fold (fold.ts) takes the merge's features in.

/** The radiances that keep the logits of black and of white finite; the kernels' (native/ops/prior.h). */
export const PRIOR_BLACK = 1 / 5000;
export const PRIOR_WHITE = 1 / 200;

/** How open the gate is at the beginning: of a network that has learnt to make radiance, and of a drawn one. */
export const FIRST_GATE = { learnt: 0.1, drawn: 0.8 } as const;

export function hasPrior(tensors: ReadonlyMap<string, StoredTensor>): boolean {
  return tensors.get("conv_end.bias")?.shape[0] === 4;
}

/**
 * The network with a prior beside its own radiance, and the same gate, 0 to 1, everywhere. What has learnt to do without goes on
 * as it is, the prior unseen at first; a drawn network sees it from the start.
 */
export function withPrior(
  weights: ReadonlyMap<string, StoredTensor>,
  exposures: number,
  gate: number,
  body: "seen" | "unseen" = "unseen",
): ReadonlyMap<string, StoredTensor> {
  const out = new Map(weights);
  for (const [name, last] of [
    ["conv_end.weight", 0],
    ["conv_end.bias", Math.log(gate / (1 - gate))],
  ] as const) {
    const tensor = weights.get(name);
    if (!tensor) continue;
    const data = new Float32Array((tensor.data.length / 3) * 4).fill(last);
    data.set(tensor.data);
    out.set(name, { shape: [4, ...tensor.shape.slice(1)], data });
  }
  const width = weights.get("conv_first.0.weight")?.shape[0] ?? 0;
  return out.set(FOLD_WEIGHT, plainFold(width, exposures, body));
}

/** The network's own radiance alone: it takes the exposures without a merge. */
export function withoutPrior(weights: ReadonlyMap<string, StoredTensor>): ReadonlyMap<string, StoredTensor> {
  const out = new Map(weights);
  for (const name of ["conv_end.weight", "conv_end.bias"]) {
    const tensor = weights.get(name);
    if (tensor)
      out.set(name, { shape: [3, ...tensor.shape.slice(1)], data: tensor.data.slice(0, (tensor.data.length / 4) * 3) });
  }
  for (const [name, { shape, data }] of weights) {
    if (name !== FOLD_WEIGHT && !name.endsWith(`.${FOLD_WEIGHT}`)) continue;
    const [slots, widest, inputs, width] = shape;
    const kept = new Float32Array((data.length / inputs) * (inputs - 1));
    for (let row = 0; row < slots * widest; row++)
      kept.set(data.subarray(row * inputs * width, ((row + 1) * inputs - 1) * width), row * (inputs - 1) * width);
    out.set(name, { shape: [slots, widest, inputs - 1, width], data: kept });
  }
  return out;
}
