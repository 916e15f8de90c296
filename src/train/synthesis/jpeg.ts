/** The example quantisation tables of ITU-T T.81, annex K, for quality 50. */
const luminanceTable = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
  87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
  72, 92, 95, 98, 112, 100, 103, 99,
];
const chrominanceTable = [
  17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
  99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
  99, 99, 99, 99, 99, 99,
];

/** cosines[k * 8 + x]: the orthonormal DCT-II. */
const cosines = Float64Array.from({ length: 64 }, (_, i) => {
  const [k, x] = [i >> 3, i & 7];
  return Math.cos(((2 * x + 1) * k * Math.PI) / 16) * (k === 0 ? Math.sqrt(1 / 8) : 0.5);
});

/** The table that libjpeg makes for a quality of 1 to 100. */
function scaled(table: readonly number[], quality: number): Float64Array {
  const scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
  return Float64Array.from(table, (v) => Math.min(255, Math.max(1, Math.floor((v * scale + 50) / 100))));
}

/**
 * What JPEG of a quality does to 8-bit codes (multiples of 257), in place: YCbCr, colour at half size where `subsampled`, DCT,
 * quantisation, and back. The lossless rest of JPEG changes nothing and is left out.
 */
export function throughJpeg(
  codes: Uint16Array,
  width: number,
  height: number,
  quality: number,
  subsampled: boolean,
): void {
  const pixels = width * height;
  const y = new Float32Array(pixels);
  const cb = new Float32Array(pixels);
  const cr = new Float32Array(pixels);
  for (let p = 0; p < pixels; p++) {
    const r = codes[p * 3] / 257;
    const g = codes[p * 3 + 1] / 257;
    const b = codes[p * 3 + 2] / 257;
    y[p] = 0.299 * r + 0.587 * g + 0.114 * b - 128;
    cb[p] = -0.168736 * r - 0.331264 * g + 0.5 * b;
    cr[p] = 0.5 * r - 0.418688 * g - 0.081312 * b;
  }
  quantiseBlocks(y, width, height, scaled(luminanceTable, quality));
  const table = scaled(chrominanceTable, quality);
  const shift = subsampled ? 1 : 0;
  const w = (width + shift) >> shift;
  const h = (height + shift) >> shift;
  const chroma = [cb, cr].map((plane) => {
    const small = subsampled ? halve(plane, width, height, w, h) : plane;
    quantiseBlocks(small, w, h, table);
    return small;
  });
  const code = (v: number) => Math.max(0, Math.min(255, Math.round(v))) * 257;
  for (let row = 0, p = 0; row < height; row++) {
    for (let column = 0; column < width; column++, p++) {
      const q = (row >> shift) * w + (column >> shift);
      const luma = y[p] + 128;
      const blue = chroma[0][q];
      const red = chroma[1][q];
      codes[p * 3] = code(luma + 1.402 * red);
      codes[p * 3 + 1] = code(luma - 0.344136 * blue - 0.714136 * red);
      codes[p * 3 + 2] = code(luma + 1.772 * blue);
    }
  }
}

function halve(plane: Float32Array, width: number, height: number, w: number, h: number): Float32Array {
  const out = new Float32Array(w * h);
  for (let y = 0; y < h; y++) {
    const upper = 2 * y * width;
    const lower = Math.min(height - 1, 2 * y + 1) * width;
    for (let x = 0; x < w; x++) {
      const left = 2 * x;
      const right = Math.min(width - 1, 2 * x + 1);
      out[y * w + x] = 0.25 * (plane[upper + left] + plane[upper + right] + plane[lower + left] + plane[lower + right]);
    }
  }
  return out;
}

/** DCT, rounding to multiples of the table, and inverse DCT of every 8x8 block; edges are repeated to whole blocks. */
function quantiseBlocks(plane: Float32Array, width: number, height: number, table: Float64Array): void {
  const block = new Float64Array(64);
  const half = new Float64Array(64);
  for (let by = 0; by < height; by += 8) {
    for (let bx = 0; bx < width; bx += 8) {
      for (let i = 0; i < 64; i++) {
        const row = Math.min(height - 1, by + (i >> 3));
        block[i] = plane[row * width + Math.min(width - 1, bx + (i & 7))];
      }
      for (let row = 0; row < 8; row++) {
        for (let k = 0; k < 8; k++) {
          let sum = 0;
          for (let x = 0; x < 8; x++) sum += cosines[k * 8 + x] * block[row * 8 + x];
          half[row * 8 + k] = sum;
        }
      }
      for (let k = 0; k < 8; k++) {
        for (let column = 0; column < 8; column++) {
          let sum = 0;
          for (let row = 0; row < 8; row++) sum += cosines[k * 8 + row] * half[row * 8 + column];
          const step = table[k * 8 + column];
          block[k * 8 + column] = Math.round(sum / step) * step;
        }
      }
      for (let row = 0; row < 8; row++) {
        for (let column = 0; column < 8; column++) {
          let sum = 0;
          for (let k = 0; k < 8; k++) sum += cosines[k * 8 + row] * block[k * 8 + column];
          half[row * 8 + column] = sum;
        }
      }
      for (let row = 0; row < 8 && by + row < height; row++) {
        for (let x = 0; x < 8 && bx + x < width; x++) {
          let sum = 0;
          for (let k = 0; k < 8; k++) sum += cosines[k * 8 + x] * half[row * 8 + k];
          plane[(by + row) * width + bx + x] = sum;
        }
      }
    }
  }
}
