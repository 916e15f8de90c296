import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { SmhdrError, shown } from "../errors.js";
import type { Radiance } from "../image.js";
import { replaceFile } from "./replace-file.js";
import type { ToneMapOptions } from "./tone-map.js";
import { writeDisplay } from "./write-display.js";
import { writeOpenExr } from "./write-openexr.js";
import { writeRadianceHdr } from "./write-radiance-hdr.js";
import { writeFloatTiff } from "./write-tiff.js";

export interface WriteOptions {
  /** Of OpenEXR: 16-bit half (the default) or 32-bit float. */
  readonly precision?: "half" | "float";
  /** Of OpenEXR. Default "zip". */
  readonly compression?: "zip" | "none";
  /** Of PNG. Default 8. */
  readonly bitDepth?: 8 | 16;
  /** Of JPEG, WebP and AVIF, 1 to 100. Default 92, AVIF 75. */
  readonly quality?: number;
  /** The look of PNG, JPEG, WebP and AVIF. */
  readonly toneMap?: ToneMapOptions;
  readonly signal?: AbortSignal | undefined;
  /** Called with the fraction done, 0 to 1. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

type Writer = (radiance: Radiance, path: string, options: WriteOptions) => Promise<void>;

const display =
  (format: "png" | "jpeg" | "webp" | "avif"): Writer =>
  (radiance, path, options) =>
    writeDisplay(radiance, path, format, options);

const WRITERS: Readonly<Record<string, Writer>> = {
  ".exr": writeOpenExr,
  ".hdr": writeRadianceHdr,
  ".tif": writeFloatTiff,
  ".tiff": writeFloatTiff,
  ".png": display("png"),
  ".jpg": display("jpeg"),
  ".jpeg": display("jpeg"),
  ".webp": display("webp"),
  ".avif": display("avif"),
};

/** Every extension that writeImage knows, with its dot, in lower case. */
export const OUTPUT_EXTENSIONS: readonly string[] = Object.keys(WRITERS);

/**
 * Writes a radiance to a file, its format chosen by the extension of `path`: linear .exr, .hdr (RGBE) and .tif (32-bit
 * float); tone-mapped .png, .jpg, .webp and .avif. An existing file is replaced once the new one is complete; on any
 * failure nothing is left behind. No file holds NaN or infinity: NaN is written as 0, what is too large as the largest
 * value of the format; .exr and .tif keep negative values, the other formats write them as 0.
 * Throws INVALID_ARGUMENT for an unknown extension or impossible options, IO where the file system says no, UNSUPPORTED
 * for a picture too large for the format, CANCELLED when the signal fires.
 */
export async function writeImage(radiance: Radiance, path: string, options: WriteOptions = {}): Promise<void> {
  if (typeof path !== "string")
    throw new SmhdrError("INVALID_ARGUMENT", `path: expected a file's name, after the radiance; got ${shown(path)}.`);
  checkOutputPath(path);
  checkRadiance(radiance);
  checkOptions(options);
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory()) throw new SmhdrError("IO", `${path}: cannot be written (it is a folder).`);
  const write = WRITERS[extname(path).toLowerCase()];
  await replaceFile(path, options.signal, (temporary) => write(radiance, temporary, options));
}

/** Throws INVALID_ARGUMENT unless the extension of `path` is one that writeImage knows: worth asking before hours of work. */
export function checkOutputPath(path: string): void {
  const extension = extname(path).toLowerCase();
  if (!Object.hasOwn(WRITERS, extension)) {
    const what = extension ? `the extension "${extension}" is unknown` : "it has no extension";
    throw new SmhdrError("INVALID_ARGUMENT", `Output "${path}": ${what}; use one of ${OUTPUT_EXTENSIONS.join(", ")}.`);
  }
}

function checkRadiance(radiance: Radiance): void {
  const fail = (what: string): never => {
    throw new SmhdrError("INVALID_ARGUMENT", `radiance: ${what}.`);
  };
  if (typeof radiance !== "object" || radiance === null) fail(`an object was expected; got ${shown(radiance)}`);
  const { width, height, channels, data, encoding } = radiance;
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    fail(`width and height must be whole numbers of at least 1; got ${width}x${height}`);
  }
  if (channels !== 3) fail(`channels must be 3; got ${shown(channels)}`);
  if (!(data instanceof Float32Array)) fail("data must be a Float32Array");
  if (data.length !== width * height * 3) {
    fail(`${width}x${height} pixels of 3 channels are ${width * height * 3} values; got ${data.length}`);
  }
  if (encoding?.transfer !== "linear") fail(`encoding.transfer must be "linear"; got ${shown(encoding?.transfer)}`);
}

/** Of a tone map's exposure, and more than its other options have use for. */
const MOST_STOPS = 20;

function checkOptions({ bitDepth, quality, precision, compression, toneMap = {} }: WriteOptions): void {
  const fail = (what: string): never => {
    throw new SmhdrError("INVALID_ARGUMENT", `Option ${what}.`);
  };
  for (const name of ["exposure", "detail", "saturation"] as const) {
    const value = toneMap[name];
    const least = name === "exposure" ? -MOST_STOPS : 0;
    if (value !== undefined && !(value >= least && value <= MOST_STOPS))
      fail(`toneMap.${name} must be ${least} to ${MOST_STOPS}; got ${value}`);
  }
  if (bitDepth !== undefined && bitDepth !== 8 && bitDepth !== 16) fail(`bitDepth must be 8 or 16; got ${bitDepth}`);
  if (quality !== undefined && !(quality >= 1 && quality <= 100)) fail(`quality must be 1 to 100; got ${quality}`);
  if (precision !== undefined && precision !== "half" && precision !== "float") {
    fail(`precision must be "half" or "float"; got ${JSON.stringify(precision)}`);
  }
  if (compression !== undefined && compression !== "zip" && compression !== "none") {
    fail(`compression must be "zip" or "none"; got ${JSON.stringify(compression)}`);
  }
}
