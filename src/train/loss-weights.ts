import { type LocalQuality, softmax } from "./local-quality.js";

const TEMPERATURE = -0.1;

/** Loss weight w_k = K softmax_k(-0.1 p_k) of each of a scene's K segments (method.md section 5): their mean is 1. */
export function lossWeights(quality: LocalQuality): Map<number, number> {
  return new Map([...softmax(quality, TEMPERATURE)].map(([id, share]) => [id, quality.size * share]));
}

/** W: each pixel's weight, by its segment; 1 where a segment has none. */
export function weightMap(segments: Float32Array, weights: ReadonlyMap<number, number>): Float32Array {
  return segments.map((id) => weights.get(id) ?? 1);
}
