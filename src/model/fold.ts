import { channelParts } from "./exposure-slots.js";
import type { StoredTensor } from "./safetensors.js";

// A learnt fold (docs/exposures.md): fold.weight [slots, widest slot, exposures, C] says what the features of every
// exposure give to each channel of a body that was made for `slots` exposures.

export const FOLD_WEIGHT = "fold.weight";

/** Which of `exposures` stand for `few` of them: the reference in the middle, the others spread out to the ends. */
function spread(few: number, exposures: number): number[] {
  const [middle, reference] = [few >> 1, exposures >> 1];
  return Array.from({ length: few }, (_, s) => {
    if (s <= middle) return middle === 0 ? reference : Math.round((s * reference) / middle);
    const after = few - 1 - middle;
    return reference + Math.round(((s - middle) * (exposures - 1 - reference)) / after);
  });
}

/**
 * The published fold of `slots` exposures, each into its slot. A prior (prior.ts) behind them is "unseen" by the body at first, or
 * "seen": added to the reference.
 */
export function plainFold(width: number, slots: number, prior?: "seen" | "unseen"): StoredTensor {
  const parts = channelParts(slots, width);
  const widest = Math.ceil(width / slots);
  const inputs = slots + Number(prior !== undefined);
  const data = new Float32Array(slots * widest * inputs * width);
  for (const [slot, [first, end]] of parts.entries())
    for (let j = 0; j < end - first; j++) {
      const groups = parts.filter(([from, to]) => from + j < to);
      for (const [from] of groups) {
        const row = (slot * widest + j) * inputs;
        data[(row + slot) * width + from + j] = 1 / groups.length;
        if (prior === "seen" && slot === slots >> 1) data[(row + slots) * width + from + j] = 1 / groups.length;
      }
    }
  return { shape: [slots, widest, inputs, width], data };
}

/**
 * The fold that an extractor for `exposures` begins with: what `fold` does to its own few exposures it does to as many of
 * these, so that the network does with a longer bracket what it did with a selection from it.
 */
export function spreadFold({ shape, data }: StoredTensor, exposures: number, prior = false): StoredTensor {
  const [slots, widest, before, width] = shape;
  const after = exposures + Number(prior);
  const places = [...spread(before - Number(prior), exposures), exposures];
  const out = new Float32Array(slots * widest * after * width);
  for (let row = 0; row < slots * widest; row++)
    for (let input = 0; input < before; input++)
      for (let c = 0; c < width; c++)
        out[(row * after + places[input]) * width + c] += data[(row * before + input) * width + c];
  return { shape: [slots, widest, after, width], data: out };
}

/** Slots of the body's features: those of the learnt fold, else one for each exposure. */
export function bodySlots(tensors: ReadonlyMap<string, StoredTensor>, exposures: number): number {
  return tensors.get(FOLD_WEIGHT)?.shape[0] ?? exposures;
}
