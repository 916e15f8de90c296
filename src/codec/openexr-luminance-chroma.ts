import { inflateSync } from "node:zlib";
import type { Primaries } from "../image.js";
import { rgbToXyz } from "./chromaticities.js";
import { floatsToHalves, halfValues } from "./half.js";
import {
  badExr,
  EXR_LINES_PER_BLOCK,
  type ExrChannel,
  type ExrCompression,
  type ExrHeader,
  unsupportedExr,
} from "./openexr-header.js";
import { decodePiz, type Plane } from "./openexr-piz.js";

const COMPRESSIONS: readonly ExrCompression[] = ["none", "rle", "zips", "zip", "piz", "b44", "b44a"];

/**
 * Decodes OpenEXR's luminance/chroma files, Y at full and RY = (R - Y)/Y, BY = (B - Y)/Y at half resolution in half
 * precision, to linear RGB. (The library that reads other files does not read subsampled channels well.)
 */
export function decodeLuminanceChroma(bytes: Uint8Array, header: ExrHeader, primaries: Primaries): Float32Array {
  const [left, top, right, bottom] = header.dataWindow;
  const [width, height] = [right - left + 1, bottom - top + 1];
  if (header.tileSize || header.multiPart) throw unsupportedExr("luminance/chroma in tiles or parts");
  if (!COMPRESSIONS.includes(header.compression)) throw unsupportedExr(`luminance/chroma with ${header.compression}`);
  if (header.channels.some((channel) => channel.type !== "half")) throw unsupportedExr("luminance/chroma not in half");

  const samples = decodeHalfChannels(bytes, header);
  const y = samples.get("Y") as Float32Array;
  const [ry, by] = ["RY", "BY"].map((name) => {
    const channel = header.channels.find((c) => c.name === name) as ExrChannel;
    if (channel.xSampling !== 2 || channel.ySampling !== 2)
      throw unsupportedExr(`${name} at other than half resolution`);
    const plane = { width: samplesIn(left, right, 2), height: samplesIn(top, bottom, 2) };
    return interpolate(samples.get(name) as Float32Array, plane, width, height, left & 1, top & 1);
  });
  const [, , , redWeight, greenWeight, blueWeight] = rgbToXyz(primaries);
  const data = new Float32Array(width * height * 3);
  for (let i = 0; i < y.length; i++) {
    const red = Math.max(0, (1 + ry[i]) * y[i]);
    const blue = Math.max(0, (1 + by[i]) * y[i]);
    data[3 * i] = red;
    data[3 * i + 1] = Math.max(0, (y[i] - redWeight * red - blueWeight * blue) / greenWeight);
    data[3 * i + 2] = blue;
  }
  return data;
}

/** How many multiples of `sampling` lie in [from, to]. */
function samplesIn(from: number, to: number, sampling: number): number {
  return Math.floor(to / sampling) - Math.ceil(from / sampling) + 1;
}

/** All channels of a scan-line file, each at its own resolution. */
function decodeHalfChannels(bytes: Uint8Array, header: ExrHeader): Map<string, Float32Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [left, top, right, bottom] = header.dataWindow;
  const linesPerBlock = EXR_LINES_PER_BLOCK[header.compression];
  const halves = halfValues();
  const result = new Map<string, Float32Array>();
  for (const { name, xSampling, ySampling } of header.channels) {
    result.set(name, new Float32Array(samplesIn(left, right, xSampling) * samplesIn(top, bottom, ySampling)));
  }
  try {
    for (let first = top, entry = header.end; first <= bottom; first += linesPerBlock, entry += 8) {
      const chunk = Number(view.getBigUint64(entry, true));
      const size = view.getUint32(chunk + 4, true);
      if (view.getInt32(chunk, true) !== first || chunk + 8 + size > bytes.length) throw badExr("has a damaged block");
      const last = Math.min(bottom, first + linesPerBlock - 1);
      const planes = header.channels.map((c) => ({
        width: samplesIn(left, right, c.xSampling),
        height: samplesIn(first, last, c.ySampling),
      }));
      const words = decodeBlock(bytes.subarray(chunk + 8, chunk + 8 + size), header, planes, first, last);
      let at = 0;
      header.channels.forEach((channel, c) => {
        const to = result.get(channel.name) as Float32Array;
        const skip = samplesIn(top, first - 1, channel.ySampling) * planes[c].width;
        const size = planes[c].width * planes[c].height;
        for (let i = 0; i < size; i++) to[skip + i] = halves[words[at + i]];
        at += size;
      });
    }
  } catch (error) {
    if (error instanceof RangeError) throw badExr("is cut off", error);
    throw error;
  }
  return result;
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

/** B44: 4x4 samples in 14 bytes, one value and 15 six-bit differences of a common scale; flat blocks in 3 bytes. */
function decodeB44(
  block: Uint8Array,
  channels: readonly ExrChannel[],
  planes: readonly Plane[],
  total: number,
): Uint16Array {
  const words = new Uint16Array(total);
  const square = new Uint16Array(16);
  let from = 0;
  let start = 0;
  planes.forEach(({ width, height }, c) => {
    const table = channels[c].perceptuallyLinear ? logarithms() : undefined;
    for (let y = 0; y < height; y += 4) {
      for (let x = 0; x < width; x += 4) {
        const flat = block[from + 2] >= 13 << 2;
        if (from + (flat ? 3 : 14) > block.length) throw badExr("has a damaged block");
        square[0] = (block[from] << 8) | block[from + 1];
        if (flat) square.fill(square[0]);
        else unpackDifferences(block, from, square);
        from += flat ? 3 : 14;
        for (let i = 0; i < 16; i++) {
          const ordered = square[i];
          const half = ordered & 0x8000 ? ordered & 0x7fff : ~ordered & 0xffff;
          const [px, py] = [x + (i & 3), y + (i >> 2)];
          if (px < width && py < height) words[start + py * width + px] = table ? table[half] : half;
        }
      }
    }
    start += width * height;
  });
  return words;
}

function unpackDifferences(block: Uint8Array, from: number, square: Uint16Array): void {
  const shift = block[from + 2] >> 2;
  // The first column downwards, then every other column from its left neighbour.
  for (let k = 1; k < 16; k++) {
    const i = (k & 3) * 4 + (k >> 2);
    const bit = 16 + 6 * k;
    const at = from + (bit >> 3);
    const field = (((block[at] << 8) | (block[at + 1] ?? 0)) >> (10 - (bit & 7))) & 63;
    square[i] = square[k < 4 ? i - 4 : i - 1] + ((field - 32) << shift);
  }
}

let logTable: Uint16Array | undefined;

/** Half to half: 8 ln(x), the inverse of what B44 does to perceptually linear channels. */
function logarithms(): Uint16Array {
  if (!logTable) {
    const values = halfValues().map((value) => (value > 0 && value < Infinity ? 8 * Math.log(value) : 0));
    logTable = new Uint16Array(65536);
    floatsToHalves(values, logTable);
  }
  return logTable;
}

/** OpenEXR's chroma reconstruction filter (ImfRgbaYca): taps at odd distances 1, 3, ..., 13 to either side. */
const TAPS = [0.627123, -0.186077, 0.087929, -0.043159, 0.019597, -0.00754, 0.002128];

/** Doubles a plane's resolution; `oddLeft`, `oddTop`: the first sample lies in column or row 1 and not 0. */
function interpolate(
  plane: Float32Array,
  size: Plane,
  width: number,
  height: number,
  oddLeft: number,
  oddTop: number,
): Float32Array {
  const rows = new Float32Array(width * size.height);
  for (let y = 0; y < size.height; y++) line(plane, y * size.width, 1, size.width, rows, y * width, 1, width, oddLeft);
  const out = new Float32Array(width * height);
  for (let x = 0; x < width; x++) line(rows, x, width, size.height, out, x, width, height, oddTop);
  return out;
}

function line(
  from: Float32Array,
  fromStart: number,
  fromStep: number,
  fromCount: number,
  to: Float32Array,
  toStart: number,
  toStep: number,
  toCount: number,
  odd: number,
): void {
  const sample = (i: number) => from[fromStart + Math.min(fromCount - 1, Math.max(0, i)) * fromStep];
  for (let i = 0; i < toCount; i++) {
    const left = (i - odd) >> 1;
    let value = 0;
    if (((i - odd) & 1) === 0) value = sample(left);
    else for (let tap = 0; tap < TAPS.length; tap++) value += TAPS[tap] * (sample(left - tap) + sample(left + 1 + tap));
    to[toStart + i * toStep] = value;
  }
}
