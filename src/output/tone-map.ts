import { toSrgb } from "../bracket/transfer.js";
import { rgbToRgb, rgbToXyz } from "../codec/chromaticities.js";
import { type Addon, optionalAddon, type ToneMapTables } from "../engine/addon.js";
import type { Image } from "../image.js";
import { fastExp2, fastLog2 } from "./log-table.js";

export interface ToneMapOptions {
  /** Stops brighter (or darker) than the automatic exposure. Default 0. */
  readonly exposure?: number;
  /** How much of the local contrast is kept: 1 all of it, 0 none. Default 1. */
  readonly detail?: number;
  /** Default 1. */
  readonly saturation?: number;
}

/** A tone mapping made ready for one picture: any rows of it can be asked for, in any order. */
export interface ToneMap {
  readonly width: number;
  readonly height: number;
  /** sRGB-coded rows [y0, y1), integers over the whole range of the type of `out`. */
  rows(y0: number, y1: number, out: Uint8Array | Uint16Array): void;
}

/**
 * A photograph's look for linear radiance on an sRGB display. The logarithm of luminance is split by a fast guided
 * filter (He and Sun, 2015) into a base, which a curve brings into the display's range, and the detail, which stays as
 * it is; the curve is anchored on the scene's own average and percentiles. Colours keep their hue (the ratios of RGB to
 * luminance) and fade as they near white or the edge of the gamut. NaN and negative luminance become black.
 */
export function prepareToneMap(
  image: Image & { readonly data: Float32Array },
  options: ToneMapOptions = {},
  addon = optionalAddon() ?? null,
): ToneMap {
  const { width, height, data } = image;
  const { exposure = 0, detail = 1, saturation = 1 } = options;
  const toSrgb = rgbToRgb(image.encoding.primaries, "srgb");
  const luminance = rgbToXyz(image.encoding.primaries).slice(3, 6);
  const small = smallLogLuminance(image, luminance, addon);
  const tables: ToneMapTables = {
    luminance,
    toSrgb,
    width,
    height,
    factor: small.factor,
    detail,
    saturation,
    ...toneCurve(small.values, exposure),
    ...guidedFilter(small),
    encode: srgbTable,
  };
  if (!addon) return { width, height, rows: (y0, y1, out) => plainRows(tables, data, y0, y1, out) };
  const map = addon.createToneMap(tables);
  return {
    width,
    height,
    rows: (y0, y1, out) => addon.toneMapRows(map, data.subarray(3 * y0 * width, 3 * y1 * width), y0, out),
  };
}

/** What the addon does, in JavaScript: several times slower. */
function plainRows(
  tables: ToneMapTables,
  data: Float32Array,
  y0: number,
  y1: number,
  out: Uint8Array | Uint16Array,
): void {
  const { width, detail, saturation, encode } = tables;
  const [red, green, blue] = tables.luminance;
  const [m0, m1, m2, m3, m4, m5, m6, m7, m8] = tables.toSrgb;
  const codes = out instanceof Uint8Array ? 255 : 65535;
  const base = rowInterpolator(tables);
  for (let y = y0, to = 0; y < y1; y++) {
    const { slope, offset } = base(y);
    for (let x = 0, i = 3 * y * width; x < width; x++, i += 3, to += 3) {
      const light = red * data[i] + green * data[i + 1] + blue * data[i + 2];
      if (!(light > DARKEST)) {
        out[to] = out[to + 1] = out[to + 2] = 0;
        continue;
      }
      const log = fastLog2(light < BRIGHTEST ? light : BRIGHTEST);
      const local = slope[x] * log + offset[x];
      const target = shoulder(fastExp2(onCurve(tables, local) + detail * (log - local)));
      // Red, green and blue over luminance, in sRGB's primaries; then towards grey by `keep`.
      const r = data[i] / light;
      const g = data[i + 1] / light;
      const b = data[i + 2] / light;
      const cr = m0 * r + m1 * g + m2 * b - 1;
      const cg = m3 * r + m4 * g + m5 * b - 1;
      const cb = m6 * r + m7 * g + m8 * b - 1;
      const keep = keptChroma(target, Math.max(cr, cg, cb), Math.min(cr, cg, cb), saturation);
      out[to] = encoded(encode, target * (1 + keep * cr)) * codes + 0.5;
      out[to + 1] = encoded(encode, target * (1 + keep * cg)) * codes + 0.5;
      out[to + 2] = encoded(encode, target * (1 + keep * cb)) * codes + 0.5;
    }
  }
}

/** The whole picture at once. */
export function toneMap(image: Image & { readonly data: Float32Array }, options: ToneMapOptions = {}): Image {
  const map = prepareToneMap(image, options);
  const data = new Uint8Array(map.width * map.height * 3);
  map.rows(0, map.height, data);
  return { width: map.width, height: map.height, channels: 3, data, encoding: { transfer: "srgb", primaries: "srgb" } };
}

/** Luminance outside of this takes no part in the logarithms. */
const DARKEST = 2 ** -30;
const BRIGHTEST = 2 ** 30;

interface Plane {
  readonly width: number;
  readonly height: number;
  readonly values: Float32Array;
}

const SMALL_SIZE = 1024;

/** The mean of log2 luminance over squares of pixels; NaN where a square has no light at all. */
function smallLogLuminance(
  { width, height, data }: Image & { readonly data: Float32Array },
  weights: readonly number[],
  addon: Addon | null,
): Plane & { factor: number } {
  const factor = Math.ceil(Math.max(width, height) / SMALL_SIZE);
  const [w, h] = [Math.ceil(width / factor), Math.ceil(height / factor)];
  const sums = new Float64Array(w * h);
  const counts = new Uint32Array(w * h);
  const [red, green, blue] = weights;
  addon?.sumLogLuminance(data, width, 0, weights, factor, sums, counts);
  for (let y = 0, i = 0; y < height && !addon; y++) {
    const row = Math.floor(y / factor) * w;
    for (let x = 0; x < width; x++, i += 3) {
      const light = red * data[i] + green * data[i + 1] + blue * data[i + 2];
      if (!(light > DARKEST)) continue;
      const cell = row + Math.floor(x / factor);
      sums[cell] += fastLog2(light < BRIGHTEST ? light : BRIGHTEST);
      counts[cell]++;
    }
  }
  const values = Float32Array.from(sums, (sum, i) => sum / counts[i]);
  return { width: w, height: h, values, factor };
}

/** Stops of display range given to the base: from middle grey up to white, and down to where black begins. */
const GREY = Math.log2(0.22);
const WHITE = Math.log2(0.88);
const BLACK = Math.log2(0.006);

/**
 * The curve for the base: log2 scene luminance to log2 display luminance. The scene's average becomes middle grey, less
 * so where the scene is mostly dark or mostly bright (Reinhard and others, 2002, by the picture's own range); around it
 * the slope is nearly one; what the display cannot hold above and below is compressed ever more towards the ends.
 */
function toneCurve(logs: Float32Array, exposure: number): Pick<ToneMapTables, "curve" | "first" | "steps"> {
  const sorted = logs.filter((value) => !Number.isNaN(value)).sort();
  if (sorted.length === 0) return { curve: Float64Array.of(GREY, GREY), first: 0, steps: 1 };
  const at = (fraction: number) => sorted[Math.round(fraction * (sorted.length - 1))];
  const [low, high] = [at(0.01), at(0.995)];
  const middle = sorted.subarray(Math.floor(sorted.length * 0.02), Math.ceil(sorted.length * 0.98));
  const average = middle.reduce((sum, value) => sum + value, 0) / middle.length;
  // -1: the average lies at the dark end, 1: at the bright end.
  const balance = high - low > 0.01 ? (2 * average - low - high) / (high - low) : 0;
  // A scene with far highlights is shown a little darker, to leave them room.
  const highlights = Math.min(6, Math.max(0, high - average - (WHITE - GREY)));
  const grey = GREY + balance - 0.11 * highlights + exposure;
  const up = side(high - average, Math.max(LEAST_ROOM, WHITE - grey));
  const down = side(average - low, Math.max(LEAST_ROOM, grey - BLACK));
  const exact = (distance: number) => grey + (distance >= 0 ? up(distance) : -down(-distance));
  const curve = Float64Array.from({ length: 2 * CURVE_STOPS * CURVE_STEPS + 2 }, (_, i) =>
    exact(i / CURVE_STEPS - CURVE_STOPS),
  );
  return { curve, first: average - CURVE_STOPS, steps: CURVE_STEPS };
}

function onCurve({ curve, first, steps }: ToneMapTables, log: number): number {
  const at = (log - first) * steps;
  const last = curve.length - 2;
  const step = at > 0 ? (at < last ? Math.floor(at) : last) : 0;
  return curve[step] + (at - step) * (curve[step + 1] - curve[step]);
}

/** The curve's table: so many stops to either side of the average, and steps a stop. */
const CURVE_STOPS = 64;
const CURVE_STEPS = 256;

const MIDDLE_SLOPE = 0.95;
/** Stops for what is brighter, or darker, than the average where the exposure asked for leaves none. */
const LEAST_ROOM = 0.1;

/**
 * Brings distances of 0 to `range` stops into 0 to `room`: a straight line of the middle slope where that fits, else
 * room (1 - (1 - d / range)^p), which starts with that slope and ends flat.
 */
function side(range: number, room: number): (distance: number) => number {
  if (range * MIDDLE_SLOPE <= room) return (distance) => MIDDLE_SLOPE * distance;
  const power = (MIDDLE_SLOPE * range) / room;
  return (distance) => (distance >= range ? room : room * (1 - (1 - distance / range) ** power));
}

/** Leaves what is below 0.75 alone and bends the rest to stay below 1. */
function shoulder(value: number): number {
  return value <= 0.75 ? value : 1 - 0.25 * Math.exp((0.75 - value) / 0.25);
}

/** How much of the chroma to keep: it fades near white, and no channel may leave [0, 1]. */
function keptChroma(luminance: number, most: number, least: number, saturation: number): number {
  const nearWhite = Math.max(0, (luminance - 0.6) / 0.4);
  let keep = saturation * (1 - 0.5 * nearWhite * nearWhite);
  if (most > 0) {
    // A soft approach to the gamut's edge, so that bright colours do not all end on it.
    const room = (1 / luminance - 1) / most;
    if (!(room > 0)) return 0;
    keep = keep < 0.7 * room ? keep : 0.7 * room + 0.3 * room * (1 - Math.exp((0.7 * room - keep) / (0.3 * room)));
  }
  return keep * least < -1 ? -1 / least : keep;
}

/** The slope and offset of the guided filter, at the small size. */
interface GuidedFilter {
  readonly slope: Float32Array;
  readonly offset: Float32Array;
}

/** The variance, in stops squared, above which a change counts as an edge and not as detail. */
const EDGE_VARIANCE = 0.4;

function guidedFilter({ width, height, values }: Plane): GuidedFilter {
  const radius = Math.max(1, Math.round(Math.max(width, height) / 40));
  // Squares without light take the value of the darkest that have some: they are black whatever the base says.
  const darkest = values.reduce((least, value) => (value < least ? value : least), 0);
  const logs = values.map((value) => (Number.isNaN(value) ? darkest : value));
  const mean = boxMean(logs, width, height, radius);
  const squares = boxMean(
    logs.map((value) => value * value),
    width,
    height,
    radius,
  );
  const slope = new Float32Array(logs.length);
  const offset = new Float32Array(logs.length);
  for (let i = 0; i < logs.length; i++) {
    const variance = Math.max(0, squares[i] - mean[i] * mean[i]);
    slope[i] = variance / (variance + EDGE_VARIANCE);
    offset[i] = (1 - slope[i]) * mean[i];
  }
  return { slope: boxMean(slope, width, height, radius), offset: boxMean(offset, width, height, radius) };
}

/** Means over squares of 2 radius + 1, cut off at the border. */
function boxMean(values: Float32Array, width: number, height: number, radius: number): Float32Array {
  const rows = new Float32Array(values.length);
  for (let y = 0; y < height; y++) boxMeanLine(values, rows, y * width, 1, width, radius);
  const out = new Float32Array(values.length);
  for (let x = 0; x < width; x++) boxMeanLine(rows, out, x, width, height, radius);
  return out;
}

function boxMeanLine(
  from: Float32Array,
  to: Float32Array,
  start: number,
  step: number,
  count: number,
  radius: number,
): void {
  let sum = 0;
  for (let i = 0; i < Math.min(radius, count); i++) sum += from[start + i * step];
  for (let i = 0; i < count; i++) {
    if (i + radius < count) sum += from[start + (i + radius) * step];
    if (i - radius - 1 >= 0) sum -= from[start + (i - radius - 1) * step];
    to[start + i * step] = sum / (Math.min(count - 1, i + radius) - Math.max(0, i - radius) + 1);
  }
}

/** The filter's slope and offset along one full-size row, bilinear between the centres of the squares. */
function rowInterpolator(tables: ToneMapTables): (y: number) => { slope: Float32Array; offset: Float32Array } {
  const { width, height, factor } = tables;
  const [w, h] = [Math.ceil(width / factor), Math.ceil(height / factor)];
  const row = { slope: new Float32Array(width), offset: new Float32Array(width) };
  const column = { slope: new Float32Array(w), offset: new Float32Array(w) };
  const place = (full: number, count: number): [number, number, number] => {
    const at = Math.min(count - 1, Math.max(0, (full + 0.5) / factor - 0.5));
    const first = Math.floor(at);
    return [first, Math.min(count - 1, first + 1), at - first];
  };
  const first = new Int32Array(width);
  const second = new Int32Array(width);
  const along = new Float64Array(width);
  for (let x = 0; x < width; x++) [first[x], second[x], along[x]] = place(x, w);
  return (y) => {
    const [y0, y1, ty] = place(y, h);
    for (const name of ["slope", "offset"] as const) {
      const source = tables[name];
      const between = column[name];
      for (let x = 0; x < w; x++) between[x] = source[y0 * w + x] * (1 - ty) + source[y1 * w + x] * ty;
      const out = row[name];
      for (let x = 0; x < width; x++) out[x] = between[first[x]] * (1 - along[x]) + between[second[x]] * along[x];
    }
    return row;
  };
}

const ENCODER_SIZE = 4096;

/** sRGB's codes of light (k / 4096)^2: over the square root they are nearly a straight line. */
const srgbTable = Float64Array.from({ length: ENCODER_SIZE + 2 }, (_, i) => toSrgb((i / ENCODER_SIZE) ** 2));

function encoded(table: Float64Array, light: number): number {
  if (!(light > 0)) return 0;
  if (light >= 1) return 1;
  const at = Math.sqrt(light) * ENCODER_SIZE;
  const first = Math.floor(at);
  return table[first] + (at - first) * (table[first + 1] - table[first]);
}
