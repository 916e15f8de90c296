import sharp from "sharp";
import { toSrgb } from "../bracket/transfer.js";
import { apply, rgbToRgb } from "../codec/chromaticities.js";
import type { Primaries } from "../image.js";
import { reduceArea } from "../measure/reduce.js";
import type { GhostMap } from "../reconstruct/ghost-map.js";
import type { JobExposure } from "./exposure.js";
import { type Merged, referenceStops } from "./merge.js";
import { sizeWithin } from "./size.js";

export interface ViewOptions {
  /** Stops brighter than the reference was. */
  readonly exposure: number;
  /** Tint where other exposures were not used. */
  readonly ghosts: boolean;
  /** Pixels a side at most. */
  readonly size: number;
  readonly format: "jpeg" | "png";
}

interface Picture {
  readonly width: number;
  readonly height: number;
  /** Linear RGB. */
  readonly data: Float32Array;
}

/** Reduced results, so that an exposure slider need not read the whole picture again. */
const reducedResults = new WeakMap<Merged, Picture>();

/** The result as a display shows it: sRGB, clipped at white, nothing else done to it. Returns a file's bytes. */
export async function viewResult(merged: Merged, { exposure, ghosts, size, format }: ViewOptions): Promise<Buffer> {
  const { radiance, report } = merged;
  const wanted = sizeWithin(size, radiance);
  let picture = reducedResults.get(merged);
  if (picture?.width !== wanted.width || picture.height !== wanted.height) {
    picture = { ...wanted, data: reduceArea(radiance.data, radiance, wanted, 3) };
    reducedResults.set(merged, picture);
  }
  const gain = 2 ** (referenceStops(report) + exposure);
  const codes = toDisplay(picture.data, radiance.encoding.primaries, gain);
  if (ghosts) tint(codes, wanted, merged.ghosts());
  const image = sharp(codes, { raw: { ...wanted, channels: 3 } });
  return format === "png" ? image.png().toBuffer() : image.jpeg({ quality: 88 }).toBuffer();
}

/** An exposure as a small PNG, as a display shows it. */
export async function thumbnail(exposure: JobExposure, size: number): Promise<Buffer> {
  const { proxy, pixels } = await exposure.member();
  const wanted = sizeWithin(size, pixels, proxy);
  const data = reduceArea(proxy.data, proxy, wanted, 3);
  const codes = toDisplay(data, pixels.encoding.primaries, 1);
  return sharp(codes, { raw: { ...wanted, channels: 3 } })
    .png()
    .toBuffer();
}

/** The ghost map in bytes, at most `size` pixels a side. */
export function ghostBytes(merged: Merged, size: number): { width: number; height: number; data: Uint8Array } {
  const map = merged.ghosts();
  const wanted = sizeWithin(size, merged.radiance, map);
  const data = Uint8Array.from(reduceArea(map.data, map, wanted, 1), (value) => Math.round(255 * value));
  return { ...wanted, data };
}

/** Linear light times `gain` to 8-bit sRGB. */
function toDisplay(data: Float32Array, primaries: Primaries, gain: number): Uint8Array {
  const out = new Uint8Array(data.length);
  const matrix = rgbToRgb(primaries, "srgb");
  for (let i = 0; i < data.length; i += 3) {
    const light =
      primaries === "srgb" ? [data[i], data[i + 1], data[i + 2]] : apply(matrix, data.subarray(i, i + 3) as never);
    for (let c = 0; c < 3; c++) out[i + c] = srgbCode(light[c] * gain);
  }
  return out;
}

const TABLE_SIZE = 4096;
/** sRGB codes over the square root of linear light, where they are nearly a straight line. */
const table = Uint8Array.from({ length: TABLE_SIZE + 1 }, (_, i) => {
  const linear = (i / TABLE_SIZE) ** 2;
  return Math.round(255 * toSrgb(linear));
});

function srgbCode(linear: number): number {
  return linear > 0 ? table[linear >= 1 ? TABLE_SIZE : Math.round(Math.sqrt(linear) * TABLE_SIZE)] : 0;
}

/** What no photograph is made of. */
const TINT = [255, 0, 200];

function tint(codes: Uint8Array, { width, height }: { width: number; height: number }, map: GhostMap): void {
  for (let y = 0, i = 0; y < height; y++) {
    const row = Math.min(map.height - 1, Math.floor(((y + 0.5) * map.height) / height)) * map.width;
    for (let x = 0; x < width; x++, i += 3) {
      const share = 0.75 * map.data[row + Math.min(map.width - 1, Math.floor(((x + 0.5) * map.width) / width))];
      for (let c = 0; c < 3; c++) codes[i + c] = codes[i + c] * (1 - share) + TINT[c] * share;
    }
  }
}
