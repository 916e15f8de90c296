import type { Segmentation } from "../graph.js";
import { smallestSegment } from "../segment-map.js";

// The automatic mask generator of "Segment Anything" (Kirillov et al., ICCV 2023, appendix B) for one crop, the whole image.

export interface MaskOptions {
  /** Points along each side of the grid that the decoder is asked for. */
  readonly pointsPerSide: number;
  /** The least predicted IoU of a mask. */
  readonly predictedIou: number;
  /** The least stability: IoU of the mask's logits above +stabilityOffset with those above -stabilityOffset. */
  readonly stability: number;
  readonly stabilityOffset: number;
  /** Of two masks whose boxes have a larger IoU, the one of lower predicted IoU is a duplicate. */
  readonly boxOverlap: number;
  /** Segments that show fewer pixels belong to the background. */
  readonly smallest: number;
}

/** The settings of the paper's training segments. */
export const maskDefaults: MaskOptions = {
  pointsPerSide: 32,
  predictedIou: 0.9,
  stability: 0.92,
  stabilityOffset: 1,
  boxOverlap: 0.7,
  smallest: smallestSegment,
};

/** A mask that is good enough, within its box. */
export interface Mask {
  readonly predictedIou: number;
  readonly stability: number;
  /** First and last column and row with a pixel of the mask. */
  readonly box: readonly [left: number, top: number, right: number, bottom: number];
  /** Pixels. */
  readonly area: number;
  /** One bit for each pixel of the box, row by row, the lowest bit first. */
  readonly bits: Uint8Array;
}

/** Centres of perSide x perSide cells of the unit square as x, y pairs, row by row. */
export function pointGrid(perSide: number): Float64Array {
  const points = new Float64Array(2 * perSide * perSide);
  for (let i = 0; i < perSide * perSide; i++) {
    points[2 * i] = ((i % perSide) + 0.5) / perSide;
    points[2 * i + 1] = (Math.floor(i / perSide) + 0.5) / perSide;
  }
  return points;
}

/** Thresholds as the models' own float32 sees them: 0.9 is at least 0.9. */
const atLeast = (value: number, threshold: number) => Math.fround(value) >= Math.fround(threshold);

/** The mask of `logits` [height, width] (a pixel belongs where its logit is positive), or undefined where it is not good enough. */
export function selectMask(
  logits: Float32Array,
  width: number,
  height: number,
  predictedIou: number,
  options: MaskOptions,
): Mask | undefined {
  if (!atLeast(predictedIou, options.predictedIou)) return undefined;
  let sure = 0;
  let possible = 0;
  let area = 0;
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0, p = y * width; x < width; x++, p++) {
      const logit = logits[p];
      if (logit > -options.stabilityOffset) possible++;
      if (logit > options.stabilityOffset) sure++;
      if (!(logit > 0)) continue;
      area++;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  }
  const stability = sure / possible; // NaN, so not stable, where there is nothing
  if (area === 0 || !atLeast(stability, options.stability)) return undefined;
  const across = right - left + 1;
  const bits = new Uint8Array(Math.ceil((across * (bottom - top + 1)) / 8));
  for (let y = top, bit = 0; y <= bottom; y++) {
    for (let x = left; x <= right; x++, bit++) if (logits[y * width + x] > 0) bits[bit >> 3] |= 1 << (bit & 7);
  }
  return { predictedIou, stability, box: [left, top, right, bottom], area, bits };
}

/** Non-maximum suppression: the masks without those whose box overlaps that of a better one; the best first. */
export function suppressDuplicates(masks: readonly Mask[], boxOverlap: number): Mask[] {
  const kept: Mask[] = [];
  // Sorting is stable: of equals, the one asked for first is kept.
  for (const mask of [...masks].sort((a, b) => b.predictedIou - a.predictedIou)) {
    if (!kept.some((better) => boxIou(better.box, mask.box) > boxOverlap)) kept.push(mask);
  }
  return kept;
}

/** As in the published generator, a box reaches from its first to its last pixel: one of a single column has no area. */
function boxIou(a: Mask["box"], b: Mask["box"]): number {
  const area = ([left, top, right, bottom]: Mask["box"]) => (right - left) * (bottom - top);
  const across = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]));
  const down = Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  return (across * down) / (area(a) + area(b) - across * down);
}

/** Paints the masks over each other, from the largest to the smallest; label 0 is where there is none. */
export function paintMasks(masks: readonly Mask[], width: number, height: number): Segmentation {
  const labels = new Int32Array(width * height);
  [...masks]
    .sort((a, b) => b.area - a.area)
    .forEach(({ box: [left, top, right, bottom], bits }, i) => {
      for (let y = top, bit = 0; y <= bottom; y++) {
        for (let x = left; x <= right; x++, bit++) if (bits[bit >> 3] & (1 << (bit & 7))) labels[y * width + x] = i + 1;
      }
    });
  return { width, height, labels, count: masks.length + 1, background: 0 };
}
