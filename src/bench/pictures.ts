import type { Bracket, Homography } from "../bracket/bracket.js";
import { memoryPixels } from "../bracket/pixels.js";
import type { PixelData } from "../image.js";

/** Evenly distributed numbers in [0, 1), always the same. */
function* noise(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield (state >>> 8) / 2 ** 24;
  }
}

/** What the network reads of noise: `exposures` arrays [pixels, 6], one after the other, two stops apart. */
export function networkInput(exposures: number, pixels: number): Float32Array {
  const values = new Float32Array(exposures * pixels * 6);
  const random = noise(1);
  for (let p = 0, at = 0; p < exposures * pixels; p++, at += 6) {
    const scale = 1 / (4 ** Math.floor(p / pixels) + 1e-8);
    for (let c = 0; c < 3; c++) {
      const stored = random.next().value;
      values[at + c] = stored ** 2.2 * scale;
      values[at + 3 + c] = stored;
    }
  }
  return values;
}

/** Radiance to train towards: [pixels, 3]. */
export function noiseRadiance(pixels: number): Float32Array {
  const random = noise(2);
  return Float32Array.from({ length: 3 * pixels }, () => random.next().value ** 2.2);
}

export interface PictureSize {
  readonly width: number;
  readonly height: number;
  readonly depth: "uint8" | "uint16";
}

/** Stops of the exposures of every bracket here. */
export const EXPOSURE_VALUES = [0, 2, 4] as const;

/** One photograph: a horizontal ramp of light with a little noise, gamma 2.2, clipped where the exposure clips. */
export function photograph({ width, height, depth }: PictureSize, exposure: number): Uint8Array | Uint16Array {
  const row = width * 3;
  const data = depth === "uint8" ? new Uint8Array(row * height) : new Uint16Array(row * height);
  const top = depth === "uint8" ? 255 : 65535;
  const gain = 2 ** EXPOSURE_VALUES[exposure];
  const ramp = Int32Array.from({ length: row }, (_, i) => {
    const light = 0.05 * gain * (0.3 + (0.6 * Math.floor(i / 3)) / width);
    return Math.round(top * Math.min(1, light) ** (1 / 2.2));
  });
  const shift = depth === "uint8" ? 30 : 22; // noise of up to 3 or 1023 codes
  let state = exposure + 1;
  for (let y = 0, at = 0; y < height; y++) {
    for (let i = 0; i < row; i++, at++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      data[at] = Math.min(top, ramp[i] + (state >>> shift));
    }
  }
  return data;
}

/** A hand's movement, and turn, between exposures. */
const MOVED: Homography = [1, 0.001, 3.3, -0.001, 1, -2.2, 0, 0, 1];

/** A bracket of photographs in memory; `moved`: all but the reference lie elsewhere. */
export function bracketOf({ width, height, depth }: PictureSize, data: readonly PixelData[], moved = false): Bracket {
  const encoding = { transfer: "gamma2.2", primaries: "srgb" } as const;
  const exposures = data.map((pixels, i) => ({
    name: `exposure ${i}`,
    pixels: memoryPixels({ width, height, depth, encoding }, pixels),
    exposureValue: EXPOSURE_VALUES[i],
    exposureSource: "given" as const,
    ...(moved && i !== 1 && { alignment: MOVED }),
  }));
  const close = () => {
    for (const { pixels } of exposures) pixels.close();
  };
  return { width, height, exposures, reference: 1, notes: [], close };
}
