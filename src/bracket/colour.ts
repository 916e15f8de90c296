import type { Metadata } from "sharp";
import type { Encoding, Primaries, Transfer } from "../image.js";
import { readProfile } from "./icc.js";

/** What the numbers of a file mean, or that colour management must make them into something that can be named. */
export interface ColourReading {
  readonly encoding: Encoding | "convert";
  /** Said to the person when something in the file had to be passed over. */
  readonly remark?: string;
}

const SRGB: Encoding = { transfer: "srgb", primaries: "srgb" };

/**
 * Finds the encoding of a file's integers: coding-independent code points (PNG cICP, AVIF nclx), else the embedded ICC
 * profile, else PNG gAMA, else sRGB, as every viewer assumes. `head` is the beginning of the file.
 */
export function readColour(meta: Metadata, head: Uint8Array): ColourReading {
  if (meta.space === "cmyk") return { encoding: "convert" };
  const png = meta.format === "png" ? pngColour(head) : {};
  if (png.codePoints) return fromCodePoints(png.codePoints);
  if (meta.icc) {
    const reading = readProfile(meta.icc);
    if (reading === "invalid") {
      return { encoding: SRGB, remark: "has a broken or unfit ICC profile; its pixels were taken as sRGB" };
    }
    return { encoding: reading === "convert" ? "convert" : reading.encoding };
  }
  if (meta.format === "heif") {
    const codePoints = nclx(head);
    if (codePoints) return fromCodePoints(codePoints);
  }
  return { encoding: png.gamma === undefined ? SRGB : { transfer: powerLaw(png.gamma), primaries: "srgb" } };
}

/** Colour primaries and transfer characteristics as ITU-T H.273 numbers them. */
type CodePoints = readonly [primaries: number, transfer: number];

const primariesByCode: Record<number, Primaries> = { 1: "srgb", 2: "srgb", 9: "rec2020", 12: "display-p3" };
const transferByCode: Record<number, Transfer> = {
  1: "rec709",
  2: "srgb",
  4: "gamma2.2",
  6: "rec709",
  8: "linear",
  13: "srgb",
  14: "rec709",
  15: "rec709",
  16: "pq",
  18: "hlg",
};

function fromCodePoints([primariesCode, transferCode]: CodePoints): ColourReading {
  const primaries = primariesByCode[primariesCode];
  const transfer = transferByCode[transferCode];
  if (primaries && transfer) return { encoding: { primaries, transfer } };
  return {
    encoding: { primaries: primaries ?? "srgb", transfer: transfer ?? "srgb" },
    remark: `states colour code points ${primariesCode}/${transferCode}, which are not known here; sRGB was assumed for them`,
  };
}

/** The chunks before a PNG's pixels that say what the pixels mean. */
function pngColour(head: Uint8Array): { codePoints?: CodePoints; gamma?: number } {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  let gamma: number | undefined;
  for (let at = 8; at + 12 <= head.length; at += 12 + view.getUint32(at)) {
    const kind = ascii(head, at + 4);
    if (kind === "IDAT" || kind === "IEND") break;
    if (kind === "sRGB") return {};
    if (kind === "cICP") return { codePoints: [head[at + 8], head[at + 9]] };
    if (kind === "gAMA") gamma = view.getUint32(at + 8) / 100000;
  }
  // 1/2.2 is how writers have always said "sRGB" with this chunk.
  return gamma === undefined || gamma < 0.1 || gamma > 10 || Math.abs(gamma - 1 / 2.2) < 0.005 ? {} : { gamma };
}

/** The `colr` box of type `nclx` in the head of an AVIF file. */
function nclx(head: Uint8Array): CodePoints | undefined {
  const at = Buffer.from(head.buffer, head.byteOffset, head.byteLength).indexOf("colrnclx");
  if (at < 0 || at + 12 > head.length) return undefined;
  return [head[at + 8] * 256 + head[at + 9], head[at + 10] * 256 + head[at + 11]];
}

/** PNG's gamma is the encoding exponent. */
function powerLaw(gamma: number): Transfer {
  if (Math.abs(gamma - 1) < 0.005) return "linear";
  return { table: Float32Array.from({ length: 4096 }, (_, i) => (i / 4095) ** (1 / gamma)) };
}

const ascii = (bytes: Uint8Array, at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));
