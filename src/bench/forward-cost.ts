import { FOLD_WEIGHT } from "../model/fold.js";
import type { Model } from "../model/model.js";
import { withoutPrior } from "../model/prior.js";

/** Of a forward pass of configuration A with three exposures, for each pixel (method.md section 2). */
export const PUBLISHED_MULTIPLY_ADDS = 1_515_132;

const WINDOW_TOKENS = 64;

/** The model as published: neither merge nor learnt fold. */
export function publishedModel(model: Model): Model {
  const tensors = new Map(withoutPrior(model.tensors));
  tensors.delete(FOLD_WEIGHT);
  return { ...model, tensors };
}

/**
 * Multiply-adds of a forward pass for each pixel, counted layer by layer as published: of every weight one, in the
 * extractor one for each exposure, and the attentions' products. What exact algebra saves is counted too, the channel
 * attention of the whole picture (once an image) is not. The model is a published one whose number of exposures divides
 * its width.
 */
export function forwardMultiplyAdds({
  tensors,
  width,
  exposures,
}: Pick<Model, "tensors" | "width" | "exposures">): number {
  let total = 0;
  for (const [name, { data, shape }] of tensors) {
    if (!name.endsWith(".weight") || shape.length < 2 || name.includes(".cab.")) continue;
    total += name.startsWith("conv_first.") ? exposures * data.length : data.length;
    // Queries by keys and attention by values: within a window, and within a head of the channels.
    if (name.endsWith(".attn.qkv.weight")) total += 2 * WINDOW_TOKENS * width;
    if (name.endsWith(".attn.project_out.weight")) total += (2 * width * width) / (4 * exposures);
  }
  return total;
}
