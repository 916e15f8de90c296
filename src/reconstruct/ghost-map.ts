import type { Bracket } from "../bracket/bracket.js";
import type { ExposureProxy } from "../bracket/proxy.js";
import { apply, invert } from "../codec/chromaticities.js";
import type { Radiance } from "../image.js";
import { reduceArea, reducedSize } from "../measure/reduce.js";

/** One value a pixel. */
export interface GhostMap {
  readonly width: number;
  readonly height: number;
  /** 0: all exposures that saw the light of this pixel well agree with the result; 1: none of them does. */
  readonly data: Float32Array;
}

/** Linear light between which an exposure tells what it saw. */
const DARKEST = 0.015;
const BRIGHTEST = 0.85;
/** Stops of difference at which doubt begins, and at which an exposure shows something else. */
const DOUBT = 0.3;
const DENIAL = 0.8;
/** The result's darkest light, as a logarithm. */
const FLOOR = 2 ** -24;

/**
 * Where the result cannot be explained by the other exposures: something moved, and the reference was trusted. Read from the
 * result itself, so it holds for any method. The exposures' tone curve does not count as a difference: their light may
 * differ from the result by a smooth function of its level, fitted so that a minority of pixels does not count.
 *
 * @param proxies One for each exposure of the bracket, in its order.
 * @param longest Pixels a side of the map at most.
 */
export function ghostMap(
  bracket: Bracket,
  proxies: readonly ExposureProxy[],
  radiance: Radiance,
  longest: number,
): GhostMap {
  const proxySize = { width: proxies[0].width, height: proxies[0].height };
  const fitted = Math.min(longest, Math.max(proxySize.width, proxySize.height));
  const size = reducedSize(bracket.width, bracket.height, fitted);
  const { width, height } = size;
  const pixels = width * height;
  const result = luminance(reduceArea(radiance.data, bracket, size, 3), pixels);
  const denied = new Float32Array(pixels);
  const seen = new Float32Array(pixels);
  for (const [i, exposure] of bracket.exposures.entries()) {
    if (i === bracket.reference) continue;
    const light = reduceArea(proxies[i].data, proxySize, size, 3);
    const { difference, trusted } = compare(light, result, size, bracket, exposure);
    const smooth = smoothed(difference, trusted, width, height);
    for (let p = 0; p < pixels; p++) {
      if (!trusted[p]) continue;
      seen[p]++;
      denied[p] += Math.min(1, Math.max(0, (smooth[p] - DOUBT) / (DENIAL - DOUBT)));
    }
  }
  for (let p = 0; p < pixels; p++) if (seen[p] > 0) denied[p] /= seen[p];
  return { width, height, data: denied };
}

const luminance = (rgb: Float32Array, pixels: number) =>
  Float32Array.from({ length: pixels }, (_, p) => 0.25 * rgb[3 * p] + 0.5 * rgb[3 * p + 1] + 0.25 * rgb[3 * p + 2]);

/** How far one exposure lies from the result, in stops, beyond what its tone curve explains; and where it can tell at all. */
function compare(
  light: Float32Array,
  result: Float32Array,
  { width, height }: { readonly width: number; readonly height: number },
  bracket: Bracket,
  { alignment, exposureValue }: Bracket["exposures"][number],
): { readonly difference: Float32Array; readonly trusted: Uint8Array } {
  const pixels = width * height;
  const difference = new Float32Array(pixels);
  const trusted = new Uint8Array(pixels);
  const scaleX = bracket.width / width;
  const scaleY = bracket.height / height;
  const levels = new Float32Array(pixels);
  for (let y = 0, p = 0; y < height; y++) {
    for (let x = 0; x < width; x++, p++) {
      let at = p;
      if (alignment) {
        const [fx, fy] = [(x + 0.5) * scaleX - 0.5, (y + 0.5) * scaleY - 0.5];
        const w = alignment[6] * fx + alignment[7] * fy + alignment[8];
        const sx = Math.round(((alignment[0] * fx + alignment[1] * fy + alignment[2]) / w + 0.5) / scaleX - 0.5);
        const sy = Math.round(((alignment[3] * fx + alignment[4] * fy + alignment[5]) / w + 0.5) / scaleY - 0.5);
        if (!(sx >= 0 && sx < width && sy >= 0 && sy < height)) continue;
        at = sy * width + sx;
      }
      const [r, g, b] = [light[3 * at], light[3 * at + 1], light[3 * at + 2]];
      const mean = 0.25 * r + 0.5 * g + 0.25 * b;
      if (mean < DARKEST || Math.max(r, g, b) > BRIGHTEST) continue;
      trusted[p] = 1;
      levels[p] = Math.log2(mean);
      difference[p] = levels[p] - exposureValue - Math.log2(Math.max(result[p], FLOOR));
    }
  }
  const [c0, c1, c2] = fitCurve(levels, difference, trusted);
  // What the exposure says the result should be, as a logarithm.
  const expected = levels.map((level, p) => {
    const x = level / LEVEL_RANGE + 1;
    return trusted[p] ? level - exposureValue - (c0 + x * (c1 + x * c2)) : 0;
  });
  for (let p = 0; p < pixels; p++) {
    if (trusted[p])
      difference[p] = beyondNeighbours(p, Math.log2(Math.max(result[p], FLOOR)), expected, trusted, width);
  }
  return { difference, trusted };
}

/** How far a value lies outside of what the trusted pixels among 3x3 span: an edge a pixel beside its place is no ghost. */
function beyondNeighbours(
  p: number,
  value: number,
  expected: Float32Array,
  trusted: Uint8Array,
  width: number,
): number {
  let low = expected[p];
  let high = low;
  const x = p % width;
  for (let row = p - width; row <= p + width; row += width) {
    for (let at = row - (x > 0 ? 1 : 0); at <= row + (x < width - 1 ? 1 : 0); at++) {
      if (!trusted[at]) continue; // outside of the picture too
      if (expected[at] < low) low = expected[at];
      if (expected[at] > high) high = expected[at];
    }
  }
  return Math.max(0, low - value, value - high);
}

/** Stops between DARKEST and clipping, roughly: levels are fitted in [0, 1]. */
const LEVEL_RANGE = 6;
const ROUNDS = 12;
/** Pixels that the fit looks at, about. */
const SAMPLES = 40_000;

/**
 * The quadratic that most differences follow, over level / LEVEL_RANGE + 1: least squares with weights 1 / |residual|, so
 * that in the end absolute residuals are least (iteratively reweighted least squares).
 */
function fitCurve(levels: Float32Array, difference: Float32Array, trusted: Uint8Array): [number, number, number] {
  const step = Math.ceil(levels.length / SAMPLES);
  let curve: [number, number, number] = [0, 0, 0];
  for (let round = 0; round < ROUNDS; round++) {
    const sums = [0, 0, 0, 0, 0]; // of weight * level^k
    const right: [number, number, number] = [0, 0, 0];
    for (let p = 0; p < levels.length; p += step) {
      if (!trusted[p]) continue;
      const x = levels[p] / LEVEL_RANGE + 1;
      const residual = Math.abs(difference[p] - (curve[0] + x * (curve[1] + x * curve[2])));
      let weight = round === 0 ? 1 : 1 / Math.max(residual, 0.01);
      for (let k = 0; k < 5; k++, weight *= x) {
        sums[k] += weight;
        if (k < 3) right[k] += weight * difference[p];
      }
    }
    const ridge = 1e-6 * sums[0] + 1e-12; // one level only: a constant
    const [s0, s1, s2, s3, s4] = sums;
    curve = apply(invert([s0 + ridge, s1, s2, s1, s2 + ridge, s3, s2, s3, s4 + ridge]), right);
  }
  return curve;
}

/** Means over the trusted pixels among 3x3: a single pixel is noise. */
function smoothed(values: Float32Array, trusted: Uint8Array, width: number, height: number): Float32Array {
  return values.map((_, p) => {
    const [x, y] = [p % width, Math.floor(p / width)];
    let sum = 0;
    let count = 0;
    for (let j = Math.max(0, y - 1); j <= Math.min(height - 1, y + 1); j++) {
      for (let i = Math.max(0, x - 1); i <= Math.min(width - 1, x + 1); i++) {
        if (!trusted[j * width + i]) continue;
        sum += values[j * width + i];
        count++;
      }
    }
    return count > 0 ? sum / count : 0;
  });
}
