import { badExr } from "./openexr-header.js";

/** Samples of one channel in a block: `width` x `height` 16-bit words. */
export interface Plane {
  readonly width: number;
  readonly height: number;
}

/**
 * Undoes OpenEXR's PIZ compression of one block of half channels: Huffman codes of wavelet coefficients of values
 * replaced by their rank. Returns the planes' words one after the other. (Format: ImfPizCompressor, ImfHuf and ImfWav
 * of the OpenEXR project.)
 */
export function decodePiz(block: Uint8Array, planes: readonly Plane[]): Uint16Array {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const first = view.getUint16(0, true);
  const last = view.getUint16(2, true);
  if (last >= 8192) throw badExr("is damaged (PIZ bitmap)");
  let offset = 4;
  const values = new Uint16Array(65536);
  let count = 1; // value 0 is always there
  for (let byte = first; byte <= last; byte++) {
    const bits = block[offset++];
    for (let bit = 0; bit < 8; bit++) {
      const value = byte * 8 + bit;
      if (value > 0 && bits & (1 << bit)) values[count++] = value;
    }
  }
  const length = view.getUint32(offset, true);
  offset += 4;
  const total = planes.reduce((sum, plane) => sum + plane.width * plane.height, 0);
  const words = decodeHuffman(block.subarray(offset, offset + length), total);
  let start = 0;
  for (const { width, height } of planes) {
    const size = width * height;
    decodeWavelet(words.subarray(start, start + size), width, height, count - 1 < 1 << 14);
    start += size;
  }
  for (let i = 0; i < total; i++) words[i] = values[words[i]];
  return words;
}

/** Bits, most significant first. Past the end come zeros; the caller checks `position`. */
class BitReader {
  position = 0;
  constructor(private readonly bytes: Uint8Array) {}
  bit(): number {
    const bit = (this.bytes[this.position >> 3] >> (7 - (this.position & 7))) & 1;
    this.position++;
    return bit;
  }
  bits(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) value = value * 2 + this.bit();
    return value;
  }
}

const LONGEST_CODE = 58;

function decodeHuffman(bytes: Uint8Array, total: number): Uint16Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Uint16Array(total);
  const firstSymbol = view.getUint32(0, true);
  const runSymbol = view.getUint32(4, true); // the last symbol stands for "repeat"
  const bitCount = view.getUint32(12, true);
  if (firstSymbol > 65536 || runSymbol > 65536) throw badExr("is damaged (PIZ symbols)");

  // Code lengths in 6 bits each: 59 to 62 are 2 to 5 unused symbols, 63 and 8 more bits 6 to 261.
  const reader = new BitReader(bytes.subarray(20));
  const lengths = new Uint8Array(65537 + 261);
  const counts = new Array<number>(LONGEST_CODE + 1).fill(0);
  for (let symbol = firstSymbol; symbol <= runSymbol; symbol++) {
    const length = reader.bits(6);
    if (length <= LONGEST_CODE) {
      lengths[symbol] = length;
      counts[length]++;
    } else {
      symbol += (length === 63 ? reader.bits(8) + 6 : length - 57) - 1;
    }
  }
  // Canonical codes, longest first: length l has the codes base[l] to base[l] + counts[l] - 1, in symbol order.
  const base = new Array<number>(LONGEST_CODE + 1).fill(0);
  const starts = new Array<number>(LONGEST_CODE + 2).fill(0);
  counts[0] = 0;
  for (let length = LONGEST_CODE - 1; length > 0; length--) {
    base[length] = Math.floor((base[length + 1] + counts[length + 1]) / 2);
  }
  for (let length = 1; length <= LONGEST_CODE; length++) starts[length + 1] = starts[length] + counts[length];
  const symbols = new Uint32Array(starts[LONGEST_CODE + 1]);
  const next = starts.slice();
  for (let symbol = firstSymbol; symbol <= runSymbol; symbol++) {
    if (lengths[symbol] > 0) symbols[next[lengths[symbol]]++] = symbol;
  }

  const data = new BitReader(bytes.subarray(20 + Math.ceil(reader.position / 8)));
  for (let i = 0; i < total; ) {
    let code = 0;
    let length = 0;
    do {
      code = code * 2 + data.bit();
      if (++length > LONGEST_CODE || data.position > bitCount) throw badExr("is damaged (PIZ codes)");
    } while (code < base[length] || code - base[length] >= counts[length]);
    const symbol = symbols[starts[length] + code - base[length]];
    if (symbol === runSymbol) {
      const run = data.bits(8);
      if (i === 0 || i + run > total) throw badExr("is damaged (PIZ run)");
      out.fill(out[i - 1], i, i + run);
      i += run;
    } else {
      out[i++] = symbol;
    }
  }
  return out;
}

/** In place: the two-dimensional Haar-like wavelet, coarsest level first. `small`: all values are below 2^14. */
function decodeWavelet(words: Uint16Array, width: number, height: number, small: boolean): void {
  const pair = (low: number, high: number): void => {
    if (small) {
      const difference = (words[high] << 16) >> 16;
      const sum = ((words[low] << 16) >> 16) + (difference & 1) + (difference >> 1);
      words[low] = sum;
      words[high] = sum - difference;
    } else {
      const second = words[low] - (words[high] >> 1);
      words[low] = words[high] + second - 0x8000;
      words[high] = second;
    }
  };
  let step = 1;
  while (step * 2 <= Math.min(width, height)) step *= 2;
  for (let half = step >> 1; half >= 1; step = half, half >>= 1) {
    let y = 0;
    for (; y + step <= height; y += step) {
      let at = y * width;
      let x = 0;
      for (; x + step <= width; x += step, at += step) {
        pair(at, at + half * width);
        pair(at + half, at + half * width + half);
        pair(at, at + half);
        pair(at + half * width, at + half * width + half);
      }
      if (width & half) pair(at, at + half * width);
    }
    if (height & half) {
      for (let x = 0, at = y * width; x + step <= width; x += step, at += step) pair(at, at + half);
    }
  }
}
