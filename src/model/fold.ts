import { channelParts } from "./exposure-slots.js";
import type { StoredTensor } from "./safetensors.js";

// A learnt fold (docs/exposures.md): fold.weight [slots, widest slot, exposures, C] says what the features of every
// exposure give to each channel of a body that was made for `slots` exposures.

export const FOLD_WEIGHT = "fold.weight";

/** Which exposure each of the slots begins with: the reference in the middle, the others spread out to the ends. */
function firstExposures(slots: number, exposures: number): number[] {
  const [middle, reference] = [slots >> 1, exposures >> 1];
  return Array.from({ length: slots }, (_, s) => {
    if (s <= middle) return middle === 0 ? reference : Math.round((s * reference) / middle);
    const after = slots - 1 - middle;
    return reference + Math.round(((s - middle) * (exposures - 1 - reference)) / after);
  });
}

/**
 * The fold that an extractor for `exposures` begins with: every slot takes one exposure, folded as the network's own fold
 * does, so that the network does with a longer bracket what it did with a selection from it.
 */
export function firstFold(width: number, slots: number, exposures: number): StoredTensor {
  const parts = channelParts(slots, width);
  const widest = Math.ceil(width / slots);
  const chosen = firstExposures(slots, exposures);
  const data = new Float32Array(slots * widest * exposures * width);
  for (const [slot, [first, end]] of parts.entries())
    for (let j = 0; j < end - first; j++) {
      const groups = parts.filter(([from, to]) => from + j < to);
      for (const [from] of groups)
        data[((slot * widest + j) * exposures + chosen[slot]) * width + from + j] = 1 / groups.length;
    }
  return { shape: [slots, widest, exposures, width], data };
}

/** Slots of the body's features: those of the learnt fold, else one for each exposure. */
export function bodySlots(tensors: ReadonlyMap<string, StoredTensor>, exposures: number): number {
  return tensors.get(FOLD_WEIGHT)?.shape[0] ?? exposures;
}
