import { inflateSync } from "node:zlib";
import { halfValues } from "./half.js";
import { decodeB44 } from "./openexr-b44.js";
import { badExr, EXR_LINES_PER_BLOCK, type ExrChannel, type ExrCompression, type ExrHeader } from "./openexr-header.js";
import { decodePiz, type Plane } from "./openexr-piz.js";

/** Compressions whose blocks hold plain lines once inflated, whatever their samples; of the others halves are read. */
const LINES: readonly ExrCompression[] = ["none", "rle", "zips", "zip"];
const HALVES: readonly ExrCompression[] = ["piz", "b44", "b44a"];

/** Whether decodeScanLines reads a file. */
export function decodesBlocks({ tileSize, multiPart, compression, channels }: ExrHeader): boolean {
  if (tileSize || multiPart) return false;
  return LINES.includes(compression) || (HALVES.includes(compression) && channels.every(({ type }) => type === "half"));
}

/** How many multiples of `sampling` lie in [from, to]. */
export function samplesIn(from: number, to: number, sampling: number): number {
  return Math.floor(to / sampling) - Math.ceil(from / sampling) + 1;
}

const wordsOf = ({ type }: ExrChannel) => (type === "half" ? 1 : 2);

/**
 * The channels of these names of a scan-line file, each at its own resolution, as float32. Never makes more of a block
 * than its lines need. Throws BAD_INPUT for damaged blocks.
 */
export function decodeScanLines(
  bytes: Uint8Array,
  header: ExrHeader,
  names: readonly string[],
): Map<string, Float32Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [left, top, right, bottom] = header.dataWindow;
  const linesPerBlock = EXR_LINES_PER_BLOCK[header.compression];
  const result = new Map<string, Float32Array>();
  for (const { name, xSampling, ySampling } of header.channels) {
    if (names.includes(name))
      result.set(name, new Float32Array(samplesIn(left, right, xSampling) * samplesIn(top, bottom, ySampling)));
  }
  try {
    for (let first = top, entry = header.end; first <= bottom; first += linesPerBlock, entry += 8) {
      const chunk = Number(view.getBigUint64(entry, true));
      const size = view.getUint32(chunk + 4, true);
      if (view.getInt32(chunk, true) !== first || chunk + 8 + size > bytes.length) throw badExr("has a damaged block");
      const last = Math.min(bottom, first + linesPerBlock - 1);
      const planes = header.channels.map((c) => ({
        width: samplesIn(left, right, c.xSampling) * wordsOf(c),
        height: samplesIn(first, last, c.ySampling),
      }));
      const words = decodeBlock(bytes.subarray(chunk + 8, chunk + 8 + size), header, planes, first, last);
      let at = 0;
      header.channels.forEach((channel, c) => {
        const length = planes[c].width * planes[c].height;
        const skip = samplesIn(top, first - 1, channel.ySampling) * (planes[c].width / wordsOf(channel));
        const to = result.get(channel.name);
        if (to) toFloats(words.subarray(at, at + length), channel, to.subarray(skip));
        at += length;
      });
    }
  } catch (error) {
    if (error instanceof RangeError) throw badExr("is cut off", error);
    throw error;
  }
  return result;
}

function toFloats(words: Uint16Array, { type }: ExrChannel, to: Float32Array): void {
  if (type === "half") {
    const halves = halfValues();
    for (let i = 0; i < words.length; i++) to[i] = halves[words[i]];
  } else {
    const { buffer } = words.slice();
    to.set(type === "float" ? new Float32Array(buffer) : new Uint32Array(buffer));
  }
}

/** One block to words, plane after plane. */
function decodeBlock(
  block: Uint8Array,
  header: ExrHeader,
  planes: readonly Plane[],
  first: number,
  last: number,
): Uint16Array {
  const total = planes.reduce((sum, plane) => sum + plane.width * plane.height, 0);
  const { compression, channels } = header;
  if (block.length < 2 * total && compression === "piz") return decodePiz(block, planes);
  if (block.length < 2 * total && compression.startsWith("b44")) return decodeB44(block, channels, planes, total);
  const lines = block.length < 2 * total ? unpredict(inflate(block, compression, 2 * total)) : block;
  if (lines.length !== 2 * total) throw badExr("has a damaged block");
  // Line by line, the channels one after the other -> plane by plane.
  const words = new Uint16Array(total);
  let from = 0;
  const next = planes.map((_, c) => planes.slice(0, c).reduce((sum, plane) => sum + plane.width * plane.height, 0));
  for (let y = first; y <= last; y++) {
    channels.forEach((channel, c) => {
      if (y % channel.ySampling !== 0) return;
      for (let x = 0; x < planes[c].width; x++, from += 2) words[next[c]++] = lines[from] | (lines[from + 1] << 8);
    });
  }
  return words;
}

function inflate(block: Uint8Array, compression: string, size: number): Uint8Array {
  if (compression !== "rle") {
    try {
      return inflateSync(block, { maxOutputLength: size });
    } catch (error) {
      throw badExr("has a damaged block", error);
    }
  }
  const out = new Uint8Array(size);
  let to = 0;
  for (let from = 0; from < block.length; ) {
    const count = (block[from++] << 24) >> 24;
    if (count < 0) {
      if (to - count > size) throw badExr("has a damaged block");
      out.set(block.subarray(from, from - count), to);
      from -= count;
      to -= count;
    } else {
      out.fill(block[from++], to, to + count + 1);
      to += count + 1;
    }
  }
  if (to !== size) throw badExr("has a damaged block");
  return out;
}

/** Undoes what ZIP and RLE do first: split bytes into even and odd halves, then store differences. */
function unpredict(bytes: Uint8Array): Uint8Array {
  for (let i = 1; i < bytes.length; i++) bytes[i] = bytes[i - 1] + bytes[i] - 128;
  const out = new Uint8Array(bytes.length);
  const half = (bytes.length + 1) >> 1;
  for (let i = 0; i < bytes.length; i++) out[i] = bytes[i & 1 ? half + (i >> 1) : i >> 1];
  return out;
}
