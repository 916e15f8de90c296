import type { Exposure } from "../bracket/bracket.js";
import { linearTable, toLinear } from "../bracket/transfer.js";
import { gammaTable, radianceScale } from "./network-input.js";
import { mirror, type Region } from "./region.js";
import { tabulated } from "./tabulated.js";

const toGamma = tabulated(gammaTable);

/** What ExposureSampler does where the native addon is missing, and what that is tested against. */
export class PlainSampler {
  private readonly linear: (value: number) => number;

  constructor(private readonly exposure: Exposure) {
    const { depth, encoding } = exposure.pixels;
    if (depth === "float32") this.linear = (value) => toLinear(encoding.transfer, Math.min(Math.max(value, 0), 1));
    else {
      const table = linearTable(encoding.transfer, depth === "uint8" ? 8 : 16);
      this.linear = (value) => table[value];
    }
  }

  /** Fills `out` [height, width, 6] with the region. */
  read(region: Region, out: Float32Array): void {
    const { alignment } = this.exposure;
    if (alignment) this.readMoved(region, alignment, out);
    else this.readStill(region, out);
  }

  private readStill({ x, y, width, height }: Region, out: Float32Array): void {
    const { pixels, exposureValue } = this.exposure;
    const scale = radianceScale(exposureValue);
    const columns = Int32Array.from({ length: width }, (_, i) => mirror(x + i, pixels.width) * 3);
    const rowIndices = Int32Array.from({ length: height }, (_, i) => mirror(y + i, pixels.height));
    const [first, last] = ends(rowIndices);
    const rows = pixels.rows(first, last + 1);
    let to = 0;
    for (const row of rowIndices) {
      const base = (row - first) * pixels.width * 3;
      for (let i = 0; i < width; i++) {
        for (let c = 0; c < 3; c++) {
          const light = this.linear(rows[base + columns[i] + c]);
          out[to + c] = light * scale;
          out[to + 3 + c] = toGamma(light);
        }
        to += 6;
      }
    }
  }

  /**
   * Cubic in the root of light, where edges are far less steep, within what the four nearest pixels say, as the merge
   * does (native/ops/reference/exposure_rows.cpp); what the exposure did not see repeats its border.
   */
  private readMoved(region: Region, h: readonly number[], out: Float32Array): void {
    const { pixels, exposureValue } = this.exposure;
    const scale = radianceScale(exposureValue);
    const [lastX, lastY] = [pixels.width - 1, pixels.height - 1];
    const clamp = (v: number, last: number) => Math.min(Math.max(v, 0), last);
    const place = (px: number, py: number): [number, number] => {
      const w = h[6] * px + h[7] * py + h[8];
      return [clamp((h[0] * px + h[1] * py + h[2]) / w, lastX), clamp((h[3] * px + h[4] * py + h[5]) / w, lastY)];
    };
    const xs = Int32Array.from({ length: region.width }, (_, i) => mirror(region.x + i, pixels.width));
    const ys = Int32Array.from({ length: region.height }, (_, j) => mirror(region.y + j, pixels.height));
    // A homography takes extremes of a rectangle to extremes at its corners.
    const corners = ends(xs).flatMap((px) => ends(ys).map((py) => place(px, py)));
    const { begin: left, count: wide } = reach(corners, 0, lastX);
    const { begin: top, count: tall } = reach(corners, 1, lastY);
    const roots = this.roots(left, top, wide, tall);
    const across = new Float64Array(4);
    const along = new Float64Array(4);
    const columns = new Int32Array(4);
    const lines = new Int32Array(4);
    let to = 0;
    for (const py of ys) {
      for (const px of xs) {
        const [sx, sy] = place(px, py);
        const x0 = Math.floor(sx);
        const y0 = Math.floor(sy);
        cubicWeights(sx - x0, across);
        cubicWeights(sy - y0, along);
        for (let k = 0; k < 4; k++) {
          columns[k] = (clamp(x0 - 1 + k, lastX) - left) * 3;
          lines[k] = (clamp(y0 - 1 + k, lastY) - top) * wide * 3;
        }
        for (let c = 0; c < 3; c++) {
          let root = 0;
          for (let k = 0; k < 4; k++) {
            const line = lines[k] + c;
            const inner = across[1] * roots[line + columns[1]] + across[2] * roots[line + columns[2]];
            const outer = across[0] * roots[line + columns[0]] + across[3] * roots[line + columns[3]];
            root += along[k] * (inner + outer);
          }
          const upperLeft = roots[lines[1] + columns[1] + c];
          const upperRight = roots[lines[1] + columns[2] + c];
          const lowerLeft = roots[lines[2] + columns[1] + c];
          const lowerRight = roots[lines[2] + columns[2] + c];
          const low = Math.min(upperLeft, upperRight, lowerLeft, lowerRight);
          const high = Math.max(upperLeft, upperRight, lowerLeft, lowerRight);
          root = root < low ? low : root > high ? high : root;
          const light = root * root;
          out[to + c] = light * scale;
          out[to + 3 + c] = toGamma(light);
        }
        to += 6;
      }
    }
  }

  /** Roots of the linear light of a rectangle of the exposure itself, interleaved RGB. */
  private roots(left: number, top: number, wide: number, tall: number): Float32Array {
    const { pixels } = this.exposure;
    const rows = pixels.rows(top, top + tall);
    const out = new Float32Array(wide * tall * 3);
    for (let y = 0, to = 0; y < tall; y++) {
      let from = (y * pixels.width + left) * 3;
      for (const end = to + wide * 3; to < end; to++, from++) out[to] = Math.sqrt(this.linear(rows[from]));
    }
    return out;
  }
}

const ends = (at: Int32Array): [number, number] => [
  at.reduce((a, b) => Math.min(a, b)),
  at.reduce((a, b) => Math.max(a, b)),
];

/** The pixels of an axis that the taps around all places between these may lie on, a pixel more for rounding. */
function reach(corners: readonly (readonly [number, number])[], axis: 0 | 1, last: number) {
  const at = corners.map((place) => Math.floor(place[axis]));
  const begin = Math.max(Math.min(...at) - 2, 0);
  return { begin, count: Math.min(Math.max(...at) + 3, last) + 1 - begin };
}

/** What the four pixels around a place count, `f` beyond the second of them. (Catmull and Rom, "A class of local interpolating splines", 1974.) */
function cubicWeights(f: number, weights: Float64Array): void {
  weights[0] = f * (-0.5 + f * (1 - 0.5 * f));
  weights[1] = 1 + f * f * (1.5 * f - 2.5);
  weights[2] = f * (0.5 + f * (2 - 1.5 * f));
  weights[3] = f * f * (0.5 * f - 0.5);
}
