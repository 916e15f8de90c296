// What the network is given of a pixel beside its radiance, and at what scale (method.md section 1).
import { muLaw } from "../measure/mu-law.js";
import { curveTable, tabulated } from "./tabulated.js";

/** Of an exposure: its light as gamma 2.2 stores it. */
export const gammaTable = curveTable((light) => light ** (1 / 2.2));
/** Of a merge. */
export const muLawTable = curveTable(muLaw);

/** Radiance of linear light 1.0. */
export const radianceScale = (exposureValue: number): number => 1 / (2 ** exposureValue + 1e-8);

const toMuLaw = tabulated(muLawTable);

/** Six values of the network's input for a pixel of a merge: radiance RGB in [0, 1], then its mu-law. */
export function mergePixel(
  radiance: Float32Array,
  at: number,
  scale: number,
  channels: readonly number[],
  out: Float32Array,
  to: number,
): void {
  for (let c = 0; c < 3; c++) {
    const value = Math.min(Math.max(radiance[at + channels[c]] * scale, 0), 1);
    out[to + c] = value;
    out[to + 3 + c] = toMuLaw(value);
  }
}
