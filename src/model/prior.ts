import type { StoredTensor } from "./safetensors.js";

// A network with a prior corrects a plain merge of the exposures instead of making radiance anew (PriorArgs in
// native/ops/ops.h). What tells is the tensor prior.knee: the pixel values between which an exposure's weight falls.

export const PRIOR_KNEE = "prior.knee";
/** The radiances that keep the logits of black and of white finite; the kernels' (native/ops/prior.h). */
export const PRIOR_BLACK = 1 / 5000;
export const PRIOR_WHITE = 1 / 200;

/** The network beginning as its prior: with a knee, and with a conv_end that corrects nothing yet. */
export function withPrior(weights: ReadonlyMap<string, StoredTensor>): ReadonlyMap<string, StoredTensor> {
  const out = new Map(weights);
  for (const name of ["conv_end.weight", "conv_end.bias"]) {
    const tensor = weights.get(name);
    if (tensor) out.set(name, { ...tensor, data: new Float32Array(tensor.data.length) });
  }
  return out.set(PRIOR_KNEE, { shape: [2], data: Float32Array.of(0.85, 0.97) });
}
