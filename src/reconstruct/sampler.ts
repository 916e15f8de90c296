import type { Exposure, PixelStore } from "../bracket/bracket.js";
import { transferTable } from "../bracket/transfer.js";
import { type Addon, loadAddon, optionalAddon, type SamplerOptions } from "../engine/addon.js";
import { callNative, finishTask } from "../engine/task.js";
import { gammaTable, muLawTable, radianceScale } from "./network-input.js";
import { PlainSampler } from "./plain-sampler.js";
import type { Region } from "./region.js";

/** Six values of the network's input for every pixel of a part of the picture. */
export interface Sampler {
  /** Fills `out` [height, width, 6] with the region. One call at a time. */
  read(region: Region, out: Float32Array): Promise<void>;
}

/** Rows sampled at once: rows that are made when they are read take memory. */
const BAND = 128;

/**
 * An exposure as the network reads it, moved onto the reference: H = linear / 2^EV and I = linear^(1/2.2) (method.md section 1
 * for pixels of gamma 2.2; any other encoding is brought there through linear light). Between pixels it is cubic in the root of
 * light, as in the merge; what the exposure did not see repeats its border.
 *
 * @param threads default one per processor
 * @param addon null: without it, slower
 */
export function exposureSampler(exposure: Exposure, threads = 0, addon = optionalAddon() ?? null): Sampler {
  const { pixels, exposureValue, alignment } = exposure;
  if (addon)
    return nativeSampler(addon, pixels, { scale: radianceScale(exposureValue), alignment, curve: gammaTable, threads });
  const plain = new PlainSampler(exposure);
  return inBands(async (region, out) => plain.read(region, out));
}

/**
 * A merge as networks with a prior read it (src/model/prior.ts), like one more exposure on the reference's grid: radiance within
 * 0 and 1, then its mu-law.
 *
 * @param scale what makes 1.0 of the radiance at which the shortest exposure given to the network clips
 */
export function mergeSampler(
  merge: { readonly width: number; readonly height: number; readonly data: Float32Array },
  scale: number,
  threads = 0,
): Sampler {
  const { width, height, data } = merge;
  const pixels = {
    width,
    height,
    depth: "float32",
    encoding: { transfer: "linear", primaries: "srgb" },
    rows: (y0: number, y1: number) => data.subarray(y0 * width * 3, y1 * width * 3),
  } as const;
  return nativeSampler(loadAddon(), pixels, { gain: scale, curve: muLawTable, threads });
}

type Readable = Pick<PixelStore, "width" | "height" | "depth" | "encoding" | "rows">;

interface NativeOptions extends Pick<SamplerOptions, "curve"> {
  readonly gain?: number;
  readonly scale?: number;
  readonly alignment?: readonly number[] | undefined;
  readonly threads: number;
}

function nativeSampler(
  addon: Addon,
  pixels: Readable,
  { threads, gain = 1, scale = 1, ...options }: NativeOptions,
): Sampler {
  const { width, height, depth } = pixels;
  const sampler = callNative(() =>
    addon.createSampler({ width, height, depth, transfer: transferTable(pixels), gain, scale, ...options }),
  );
  return inBands((region, out) => {
    const rows = pixels.rows(...addon.samplerRows(sampler, region));
    return finishTask(() => addon.samplerRead(sampler, region, rows, out, threads));
  });
}

function inBands(read: Sampler["read"]): Sampler {
  return {
    async read(region, out) {
      for (let y = 0; y < region.height; y += BAND) {
        const band = { ...region, y: region.y + y, height: Math.min(BAND, region.height - y) };
        await read(band, out.subarray(y * region.width * 6, (y + band.height) * region.width * 6));
      }
    },
  };
}
