import { SmhdrError } from "../errors.js";

const RADIUS = 5;
const SIGMA = 1.5;
const C1 = 0.01 ** 2;
const C2 = 0.03 ** 2;

/** The 11 weights of the window along one axis; they sum to 1. */
export function ssimWindow(): Float64Array {
  const weights = Float64Array.from({ length: 2 * RADIUS + 1 }, (_, i) =>
    Math.exp(-((i - RADIUS) ** 2) / (2 * SIGMA ** 2)),
  );
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** An interleaved picture of floats. */
interface Picture {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly data: Float32Array;
}

/**
 * Structural similarity (Wang and others, 2004) of values in [0, 1]: 11x11 Gaussian window of sigma 1.5, zeros beyond
 * the border, variances as E[x^2] - E[x]^2, the mean over pixels and channels; 1 for equal pictures. `f`, the identity
 * unless given, is applied to every value first. Holds a few rows at a time.
 */
export function ssim(a: Picture, b: Picture, f: (value: number) => number = (value) => value): number {
  const { width, height, channels } = a;
  if (b.width !== width || b.height !== height || b.channels !== channels) {
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `Two pictures of one size were expected; got ${width}x${height}x${channels} and ${b.width}x${b.height}x${b.channels}.`,
    );
  }
  const window = ssimWindow();
  const size = window.length;
  // The five moments x, y, xx, yy, xy of one padded row, and their horizontal means for the last 11 rows.
  const padded = Array.from({ length: 5 }, () => new Float64Array(width + 2 * RADIUS));
  const rows = Array.from({ length: size }, () => Array.from({ length: 5 }, () => new Float64Array(width)));
  let total = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (const moments of rows) for (const moment of moments) moment.fill(0);
    for (let y = 0; y < height + RADIUS; y++) {
      const newest = rows[y % size];
      if (y < height) {
        for (let x = 0, i = y * width * channels + channel; x < width; x++, i += channels) {
          const p = f(a.data[i]);
          const q = f(b.data[i]);
          padded[0][x + RADIUS] = p;
          padded[1][x + RADIUS] = q;
          padded[2][x + RADIUS] = p * p;
          padded[3][x + RADIUS] = q * q;
          padded[4][x + RADIUS] = p * q;
        }
        for (let m = 0; m < 5; m++) convolve(padded[m], window, newest[m]);
      } else {
        for (const moment of newest) moment.fill(0);
      }
      if (y >= RADIUS) total += sumOfRow(rows, y - 2 * RADIUS, window, width);
    }
  }
  return total / (width * height * channels);
}

function convolve(padded: Float64Array, window: Float64Array, out: Float64Array): void {
  for (let x = 0; x < out.length; x++) {
    let sum = 0;
    for (let k = 0; k < window.length; k++) sum += window[k] * padded[x + k];
    out[x] = sum;
  }
}

/** The sum of the similarities along one row, whose window begins at row `first` (rows before 0 are zeros). */
function sumOfRow(rows: Float64Array[][], first: number, window: Float64Array, width: number): number {
  const size = window.length;
  const ring = Array.from({ length: size }, (_, k) => rows[(first + k + size) % size]);
  const mean = new Float64Array(5);
  let total = 0;
  for (let x = 0; x < width; x++) {
    for (let m = 0; m < 5; m++) {
      let sum = 0;
      for (let k = 0; k < size; k++) sum += window[k] * ring[k][m][x];
      mean[m] = sum;
    }
    const [p, q, pp, qq, pq] = mean;
    const similarity = (2 * p * q + C1) * (2 * (pq - p * q) + C2);
    total += similarity / ((p * p + q * q + C1) * (pp - p * p + qq - q * q + C2));
  }
  return total;
}
