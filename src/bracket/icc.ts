import { adaptation, apply, D50, invert, type Matrix3 } from "../codec/chromaticities.js";
import type { Chromaticities, Encoding, Primaries, Transfer } from "../image.js";
import { toLinear } from "./transfer.js";

type Colorants = readonly (readonly [number, number, number])[];

/** What an ICC profile says about RGB or grey integers: an encoding that describes them, or that they need conversion. */
export type ProfileReading = { readonly encoding: Encoding } | "convert" | "invalid";

const TABLE_SIZE = 4096;
/** Largest difference in linear light for a curve to be called by a name. Adobe's 563/256 differs from 2.2 by 0.0002. */
const SAME_CURVE = 0.001;
/** Largest difference of a colorant's XYZ for primaries to be called by a name. */
const SAME_COLORANT = 0.004;

/** Red, green and blue in XYZ relative to D50, as profiles store them; one row per colour. */
const namedColorants: Record<Extract<Primaries, string>, Colorants> = {
  srgb: [
    [0.4361, 0.2225, 0.0139],
    [0.3851, 0.7169, 0.0971],
    [0.1431, 0.0606, 0.7141],
  ],
  "display-p3": [
    [0.5151, 0.2412, -0.0011],
    [0.292, 0.6922, 0.0419],
    [0.1571, 0.0666, 0.7841],
  ],
  "adobe-rgb": [
    [0.6097, 0.3111, 0.0195],
    [0.2053, 0.6257, 0.0609],
    [0.1492, 0.0632, 0.7446],
  ],
  prophoto: [
    [0.7977, 0.288, 0],
    [0.1352, 0.7119, 0],
    [0.0313, 0.0001, 0.8249],
  ],
  rec2020: [
    [0.6735, 0.279, -0.0019],
    [0.1657, 0.6753, 0.03],
    [0.1251, 0.0456, 0.7968],
  ],
};

/**
 * Reads a profile of the matrix and tone curve kind (ICC.1, "three-component matrix-based") or the grey one. Profiles
 * with lookup tables, or with curves that differ between the channels, are for a colour management system: "convert".
 */
export function readProfile(icc: Uint8Array): ProfileReading {
  try {
    return parse(new DataView(icc.buffer, icc.byteOffset, icc.byteLength));
  } catch (error) {
    if (error instanceof RangeError) return "invalid"; // an offset beyond the end
    throw error;
  }
}

function parse(icc: DataView): ProfileReading {
  if (text(icc, 36) !== "acsp") return "invalid";
  const tags = new Map<string, number>();
  for (let i = 0, count = Math.min(icc.getUint32(128), 256); i < count; i++) {
    tags.set(text(icc, 132 + 12 * i), icc.getUint32(136 + 12 * i));
  }
  const space = text(icc, 16);
  const pcs = text(icc, 20);
  const offsets = (...names: string[]) => names.map((name) => tags.get(name)).filter((at) => at !== undefined);

  if (space === "GRAY") {
    const [curve] = offsets("kTRC").map((at) => readCurve(icc, at));
    if (curve === undefined) return "invalid";
    // Relative to Lab the curve gives lightness: CIE 1976, inverted.
    const light = pcs === "Lab " ? curve.map((v) => (v > 0.08 ? ((v + 0.16) / 1.16) ** 3 : v / 9.033)) : curve;
    return usable(light) ? { encoding: { transfer: nameCurve(light), primaries: "srgb" } } : "convert";
  }
  if (space !== "RGB ") return "invalid"; // a profile for other pixels than these
  if (pcs !== "XYZ " || tags.has("A2B0") || tags.has("D2B0")) return "convert";
  const curves = offsets("rTRC", "gTRC", "bTRC").map((at) => readCurve(icc, at));
  const colorants = offsets("rXYZ", "gXYZ", "bXYZ").map((at) => readXyz(icc, at));
  if (colorants.length !== 3 || curves.length !== 3) return "convert";
  const [red, green, blue] = curves;
  if (!red || !green || !blue || !alike(red, green) || !alike(red, blue)) return "convert";
  if (!usable(red)) return "convert";

  const whitePoint = tags.get("wtpt");
  const adapted = tags.get("chad");
  const toNative =
    adapted !== undefined
      ? invert(readMatrix(icc, adapted))
      : // Version 2 profiles adapt to D50 without saying so.
        adaptation(D50, whitePoint === undefined ? D50 : readXyz(icc, whitePoint));
  const primaries = namePrimaries(colorants, toNative);
  return primaries ? { encoding: { transfer: nameCurve(red), primaries } } : "convert";
}

const text = (view: DataView, at: number) =>
  String.fromCharCode(view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2), view.getUint8(at + 3));
const fixed = (view: DataView, at: number) => view.getInt32(at) / 65536;
const readXyz = (view: DataView, at: number): [number, number, number] => [
  fixed(view, at + 8),
  fixed(view, at + 12),
  fixed(view, at + 16),
];
const readMatrix = (view: DataView, at: number): Matrix3 =>
  Array.from({ length: 9 }, (_, i) => fixed(view, at + 8 + 4 * i));

/** A curveType or parametricCurveType sampled at TABLE_SIZE codes; undefined when it is neither. */
function readCurve(icc: DataView, at: number): Float32Array | undefined {
  const kind = text(icc, at);
  if (kind === "curv") {
    const count = icc.getUint32(at + 8);
    if (count === 0) return sample((v) => v);
    if (count === 1) {
      const gamma = icc.getUint16(at + 12) / 256;
      return sample((v) => v ** gamma);
    }
    if (count > 65536) return undefined;
    const table = Float32Array.from({ length: count }, (_, i) => icc.getUint16(at + 12 + 2 * i) / 65535);
    return sample((v) => toLinear({ table }, v));
  }
  if (kind !== "para") return undefined;
  const form = icc.getUint16(at + 8);
  const counts = [1, 3, 4, 5, 7];
  if (form >= counts.length) return undefined;
  const p = Array.from({ length: counts[form] }, (_, i) => fixed(icc, at + 12 + 4 * i));
  const [g, a = 1, b = 0] = p;
  switch (form) {
    case 0:
      return sample((v) => v ** g);
    case 1:
      return sample((v) => (v >= -b / a ? (a * v + b) ** g : 0));
    case 2:
      return sample((v) => (v >= -b / a ? (a * v + b) ** g + p[3] : p[3]));
    case 3:
      return sample((v) => (v >= p[4] ? (a * v + b) ** g : p[3] * v));
    default:
      return sample((v) => (v >= p[4] ? (a * v + b) ** g + p[5] : p[3] * v + p[6]));
  }
}

function sample(curve: (value: number) => number): Float32Array | undefined {
  const table = Float32Array.from({ length: TABLE_SIZE }, (_, i) => curve(i / (TABLE_SIZE - 1)));
  return table.every(Number.isFinite) ? table : undefined;
}

/** Never falling, and in [0, 1] but for the rounding of what files store in 16 bits; clamps that. */
function usable(curve: Float32Array): boolean {
  if (curve.some((value, i) => !(value >= -SAME_CURVE && value <= 1 + SAME_CURVE) || value < curve[i - 1]))
    return false;
  for (let i = 0; i < curve.length; i++) curve[i] = Math.min(1, Math.max(0, curve[i]));
  return true;
}

const alike = (a: Float32Array, b: Float32Array) => a.every((value, i) => Math.abs(value - b[i]) < SAME_CURVE);

function nameCurve(table: Float32Array): Transfer {
  for (const name of ["srgb", "gamma2.2", "linear", "rec709"] as const) {
    if (table.every((value, i) => Math.abs(value - toLinear(name, i / (TABLE_SIZE - 1))) < SAME_CURVE)) return name;
  }
  return { table };
}

/** Undefined where the colorants span no space of colours. */
function namePrimaries(colorants: Colorants, toNative: Matrix3): Primaries | undefined {
  for (const [name, known] of Object.entries(namedColorants)) {
    if (known.every((row, i) => row.every((value, c) => Math.abs(value - colorants[i][c]) < SAME_COLORANT))) {
      return name as Extract<Primaries, string>;
    }
  }
  const [red, green, blue] = colorants.map((xyz) => apply(toNative, xyz));
  const xy = ([x, y, z]: readonly [number, number, number]): [number, number] => [x / (x + y + z), y / (x + y + z)];
  const white = red.map((value, i) => value + green[i] + blue[i]) as [number, number, number];
  const found = [red, green, blue, white].map(xy);
  const [[rx, ry], [gx, gy], [bx, by], [, wy]] = found;
  const area = (gx - rx) * (by - ry) - (bx - rx) * (gy - ry);
  // Comparisons that NaN fails.
  if (!(found.flat().every((value) => Math.abs(value) <= 10) && Math.abs(area) >= 1e-3 && wy >= 1e-3)) return undefined;
  return { red: xy(red), green: xy(green), blue: xy(blue), white: xy(white) } satisfies Chromaticities;
}
