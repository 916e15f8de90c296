import type { Exposure } from "../bracket/bracket.js";
import { linearTable, toLinear } from "../bracket/transfer.js";
import { tabulated } from "./tabulated.js";

/** A rectangle of the reference's pixel grid; it may reach beyond the image, which is then mirrored at its borders. */
export interface Region {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

const toGamma = tabulated((light) => light ** (1 / 2.2));

/** Mirrors an index about the borders without repeating them. */
export function mirror(at: number, length: number): number {
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  const within = ((at % period) + period) % period;
  return within < length ? within : period - within;
}

/** Exposures as the network reads them: linearised radiance and gamma-2.2 pixel values, moved onto the reference. */
export class ExposureSampler {
  private readonly linear: (value: number) => number;

  constructor(private readonly exposure: Exposure) {
    const { depth, encoding } = exposure.pixels;
    if (depth === "float32") this.linear = (value) => toLinear(encoding.transfer, Math.min(Math.max(value, 0), 1));
    else {
      const table = linearTable(encoding.transfer, depth === "uint8" ? 8 : 16);
      this.linear = (value) => table[value];
    }
  }

  /**
   * Fills `out` [height, width, 6] with the region: H = linear / 2^EV and I = linear^(1/2.2) (method.md section 1 for
   * pixels of gamma 2.2; any other encoding is brought there through linear light).
   */
  read(region: Region, out: Float32Array): void {
    if (this.exposure.alignment) this.readMoved(region, this.exposure.alignment, out);
    else this.readStill(region, out);
  }

  private readStill({ x, y, width, height }: Region, out: Float32Array): void {
    const { pixels, exposureValue } = this.exposure;
    const scale = 1 / (2 ** exposureValue + 1e-8);
    const columns = Int32Array.from({ length: width }, (_, i) => mirror(x + i, pixels.width) * 3);
    const rowIndices = Array.from({ length: height }, (_, i) => mirror(y + i, pixels.height));
    const first = rowIndices.reduce((a, b) => Math.min(a, b));
    const last = rowIndices.reduce((a, b) => Math.max(a, b));
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

  /** Bilinear in linear light; what the exposure did not see repeats its border. */
  private readMoved(region: Region, h: readonly number[], out: Float32Array): void {
    const { pixels, exposureValue } = this.exposure;
    const scale = 1 / (2 ** exposureValue + 1e-8);
    const [lastX, lastY] = [pixels.width - 1, pixels.height - 1];
    const place = (px: number, py: number): [number, number] => {
      const w = h[6] * px + h[7] * py + h[8];
      const at = (v: number, last: number) => Math.min(Math.max(v, 0), last);
      return [at((h[0] * px + h[1] * py + h[2]) / w, lastX), at((h[3] * px + h[4] * py + h[5]) / w, lastY)];
    };
    // A homography takes extremes of a rectangle to extremes at its corners.
    const ends = (from: number, count: number, length: number) => {
      const inside = (v: number) => Math.min(Math.max(v, 0), length - 1);
      return from < 0 || from + count > length ? [0, length - 1] : [inside(from), inside(from + count - 1)];
    };
    const xs = ends(region.x, region.width, pixels.width);
    const ys = ends(region.y, region.height, pixels.height);
    const corners = xs.flatMap((px) => ys.map((py) => place(px, py)[1]));
    const first = Math.floor(Math.min(...corners));
    const rows = pixels.rows(first, Math.min(Math.floor(Math.max(...corners)) + 2, pixels.height));
    const stride = pixels.width * 3;
    let to = 0;
    for (let j = 0; j < region.height; j++) {
      const py = mirror(region.y + j, pixels.height);
      for (let i = 0; i < region.width; i++) {
        const [sx, sy] = place(mirror(region.x + i, pixels.width), py);
        const x0 = Math.floor(sx);
        const y0 = Math.floor(sy);
        const [fx, fy] = [sx - x0, sy - y0];
        const a = (y0 - first) * stride + x0 * 3;
        const right = x0 < lastX ? 3 : 0;
        const down = y0 < lastY ? stride : 0;
        for (let c = 0; c < 3; c++) {
          const top = this.linear(rows[a + c]) * (1 - fx) + this.linear(rows[a + right + c]) * fx;
          const bottom = this.linear(rows[a + down + c]) * (1 - fx) + this.linear(rows[a + down + right + c]) * fx;
          const light = top * (1 - fy) + bottom * fy;
          out[to + c] = light * scale;
          out[to + 3 + c] = toGamma(light);
        }
        to += 6;
      }
    }
  }
}
