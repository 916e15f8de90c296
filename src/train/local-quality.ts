import { SmhdrError } from "../errors.js";
import { muLaw } from "../measure/mu-law.js";

/** PSNR in dB after the mu-law of each segment of a scene, by its id in the segment map. */
export type LocalQuality = ReadonlyMap<number, number>;

/** A segment that is restored exactly counts as if its mean squared error were this: p stays at most 120 dB. */
export const LEAST_ERROR = 1e-12;

/**
 * p_k of method.md section 3: -10 log10 of the mean squared error of T(prediction) over the pixels and channels of segment k.
 * Both pictures are interleaved RGB radiance; `segments` has an id for each of their pixels.
 */
export function localQuality(prediction: Float32Array, truth: Float32Array, segments: Float32Array): LocalQuality {
  if (prediction.length !== truth.length || truth.length !== 3 * segments.length)
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `localQuality: expected pictures of ${segments.length} pixels, got ${prediction.length} and ${truth.length} values.`,
    );
  const sums = new Map<number, { error: number; pixels: number }>();
  for (let p = 0; p < segments.length; p++) {
    let sum = sums.get(segments[p]);
    if (!sum) {
      sum = { error: 0, pixels: 0 };
      sums.set(segments[p], sum);
    }
    for (let i = 3 * p; i < 3 * p + 3; i++) sum.error += (muLaw(prediction[i]) - muLaw(truth[i])) ** 2;
    sum.pixels++;
  }
  return new Map(
    [...sums].map(([id, { error, pixels }]) => [id, -10 * Math.log10(Math.max(LEAST_ERROR, error / (3 * pixels)))]),
  );
}

/** softmax(temperature p_k) over the segments. */
export function softmax(quality: LocalQuality, temperature: number): Map<number, number> {
  // Not Math.max(...): a map may have more segments than a call takes arguments.
  let largest = -Infinity;
  for (const p of quality.values()) largest = Math.max(largest, temperature * p);
  const powers = new Map([...quality].map(([id, p]) => [id, Math.exp(temperature * p - largest)]));
  const sum = [...powers.values()].reduce((a, b) => a + b, 0);
  return new Map([...powers].map(([id, power]) => [id, power / sum]));
}
