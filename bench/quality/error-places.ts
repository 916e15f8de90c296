import { muLaw } from "../../src/measure/mu-law.js";
import type { SyntheticBracket } from "../../src/train/synthesis/synthesize.js";

/** Kinds of pixels by what the reference shows of them. */
export const places = ["still", "moved", "still, clipped", "moved, clipped"] as const;

/** Squared mu-law difference from the truth, summed over each kind of pixels, and how many pixels each has. */
export interface PlacedError {
  readonly squares: readonly number[];
  readonly pixels: readonly number[];
}

/** `result`'s error by places: what something moving covered or uncovered, and what the reference, the second exposure, clips. */
export function placeError(result: Float32Array, { truth, moving, exposures }: SyntheticBracket): PlacedError {
  const codes = exposures[1];
  const clipping = 0.983 * 65535;
  const squares = [0, 0, 0, 0];
  const pixels = [0, 0, 0, 0];
  const curve = (v: number) => muLaw(Math.min(1, Math.max(0, v)));
  for (let p = 0; p < moving.length; p++) {
    const clipped = Math.max(codes[3 * p], codes[3 * p + 1], codes[3 * p + 2]) >= clipping;
    const place = (moving[p] ? 1 : 0) + (clipped ? 2 : 0);
    pixels[place]++;
    for (let i = 3 * p; i < 3 * p + 3; i++) squares[place] += (curve(result[i]) - curve(truth[i])) ** 2;
  }
  return { squares, pixels };
}

/** Mean over scenes of each place's share. */
export function meanShares(counts: readonly (readonly number[])[]): number[] {
  return places.map((_, k) => {
    const shares = counts.map((each) => each[k] / each.reduce((sum, v) => sum + v, 0));
    return shares.reduce((sum, v) => sum + v, 0) / shares.length;
  });
}

/** Mean PSNR-mu in dB, were the differences half as large everywhere but where something moved and the reference clips. */
export function halvedElsewhere(errors: readonly PlacedError[]): number {
  const each = errors.map(({ squares, pixels }) => {
    const sum = squares.reduce((all, v, k) => all + (k === 3 ? v : v / 4), 0);
    return -10 * Math.log10(sum / (3 * pixels.reduce((all, v) => all + v, 0)));
  });
  return each.reduce((sum, v) => sum + v, 0) / each.length;
}
