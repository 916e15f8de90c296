import { optionalAddon } from "../engine/addon.js";
import type { ExposureProxy } from "./proxy.js";

/** How exposures differ in light, read from their pixels alone. */
export interface RatioEstimate {
  /** Stops from one exposure to the next, as many as neighbours; NaN where the two share no well-exposed light. */
  readonly stops: readonly number[];
  /** The shape of the camera's tone curve that explains the exposures best: 0 none, 1 a full photographic one. */
  readonly toneCurve: number;
}

/** The linear values between which a pixel tells its light: above noise and toe (second try: barely), below clipping. */
const DARKEST = [0.01, 0.003];
const BRIGHTEST = 0.9;
/** Pixels of one colour that two exposures must both show well for that colour to count: this many, or 1 % if fewer. */
const FEWEST_PIXELS = 200;
const QUANTILES = 128;
const BINS = 4096;

/**
 * Estimates the ratios of exposures given from dark to bright.
 *
 * Equal quantiles of two histograms are the same light at two exposures (histogram specification: Grossberg and Nayar,
 * "Determining the camera response from images: what is knowable?", 2003): shifts do not matter and moving things little.
 * What cameras write is not linear after its nominal curve is undone, so their log ratio varies with the level: it is
 * steeper in the shadows than the light was, flatter in the highlights. One curve, the logistic in log exposure,
 * x^n ~ y / (1 - k y) with n = 1 + 0.7 k, goes from none (k = 0) to cameras' own JPEGs (k near 1; n = 1.7 fits measured
 * base curves of raw developers, for instance of the Nikon D800 and the Olympus E-M10 II). Chosen is the k with which all
 * ratios depend least on the level.
 */
export function estimateRatios(proxies: readonly ExposureProxy[]): RatioEstimate {
  const histograms = proxies.map(levels);
  const pairs = histograms.slice(1).map((bright, i) => commonLight(histograms[i], bright));
  let best = { cost: Number.POSITIVE_INFINITY, stops: [] as number[], toneCurve: 0 };
  for (let step = 0; step <= 20; step++) {
    const toneCurve = step / 20;
    let cost = PRIOR_WEIGHT * (toneCurve - PRIOR_CURVE) ** 2;
    const stops = pairs.map((pair) => {
      if (pair.length === 0) return Number.NaN;
      const differences = pair.map(([dark, bright]) => exposureOf(bright, toneCurve) - exposureOf(dark, toneCurve));
      const middle = median(differences);
      if (Math.abs(middle) > 0.25) cost += median(differences.map((d) => Math.abs(d - middle))) / Math.abs(middle);
      return middle;
    });
    if (cost < best.cost) best = { cost, stops, toneCurve };
  }
  return { stops: best.stops, toneCurve: best.toneCurve };
}

/** Where nothing tells, a moderate tone curve. */
const PRIOR_CURVE = 0.7;
const PRIOR_WEIGHT = 0.02;

/** The order of proxies from dark to bright, by their mean light. */
export function orderByLight(proxies: readonly ExposureProxy[]): number[] {
  // A quarter of the pixels tells.
  const means = proxies.map(({ data }) => {
    let sum = 0;
    for (let i = 0; i < data.length; i += 12) sum += data[i] + data[i + 1] + data[i + 2];
    return sum / Math.ceil(data.length / 12);
  });
  return means.map((_, i) => i).sort((a, b) => means[a] - means[b]);
}

/** Log2 exposure of a linear value under the logistic tone curve. */
const exposureOf = (y: number, k: number) => Math.log2(y / (1 - k * y)) / (1 + 0.7 * k);

/** Cumulative histograms of red, green and blue: counts[c][b] pixels lie below bin b. */
interface Levels {
  readonly pixels: number;
  readonly below: readonly Uint32Array[];
}

/** Bins are even in the square root of the light: fine enough in the shadows. */
const binOf = (y: number) => Math.floor(Math.fround(Math.sqrt(y > 0 ? Math.min(y, 1) : 0)) * BINS);

/** Counts of red, green and blue, one after the other, each bin's at the place after its own; by the addon five times faster. */
export function countLevels(data: Float32Array, addon = optionalAddon() ?? null): Uint32Array {
  const counts = new Uint32Array(3 * (BINS + 2));
  if (addon) addon.countLevels(data, counts);
  else for (let i = 0; i < data.length; i++) counts[(i % 3) * (BINS + 2) + binOf(data[i]) + 1]++;
  return counts;
}

function levels({ data }: ExposureProxy): Levels {
  const counts = countLevels(data);
  const below = [0, 1, 2].map((channel) => counts.subarray(channel * (BINS + 2), (channel + 1) * (BINS + 2)));
  for (const channel of below) for (let bin = 1; bin < channel.length; bin++) channel[bin] += channel[bin - 1];
  return { pixels: data.length / 3, below };
}

/** The linear value below which `rank` pixels lie. */
function quantile(below: Uint32Array, rank: number): number {
  let low = 0;
  let high = BINS;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (below[middle] <= rank) low = middle;
    else high = middle - 1;
  }
  const inside = below[low + 1] - below[low];
  return ((low + (inside > 0 ? (rank - below[low]) / inside : 0)) / BINS) ** 2;
}

/** Pairs of levels of the same light where both exposures can be trusted; none when too few pixels are. */
function commonLight(dark: Levels, bright: Levels): [number, number][] {
  const fewest = Math.min(FEWEST_PIXELS, Math.ceil(dark.pixels / 100));
  for (const darkest of DARKEST) {
    const pairs: [number, number][] = [];
    for (let channel = 0; channel < 3; channel++) {
      const both = [dark.below[channel], bright.below[channel]];
      const first = Math.max(...both.map((below) => below[binOf(darkest) + 1]));
      const last = Math.min(...both.map((below) => below[binOf(BRIGHTEST)]));
      if (last - first < fewest) continue;
      for (let i = 0; i < QUANTILES; i++) {
        const rank = first + ((i + 0.5) / QUANTILES) * (last - first);
        pairs.push([quantile(dark.below[channel], rank), quantile(bright.below[channel], rank)]);
      }
    }
    if (pairs.length > 0) return pairs;
  }
  return [];
}

function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}
