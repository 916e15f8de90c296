import { SmhdrError } from "../errors.js";

/** The mean of (f(a) - f(b))^2 over all values, in double precision; `f` is the identity unless given. */
export function meanSquaredError(a: Float32Array, b: Float32Array, f?: (value: number) => number): number {
  if (a.length !== b.length || a.length === 0) {
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `Two pictures of one size were expected; got ${a.length} and ${b.length} values.`,
    );
  }
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = f ? f(a[i]) - f(b[i]) : a[i] - b[i];
    sum += difference * difference;
  }
  return sum / a.length;
}

/** Peak signal-to-noise ratio in dB: 10 log10(peak^2 / mean squared error). Infinity for equal pictures. */
export function psnr(a: Float32Array, b: Float32Array, f?: (value: number) => number, peak = 1): number {
  return 10 * Math.log10((peak * peak) / meanSquaredError(a, b, f));
}
