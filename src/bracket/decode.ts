import { mkdtemp, open, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp, { type Metadata, type Sharp } from "sharp";
import { SmhdrError, unreadable } from "../errors.js";
import { type Encoding, MAX_PIXELS } from "../image.js";
import type { PixelStore } from "./bracket.js";
import { readColour } from "./colour.js";
import { type CameraSettings, type ExifTags, loadExif, number, readCameraSettings, settingsOf } from "./metadata.js";
import { filePixels, memoryPixels, type PixelFormat } from "./pixels.js";
import { buildProxy, type ExposureProxy } from "./proxy.js";

/** An encoded photograph: a path, or the bytes of a file. */
export type PhotographSource = string | Buffer;

export type AlphaPolicy = "refuse" | "flatten";

/** What a file's header promises: everything but the pixels. */
export interface PhotographHeader extends PixelFormat {
  readonly source: PhotographSource;
  /** The path, or "image 2" for bytes: how errors and notes call it. */
  readonly name: string;
  readonly depth: "uint8" | "uint16";
  readonly settings: CameraSettings;
  /** The integers cannot be described by a curve and primaries; colour management converts them while decoding. */
  readonly convert: boolean;
  readonly hasAlpha: boolean;
  readonly remark?: string;
}

export interface Photograph {
  readonly header: PhotographHeader;
  readonly pixels: PixelStore;
  readonly proxy: ExposureProxy;
}

const formats = new Set(["jpeg", "png", "tiff", "webp", "heif"]);
/** Files of a camera's sensor values. Many are TIFF outside, with a thumbnail where the picture would be. */
const rawName = /\.(3fr|arw|cr2|cr3|dng|erf|fff|iiq|kdc|mef|mrw|nef|nrw|orf|pef|raf|raw|rw2|rwl|sr2|srf|srw|x3f)$/i;
const spaces = new Set(["srgb", "rgb", "rgb16", "b-w", "grey16", "cmyk"]);
/** Enough of a file for the boxes and chunks that come before the pixels. */
const HEAD_BYTES = 256 * 1024;
/** A .v file, libvips' own format: 64 bytes of header, then the rows. */
const VIPS_HEADER_BYTES = 64;

/** libvips' built-in profile that 16-bit conversions end in, and the 8-bit one. */
const converted: Record<PhotographHeader["depth"], Encoding> = {
  uint8: { transfer: "srgb", primaries: "srgb" },
  uint16: { transfer: "srgb", primaries: "display-p3" },
};

/**
 * Reads and checks a file's header.
 *
 * @throws SmhdrError BAD_INPUT (not an image, broken, empty, a folder, too large), UNSUPPORTED (a format, animation, alpha
 * or sample type we do not take), IO (missing or unreadable).
 */
export async function readHeader(
  source: PhotographSource,
  name: string,
  alpha: AlphaPolicy = "refuse",
): Promise<PhotographHeader> {
  const head = await readHead(source, name);
  if (rawName.test(name) || isThumbnail(head)) {
    throw new SmhdrError(
      "UNSUPPORTED",
      `${name} is a raw file; expected a photograph developed from it, best as 16-bit TIFF, all with the same settings.`,
    );
  }
  let meta: Metadata;
  try {
    // The limit is checked below, with our own words.
    meta = await sharp(source, { limitInputPixels: false }).metadata();
  } catch (cause) {
    const expected = /\.(exr|hdr)$/i.test(name)
      ? "an HDR image already; expected photographs"
      : /\.hei[cf]$/i.test(name)
        ? "HEIC, which is not read; export it as 16-bit TIFF or JPEG"
        : `not an image that can be read (${reason(cause)}); expected JPEG, PNG, TIFF, WebP or AVIF`;
    throw new SmhdrError("BAD_INPUT", `${name} is ${expected}.`, { cause });
  }
  const { width: storedWidth, height: storedHeight, orientation = 1 } = meta;
  if (!formats.has(meta.format)) {
    throw new SmhdrError("UNSUPPORTED", `${name} is ${meta.format}; expected JPEG, PNG, TIFF, WebP or AVIF.`);
  }
  if ((meta.pages ?? 1) > 1) {
    throw new SmhdrError("UNSUPPORTED", `${name} is animated or has ${meta.pages} pages; expected one photograph.`);
  }
  if (!(storedWidth * storedHeight <= MAX_PIXELS)) {
    throw new SmhdrError(
      "BAD_INPUT",
      `${name} claims ${storedWidth} x ${storedHeight} pixels; at most ${MAX_PIXELS} pixels can be read.`,
    );
  }
  if (meta.depth !== "uchar" && meta.depth !== "ushort") {
    throw new SmhdrError("UNSUPPORTED", `${name} has ${meta.depth} samples; expected 8- or 16-bit integers.`);
  }
  if (!spaces.has(meta.space)) {
    const came = `${meta.channels} channels of ${meta.space}`;
    throw new SmhdrError("UNSUPPORTED", `${name} has ${came}; expected grey, RGB or CMYK.`);
  }
  if (meta.hasAlpha && alpha === "refuse") {
    throw new SmhdrError(
      "UNSUPPORTED",
      `${name} has an alpha channel; expected none, or alpha "flatten" (--alpha flatten), which lays it on black.`,
    );
  }
  const exif = meta.exif && loadExif(meta.exif);
  if (isResult(exif)) {
    throw new SmhdrError("BAD_INPUT", `${name} was merged by smhdr; expected a photograph.`);
  }
  const colour = readColour(meta, head);
  const convert = colour.encoding === "convert";
  // CMYK comes out of libvips' colour management as 8-bit sRGB, everything else at 16 bits.
  const depth = convert ? (meta.space === "cmyk" ? "uint8" : "uint16") : meta.depth === "uchar" ? "uint8" : "uint16";
  const turned = orientation >= 5;
  return {
    source,
    name,
    width: turned ? storedHeight : storedWidth,
    height: turned ? storedWidth : storedHeight,
    depth,
    encoding: colour.encoding === "convert" ? converted[depth] : colour.encoding,
    convert,
    hasAlpha: meta.hasAlpha ?? false,
    settings: meta.exif ? settingsOf(exif) : await readSettings(source, meta),
    ...(colour.remark === undefined ? {} : { remark: colour.remark }),
  };
}

/**
 * Decodes a photograph, upright, as RGB integers. With `spill` the rows go through a temporary file instead of memory.
 *
 * @throws SmhdrError BAD_INPUT (truncated, corrupt), IO (no room for the temporary file).
 */
export async function decodePhotograph(header: PhotographHeader, spill: boolean): Promise<Photograph> {
  const pixels = spill ? await decodeToFile(header) : await decodeToMemory(header);
  try {
    return { header, pixels, proxy: buildProxy(pixels) };
  } catch (error) {
    pixels.close();
    throw error;
  }
}

async function decodeToMemory(header: PhotographHeader): Promise<PixelStore> {
  const wide = header.depth === "uint16";
  const { data, info } = await pipeline(header)
    .raw({ depth: wide ? "ushort" : "uchar" })
    .toBuffer({ resolveWithObject: true })
    .catch((cause) => {
      throw undecodable(header, cause);
    });
  const { width, height } = header;
  if (info.width !== width || info.height !== height || info.channels !== 3) {
    const came = `${info.width} x ${info.height} x ${info.channels}`;
    throw new SmhdrError("INTERNAL", `${header.name} decoded as ${came}, expected ${width} x ${height} x 3.`);
  }
  // Plain arrays: a Buffer's slice() is no copy.
  const Samples = wide ? Uint16Array : Uint8Array;
  return memoryPixels(header, new Samples(data.buffer, data.byteOffset, width * height * 3));
}

async function decodeToFile(header: PhotographHeader): Promise<PixelStore> {
  const folder = await mkdtemp(join(tmpdir(), "smhdr-")).catch((cause) => {
    throw new SmhdrError("IO", `No temporary file can be made in ${tmpdir()} (${reason(cause)}).`, { cause });
  });
  try {
    const path = join(folder, "pixels.v");
    const info = await pipeline(header)
      .toFile(path)
      .catch((cause) => {
        const full = cause instanceof Error && /write failed|unable to write|No space/i.test(cause.message);
        if (full) throw new SmhdrError("IO", `Cannot write a temporary file in ${tmpdir()}: is it full?`, { cause });
        throw undecodable(header, cause);
      });
    if (info.width !== header.width || info.height !== header.height || info.channels !== 3) {
      throw new SmhdrError("INTERNAL", `${header.name} decoded as ${info.width} x ${info.height} x ${info.channels}.`);
    }
    return filePixels(header, path, VIPS_HEADER_BYTES);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The decoding that both kinds of store share: orientation, three channels, native depth, no hidden conversion. */
function pipeline({ source, depth, convert, hasAlpha }: PhotographHeader): Sharp {
  // libvips would keep files that have since changed.
  sharp.cache(false);
  const image = sharp(source, {
    failOn: "error",
    limitInputPixels: MAX_PIXELS,
    ignoreIcc: !convert,
    sequentialRead: true,
  });
  const space = depth === "uint16" ? "rgb16" : "srgb";
  if (convert && depth === "uint16") image.pipelineColourspace("rgb16");
  if (hasAlpha) image.flatten({ background: "black" });
  return image.autoOrient().toColourspace(space);
}

async function readHead(source: PhotographSource, name: string): Promise<Uint8Array> {
  if (typeof source !== "string") {
    if (source.length === 0) throw new SmhdrError("BAD_INPUT", `${name} is empty.`);
    return source.subarray(0, HEAD_BYTES);
  }
  try {
    const found = await stat(source);
    if (found.isDirectory())
      throw new SmhdrError(
        "BAD_INPUT",
        `${name} is a folder; expected an image file (smhdr batch finds the brackets in folders).`,
      );
    if (!found.isFile()) throw new SmhdrError("BAD_INPUT", `${name} is not a regular file.`);
    if (found.size === 0) throw new SmhdrError("BAD_INPUT", `${name} is empty.`);
    const file = await open(source, "r");
    try {
      const head = Buffer.alloc(Math.min(HEAD_BYTES, found.size));
      await file.read(head, 0, head.length, 0);
      return head;
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof SmhdrError) throw cause;
    throw unreadable(name, cause);
  }
}

/** Whether the first directory of a TIFF file says that its picture is a small form of another: so raw files begin. */
function isThumbnail(head: Uint8Array): boolean {
  const tiff = /^(II\*\0|MM\0\*)$/.test(String.fromCharCode(...head.subarray(0, 4)));
  return tiff && ((number(loadExif(head)?.SubfileType) ?? 0) & 1) === 1;
}

/** Whether EXIF tells of a merge (src/output/describe.ts): a preview beside its photographs is easily taken for one of them. */
function isResult(exif: ExifTags | undefined): boolean {
  const text = exif?.ImageDescription?.value;
  return /(^|; )mergeMethod: /.test(Array.isArray(text) ? String(text[0]) : "");
}

/** TIFF keeps its settings in directories anywhere in the file; the others carry a block that libvips hands over. */
async function readSettings(source: PhotographSource, meta: Metadata): Promise<CameraSettings> {
  if (meta.format !== "tiff") return {};
  return readCameraSettings(typeof source === "string" ? await readFile(source) : source);
}

const undecodable = (header: PhotographHeader, cause: unknown) =>
  new SmhdrError("BAD_INPUT", `${header.name} is damaged or cut short (${reason(cause)}).`, { cause });

/** The first line of an error: decoders repeat themselves over many. */
function reason(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause);
  return message.split("\n")[0].trim();
}
