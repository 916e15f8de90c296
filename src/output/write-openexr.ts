import { chromaticitiesOf } from "../codec/chromaticities.js";
import { floatsToHalves, MAX_HALF } from "../codec/half.js";
import { optionalAddon } from "../engine/addon.js";
import type { Radiance } from "../image.js";
import { describe } from "./describe.js";
import { withNewFile, writeFully } from "./replace-file.js";
import { copyFinite, deflateStrips } from "./strips.js";

export interface OpenExrOptions {
  /** 16-bit halves (11 significant bits, up to 65504) or 32-bit floats. Default half. */
  readonly precision?: "half" | "float";
  readonly compression?: "zip" | "none";
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/**
 * Writes a scan-line OpenEXR file (openexr.com, "OpenEXR File Layout"): channels B, G, R; chromaticities and the
 * description as attributes. `path` must not exist.
 */
export async function writeOpenExr(radiance: Radiance, path: string, options: OpenExrOptions = {}): Promise<void> {
  const { precision = "half", compression = "zip", signal, onProgress } = options;
  const { width, height, data } = radiance;
  const linesPerBlock = compression === "zip" ? 16 : 1; // as the format fixes it
  const count = Math.ceil(height / linesPerBlock);
  const head = header(radiance, precision, compression);
  const pack = packerOf(width, precision === "half", compression === "zip");
  const offsets = new BigUint64Array(count);
  let position = head.length + offsets.byteLength;

  await withNewFile(path, async (file) => {
    await deflateStrips({
      count,
      level: compression === "zip" ? 4 : undefined,
      signal,
      onProgress,
      prepare: (block) => {
        const lines = Math.min(linesPerBlock, height - block * linesPerBlock);
        const start = block * linesPerBlock * width * 3;
        return pack(data.subarray(start, start + lines * width * 3));
      },
      store: async (block, deflated, raw) => {
        const smaller = compression === "zip" && deflated.length < raw.length;
        // A block that does not shrink is stored as it was, before prediction.
        const body = smaller ? deflated : compression === "zip" ? unpredict(raw) : raw;
        const chunk = Buffer.alloc(8);
        chunk.writeInt32LE(block * linesPerBlock, 0);
        chunk.writeUInt32LE(body.length, 4);
        offsets[block] = BigInt(position);
        await writeFully(file, Buffer.concat([chunk, body]), position);
        position += 8 + body.length;
      },
    });
    await writeFully(file, Buffer.concat([head, new Uint8Array(offsets.buffer)]), 0);
  });
}

/** Whole lines as the bytes of a block, as they are or made ready for deflate: by the addon, or (null) the same in JavaScript, many times slower. */
export function packerOf(width: number, half: boolean, predicted: boolean, addon = optionalAddon() ?? null) {
  const bytesPerSample = half ? 2 : 4;
  return (rgb: Float32Array): Uint8Array => {
    const out = new Uint8Array(rgb.length * bytesPerSample);
    if (addon) {
      addon.packOpenExr(rgb, width, half, predicted, out);
      return out;
    }
    for (let at = 0; at < rgb.length; at += 3 * width)
      packLine(rgb.subarray(at, at + 3 * width), out, at * bytesPerSample, half);
    return predicted ? predict(out) : out;
  };
}

/** One line, interleaved RGB to all of B, all of G, all of R. */
function packLine(rgb: Float32Array, out: Uint8Array, offset: number, half: boolean): void {
  const width = rgb.length / 3;
  const planes = new Float32Array(rgb.length);
  for (let x = 0; x < width; x++) {
    planes[x] = rgb[3 * x + 2];
    planes[width + x] = rgb[3 * x + 1];
    planes[2 * width + x] = rgb[3 * x];
  }
  if (half) {
    copyFinite(planes, planes, MAX_HALF);
    const halves = new Uint16Array(planes.length);
    floatsToHalves(planes, halves);
    out.set(new Uint8Array(halves.buffer), offset);
  } else {
    copyFinite(planes, planes);
    out.set(new Uint8Array(planes.buffer), offset);
  }
}

/** What OpenEXR does before deflate: even bytes, then odd ones; then differences around 128. */
function predict(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length);
  const half = (bytes.length + 1) >> 1;
  for (let i = 0; i < half; i++) out[i] = bytes[2 * i];
  for (let i = half; i < bytes.length; i++) out[i] = bytes[2 * (i - half) + 1];
  for (let i = bytes.length - 1; i > 0; i--) out[i] = out[i] - out[i - 1] + 128;
  return out;
}

function unpredict(bytes: Uint8Array): Uint8Array {
  const sums = bytes.slice();
  for (let i = 1; i < sums.length; i++) sums[i] = sums[i - 1] + sums[i] - 128;
  const half = (sums.length + 1) >> 1;
  return sums.map((_, i) => sums[i & 1 ? half + (i >> 1) : i >> 1]);
}

function header(radiance: Radiance, precision: "half" | "float", compression: "zip" | "none"): Buffer {
  const { width, height } = radiance;
  const { red, green, blue, white } = chromaticitiesOf(radiance.encoding.primaries);
  const window = ints(0, 0, width - 1, height - 1);
  const channel = (name: string) => [text(name), ints(precision === "half" ? 1 : 2, 0, 1, 1)];
  return Buffer.concat([
    ints(20000630, 2),
    attribute("channels", "chlist", ...["B", "G", "R"].flatMap(channel), Buffer.alloc(1)),
    attribute("chromaticities", "chromaticities", floats(...red, ...green, ...blue, ...white)),
    attribute("compression", "compression", Buffer.from([compression === "zip" ? 3 : 0])),
    attribute("dataWindow", "box2i", window),
    attribute("displayWindow", "box2i", window),
    attribute("lineOrder", "lineOrder", Buffer.from([0])),
    attribute("pixelAspectRatio", "float", floats(1)),
    attribute("screenWindowCenter", "v2f", floats(0, 0)),
    attribute("screenWindowWidth", "float", floats(1)),
    ...describe(radiance).map(([name, value]) => attribute(name, "string", Buffer.from(value, "utf8"))),
    Buffer.alloc(1),
  ]);
}

function attribute(name: string, type: string, ...parts: Buffer[]): Buffer {
  const value = Buffer.concat(parts);
  return Buffer.concat([text(name), text(type), ints(value.length), value]);
}

const text = (value: string) => Buffer.from(`${value}\0`, "latin1");
const ints = (...values: number[]) => Buffer.from(Int32Array.from(values).buffer);
const floats = (...values: number[]) => Buffer.from(Float32Array.from(values).buffer);
