import type { Bracket } from "../bracket/bracket.js";
import type { ExposureProxy } from "../bracket/proxy.js";
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
/** The tone curve between exposure and result is the median over this many levels a stop. */
const LEVELS_A_STOP = 2;
const STOPS = 24;
const FEWEST = 30;

/**
 * Where the result cannot be explained by the other exposures: something moved, and the reference was trusted. Read from the
 * result itself, so it holds for any method. The exposures' tone curve does not count as a difference: their light may
 * differ from the result by what is the median at that level.
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
  const byLevel: number[][] = Array.from({ length: STOPS * LEVELS_A_STOP + 1 }, () => []);
  const levelOf = (radiance: number) =>
    Math.min(byLevel.length - 1, Math.max(0, Math.floor((Math.log2(radiance) + STOPS) * LEVELS_A_STOP)));
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
      difference[p] = Math.log2(mean) - exposureValue - Math.log2(Math.max(result[p], 2 ** -STOPS));
      byLevel[levelOf(mean / 2 ** exposureValue)].push(difference[p]);
    }
  }
  const curve = byLevel.map((values) => (values.length < FEWEST ? undefined : median(values)));
  const all = byLevel.flat();
  const typical = all.length > 0 ? median(all) : 0;
  for (let p = 0; p < pixels; p++) {
    if (!trusted[p]) continue;
    const level = Math.log2(Math.max(result[p], 2 ** -STOPS)) + difference[p];
    difference[p] = Math.abs(difference[p] - (curve[levelOf(2 ** level)] ?? typical));
  }
  return { difference, trusted };
}

function median(values: readonly number[]): number {
  const sorted = Float32Array.from(values).sort();
  return sorted[sorted.length >> 1];
}

/** Means over the trusted pixels among 3x3: a misplaced edge is no ghost. */
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
