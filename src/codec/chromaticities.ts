import type { Chromaticities, Primaries } from "../image.js";

/** Nine numbers, row by row. */
export type Matrix3 = readonly number[];

export type Xyz = readonly [number, number, number];

/** The white that ICC profiles relate colours to. */
export const D50: Xyz = [0.9642, 1, 0.8249];
const D65 = [0.3127, 0.329] as const;

const NAMED: Record<Exclude<Primaries, Chromaticities>, Chromaticities> = {
  srgb: { red: [0.64, 0.33], green: [0.3, 0.6], blue: [0.15, 0.06], white: D65 },
  "display-p3": { red: [0.68, 0.32], green: [0.265, 0.69], blue: [0.15, 0.06], white: D65 },
  "adobe-rgb": { red: [0.64, 0.33], green: [0.21, 0.71], blue: [0.15, 0.06], white: D65 },
  prophoto: {
    red: [0.734699, 0.265301],
    green: [0.159597, 0.840403],
    blue: [0.036598, 0.000105],
    white: [0.345704, 0.35854],
  },
  rec2020: { red: [0.708, 0.292], green: [0.17, 0.797], blue: [0.131, 0.046], white: D65 },
};

export function chromaticitiesOf(primaries: Primaries): Chromaticities {
  return typeof primaries === "string" ? NAMED[primaries] : primaries;
}

/**
 * Primaries from eight numbers as files hold them, x and y of red, green, blue and white: by name where they have one.
 * Undefined for numbers that mean nothing (Photoshop writes eight zeros): no triangle, or a white without light.
 */
export function primariesFrom(values: readonly number[]): Primaries | undefined {
  const [rx, ry, gx, gy, bx, by, wx, wy] = values;
  const given: Chromaticities = { red: [rx, ry], green: [gx, gy], blue: [bx, by], white: [wx, wy] };
  const near = (a: Chromaticities) =>
    (["red", "green", "blue", "white"] as const).every((name) =>
      a[name].every((value, i) => Math.abs(value - given[name][i]) < 1e-4),
    );
  const names = Object.keys(NAMED) as (keyof typeof NAMED)[];
  const name = names.find((known) => near(NAMED[known]));
  if (name) return name;
  const sane = values.every((value) => Math.abs(value) <= 10) && wy >= 1e-3;
  const area = (gx - rx) * (by - ry) - (bx - rx) * (gy - ry);
  return sane && Math.abs(area) >= 1e-3 ? given : undefined;
}

/** Linear RGB of these primaries to CIE XYZ, white at Y = 1 (SMPTE RP 177). The middle row are the luminance weights. */
export function rgbToXyz(primaries: Primaries): Matrix3 {
  const { red, green, blue, white } = chromaticitiesOf(primaries);
  const columns = [red, green, blue].map(([x, y]) => [x, y, 1 - x - y]);
  const p = [0, 1, 2].flatMap((row) => columns.map((column) => column[row]));
  const s = apply(invert(p), xyzOf(white));
  return p.map((value, i) => value * s[i % 3]);
}

/** Linear RGB from one set of primaries to another, whites adapted after Bradford. */
export function rgbToRgb(from: Primaries, to: Primaries): Matrix3 {
  const adapt = adaptation(whiteOf(from), whiteOf(to));
  return multiply(invert(rgbToXyz(to)), multiply(adapt, rgbToXyz(from)));
}

/** Linear RGB of these primaries to CIE XYZ under D50, as ICC profiles want it. */
export function rgbToXyzD50(primaries: Primaries): Matrix3 {
  return multiply(adaptation(whiteOf(primaries), D50), rgbToXyz(primaries));
}

const xyzOf = ([x, y]: readonly [number, number]): Xyz => [x / y, 1, (1 - x - y) / y];
const whiteOf = (primaries: Primaries) => xyzOf(chromaticitiesOf(primaries).white);

const BRADFORD: Matrix3 = [0.8951, 0.2664, -0.1614, -0.7502, 1.7135, 0.0367, 0.0389, -0.0685, 1.0296];

/** CIE XYZ under one white to that under another, by Bradford's cone responses (ICC.1, annex E). */
export function adaptation(from: Xyz, to: Xyz): Matrix3 {
  const source = apply(BRADFORD, from);
  const target = apply(BRADFORD, to);
  const gains = [0, 1, 2].flatMap((i) => [0, 1, 2].map((j) => (i === j ? target[i] / source[i] : 0)));
  return multiply(invert(BRADFORD), multiply(gains, BRADFORD));
}

export function apply(m: Matrix3, v: readonly number[]): [number, number, number] {
  const row = (i: number) => m[i] * v[0] + m[i + 1] * v[1] + m[i + 2] * v[2];
  return [row(0), row(3), row(6)];
}

export function multiply(a: Matrix3, b: Matrix3): Matrix3 {
  return Array.from({ length: 9 }, (_, i) => {
    const row = i - (i % 3);
    return a[row] * b[i % 3] + a[row + 1] * b[3 + (i % 3)] + a[row + 2] * b[6 + (i % 3)];
  });
}

export function invert([a, b, c, d, e, f, g, h, i]: Matrix3): Matrix3 {
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  const adjugate = [e * i - f * h, c * h - b * i, b * f - c * e, f * g - d * i, a * i - c * g, c * d - a * f];
  return [...adjugate, d * h - e * g, b * g - a * h, a * e - b * d].map((value) => value / det);
}
