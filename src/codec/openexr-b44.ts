import { floatsToHalves, halfValues } from "./half.js";
import { badExr, type ExrChannel } from "./openexr-header.js";
import type { Plane } from "./openexr-piz.js";

/** B44: 4x4 samples in 14 bytes, one value and 15 six-bit differences of a common scale; flat blocks in 3 bytes. */
export function decodeB44(
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
