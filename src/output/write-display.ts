import { rm } from "node:fs/promises";
import sharp from "sharp";
import { SmhdrError, throwIfAborted } from "../errors.js";
import type { Radiance } from "../image.js";
import { describe } from "./describe.js";
import { iccProfile } from "./icc-profile.js";
import { prepareToneMap, type ToneMapOptions } from "./tone-map.js";
import { writeTiff } from "./write-tiff.js";

export type DisplayFormat = "png" | "jpeg" | "webp" | "avif";

export interface DisplayOptions {
  /** Of PNG. Default 8. */
  readonly bitDepth?: 8 | 16;
  /** Of JPEG, WebP and AVIF, 1 to 100. Default 92; 75 for AVIF, which looks the same. */
  readonly quality?: number;
  readonly toneMap?: ToneMapOptions;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

const LONGEST_SIDE: Readonly<Record<DisplayFormat, number>> = {
  png: 2 ** 31 - 1,
  jpeg: 65535,
  webp: 16383,
  avif: 16384,
};

/**
 * Writes a tone-mapped sRGB picture. The pixels go through an uncompressed TIFF beside `path`, which sharp reads in
 * strips: a large picture is never in memory a second time (WebP's and AVIF's own encoders aside, which hold it whole).
 * `path` must not exist.
 */
export async function writeDisplay(
  radiance: Radiance,
  path: string,
  format: DisplayFormat,
  options: DisplayOptions = {},
): Promise<void> {
  const { bitDepth = 8, quality, signal, onProgress } = options;
  const depth = format === "png" ? bitDepth : 8;
  const { width, height } = radiance;
  if (Math.max(width, height) > LONGEST_SIDE[format]) {
    const longest = LONGEST_SIDE[format];
    throw new SmhdrError("UNSUPPORTED", `${format} files end at ${longest} pixels a side; got ${width}x${height}.`);
  }
  const map = prepareToneMap(radiance, options.toneMap);
  throwIfAborted(signal);
  const pixels = `${path}.tif`;
  try {
    await writeTiff(pixels, {
      width,
      height,
      bitsPerSample: depth,
      predictor: 1,
      profile: iccProfile("srgb", "srgb"),
      rows: (y0, y1) => {
        const length = (y1 - y0) * width * 3;
        const rows = depth === 8 ? new Uint8Array(length) : new Uint16Array(length);
        map.rows(y0, y1, rows);
        return new Uint8Array(rows.buffer);
      },
      signal,
      onProgress: onProgress && ((fraction) => onProgress(0.8 * fraction)),
    });
    const description = describe(radiance);
    const image = sharp(pixels, { sequentialRead: true, limitInputPixels: false })
      .keepIccProfile()
      .withExif({
        IFD0: {
          Software: description[0][1],
          ImageDescription: description.map(([name, value]) => `${name}: ${value}`).join("; "),
        },
      });
    if (format === "png") image.toColourspace(depth === 16 ? "rgb16" : "srgb").png({ compressionLevel: 6 });
    // Optimised Huffman tables would hold the whole picture's coefficients: half a gigabyte at 45 megapixels.
    else if (format === "jpeg")
      image.jpeg({ quality: quality ?? 92, chromaSubsampling: "4:4:4", optimiseCoding: false });
    else if (format === "webp") image.webp({ quality: quality ?? 92 });
    else image.avif({ quality: quality ?? 75 });
    await image.toFile(path);
    onProgress?.(1);
  } finally {
    await rm(pixels, { force: true });
  }
}
