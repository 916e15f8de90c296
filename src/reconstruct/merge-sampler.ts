import { muLaw } from "../measure/mu-law.js";
import { mirror, type Region } from "./sampler.js";
import { tabulated } from "./tabulated.js";

const toMuLaw = tabulated(muLaw);

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

const order = [0, 1, 2];

/** A merge as networks with a prior read it (src/model/prior.ts): like one more exposure on the reference's grid. */
export class MergeSampler {
  /** @param scale what makes 1.0 of the radiance at which the shortest exposure given to the network clips */
  constructor(
    private readonly merge: { readonly width: number; readonly height: number; readonly data: Float32Array },
    private readonly scale: number,
  ) {}

  /** Fills `out` [height, width, 6] with the region, mirrored beyond the borders. */
  read({ x, y, width, height }: Region, out: Float32Array): void {
    const { merge, scale } = this;
    const columns = Int32Array.from({ length: width }, (_, i) => mirror(x + i, merge.width) * 3);
    let to = 0;
    for (let j = 0; j < height; j++) {
      const row = mirror(y + j, merge.height) * merge.width * 3;
      for (let i = 0; i < width; i++, to += 6) mergePixel(merge.data, row + columns[i], scale, order, out, to);
    }
  }
}
