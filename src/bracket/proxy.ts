import { optionalAddon } from "../engine/addon.js";
import { SmhdrError } from "../errors.js";
import type { Encoding, PixelData } from "../image.js";
import type { PixelStore } from "./bracket.js";
import { linearTable, toLinear } from "./transfer.js";

/**
 * A small linear picture of one exposure, for finding exposure ratios and alignment without touching the full pixels.
 * Linear light in the exposure's own scale (1.0 = this exposure clips) and its own primaries, interleaved RGB.
 */
export interface ExposureProxy {
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array;
  /**
   * A proxy pixel is the mean of a scale x scale block of the photograph (an integer, 1 for small photographs; the last
   * column and row may cover fewer). Pixel centres: photograph = (proxy + 0.5) * scale - 0.5.
   */
  readonly scale: number;
}

/** Throws INVALID_ARGUMENT unless there are proxies, all of one size and scale. */
export function checkProxies(proxies: readonly ExposureProxy[]): void {
  if (proxies.length === 0) throw new SmhdrError("INVALID_ARGUMENT", "proxies: expected at least one; got none.");
  const [{ width, height, scale }] = proxies;
  if (proxies.some((proxy) => proxy.width !== width || proxy.height !== height || proxy.scale !== scale))
    throw new SmhdrError("INVALID_ARGUMENT", "proxies: expected one width, height and scale for all of them.");
}

/** Proxies hold at most about this many pixels. */
export const PROXY_PIXELS = 2_000_000;

/** The smallest whole factor that brings width x height to PROXY_PIXELS or fewer. */
export function proxyScale(width: number, height: number): number {
  let scale = 1;
  while (Math.ceil(width / scale) * Math.ceil(height / scale) > PROXY_PIXELS) scale++;
  return scale;
}

/** Builds a proxy from RGB rows fed from top to bottom. */
export class ProxyBuilder {
  readonly scale: number;
  private readonly outWidth: number;
  private readonly outHeight: number;
  private readonly data: Float32Array;
  private y = 0;

  constructor(
    private readonly width: number,
    private readonly height: number,
    private readonly encoding: Encoding,
    /** Null: the same sums, in five times as long. */
    private readonly addon = optionalAddon() ?? null,
  ) {
    this.scale = proxyScale(width, height);
    this.outWidth = Math.ceil(width / this.scale);
    this.outHeight = Math.ceil(height / this.scale);
    this.data = new Float32Array(this.outWidth * this.outHeight * 3);
  }

  /** Adds the next rows: interleaved RGB, a whole number of rows. */
  add(rows: PixelData): void {
    const { width, scale, outWidth, data } = this;
    const { transfer } = this.encoding;
    const linear =
      rows instanceof Float32Array ? undefined : linearTable(transfer, rows.BYTES_PER_ELEMENT === 1 ? 8 : 16);
    if (linear && this.addon) {
      this.addon.proxyAdd(rows as Exclude<PixelData, Float32Array>, linear, width, this.y, scale, data);
      this.y += rows.length / 3 / width;
      return;
    }
    for (let start = 0; start < rows.length; start += width * 3, this.y++) {
      const end = start + width * 3;
      let to = Math.floor(this.y / scale) * outWidth * 3;
      for (let from = start; from < end; to += 3) {
        const blockEnd = Math.min(from + scale * 3, end);
        let red = 0;
        let green = 0;
        let blue = 0;
        if (linear) {
          for (; from < blockEnd; from += 3) {
            red += linear[rows[from]];
            green += linear[rows[from + 1]];
            blue += linear[rows[from + 2]];
          }
        } else {
          for (; from < blockEnd; from += 3) {
            red += toLinear(transfer, rows[from]);
            green += toLinear(transfer, rows[from + 1]);
            blue += toLinear(transfer, rows[from + 2]);
          }
        }
        data[to] += red;
        data[to + 1] += green;
        data[to + 2] += blue;
      }
    }
  }

  /** The finished proxy, once every row was added. */
  finish(): ExposureProxy {
    const { scale, outWidth, outHeight, data } = this;
    if (scale > 1) {
      for (let y = 0, i = 0; y < outHeight; y++) {
        const tall = Math.min(scale, this.height - y * scale);
        for (let x = 0; x < outWidth; x++, i += 3) {
          const area = tall * Math.min(scale, this.width - x * scale);
          for (let c = 0; c < 3; c++) data[i + c] /= area;
        }
      }
    }
    return { width: outWidth, height: outHeight, data, scale };
  }
}

const ROWS_PER_STRIP = 64;

/** The proxy of stored pixels. */
export function buildProxy(pixels: PixelStore): ExposureProxy {
  const builder = new ProxyBuilder(pixels.width, pixels.height, pixels.encoding);
  for (let y = 0; y < pixels.height; y += ROWS_PER_STRIP) {
    builder.add(pixels.rows(y, Math.min(y + ROWS_PER_STRIP, pixels.height)));
  }
  return builder.finish();
}
