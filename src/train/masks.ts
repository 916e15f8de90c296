import { type LocalQuality, softmax } from "./local-quality.js";
import type { Random } from "./synthesis/random.js";

const TEMPERATURE = 0.05;

/**
 * Mask ratio r_k = min(1, r K softmax_k(0.05 p_k)) of each of a scene's K segments (method.md section 3): what is restored well
 * already is masked more.
 */
export function segmentRatios(quality: LocalQuality, ratio: number): Map<number, number> {
  return new Map(
    [...softmax(quality, TEMPERATURE)].map(([id, share]) => [id, Math.min(1, ratio * quality.size * share)]),
  );
}

/** To the nearest whole number, halves to the even one. */
export function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

/**
 * A patch's mask map, 1 = keep: in each segment round(r_k |k|) of its pixels, drawn at random, are 0. Segments without a ratio
 * are kept whole.
 */
export function drawMaskMap(
  segments: Float32Array,
  ratios: ReadonlyMap<number, number>,
  random: Random,
  map: Float32Array = new Float32Array(segments.length),
): Float32Array {
  const pixels = new Map<number, number[]>();
  for (let p = 0; p < segments.length; p++) {
    const list = pixels.get(segments[p]);
    if (list) list.push(p);
    else pixels.set(segments[p], [p]);
  }
  map.fill(1);
  for (const [id, list] of pixels) {
    const masked = roundHalfEven((ratios.get(id) ?? 0) * list.length);
    // The first steps of a Fisher-Yates shuffle draw without repetition.
    for (let i = 0; i < masked; i++) {
      const j = i + random.integer(list.length - i);
      [list[i], list[j]] = [list[j], list[i]];
      map[list[i]] = 0;
    }
  }
  return map;
}

/** How each stage's first block is masked in one forward pass: 1 the mask map, with this probability, else 2 the importance map. */
export function drawMaskModes(stages: number, probability: number, random: Random): number[] {
  return Array.from({ length: stages }, () => (random.chance(probability) ? 1 : 2));
}
