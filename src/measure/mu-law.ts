const MU = 5000;
const SCALE = 1 / Math.log(1 + MU);

/** T(h) = log(1 + 5000 h) / log(1 + 5000): linear radiance, 1.0 to 1, as the eye would space it. Negatives count as 0. */
export function muLaw(value: number): number {
  return value > 0 ? Math.log(1 + MU * value) * SCALE : 0;
}

/** T of every value, in a new array. */
export function muLawOf(values: Float32Array): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = muLaw(values[i]);
  return out;
}
