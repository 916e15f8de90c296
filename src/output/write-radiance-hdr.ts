import { chromaticitiesOf } from "../codec/chromaticities.js";
import { throwIfAborted } from "../errors.js";
import type { Radiance } from "../image.js";
import { describe } from "./describe.js";
import { withNewFile, writeFully } from "./replace-file.js";

const STRIP_BYTES = 4 << 20;

export interface RadianceHdrOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/**
 * Writes a Radiance picture (32-bit RGBE, run-length coded where the format allows it: 8 to 32767 pixels a line).
 * Mantissas are rounded to nearest for readers that take m 2^(e - 136). Negative values and NaN become 0, what is
 * beyond the largest RGBE becomes the largest. `path` must not exist.
 */
export async function writeRadianceHdr(
  radiance: Radiance,
  path: string,
  options: RadianceHdrOptions = {},
): Promise<void> {
  const { width, height, data } = radiance;
  const rgbe = new Uint8Array(4 * width);
  const longestLine = 4 + 4 * (width + Math.ceil(width / 128));
  const linesPerStrip = Math.max(1, Math.min(height, Math.floor(STRIP_BYTES / longestLine)));
  const strip = new Uint8Array(linesPerStrip * longestLine);
  await withNewFile(path, async (file) => {
    const head = header(radiance);
    await writeFully(file, head, 0);
    let position = head.length;
    for (let y = 0; y < height; ) {
      let length = 0;
      for (const end = Math.min(height, y + linesPerStrip); y < end; y++) {
        toRgbe(data.subarray(y * width * 3, (y + 1) * width * 3), rgbe);
        length = encodeLine(rgbe, strip, length);
      }
      await writeFully(file, strip.subarray(0, length), position);
      position += length;
      throwIfAborted(options.signal);
      options.onProgress?.(y / height);
    }
  });
}

function header(radiance: Radiance): Buffer {
  const { red, green, blue, white } = chromaticitiesOf(radiance.encoding.primaries);
  const lines = [
    "#?RADIANCE",
    ...describe(radiance).map(([name, value]) => `${name === "software" ? "SOFTWARE" : name}=${value}`),
    `PRIMARIES=${[...red, ...green, ...blue, ...white].map((value) => +value.toFixed(6)).join(" ")}`,
    "FORMAT=32-bit_rle_rgbe",
    "",
    `-Y ${radiance.height} +X ${radiance.width}`,
    "",
  ];
  return Buffer.from(lines.join("\n"), "utf8");
}

/** The largest value RGBE holds: mantissa 255 at exponent 255. */
const MAX_RGBE = 255 * 2 ** 119;
const bitsOf = new Uint32Array(1);
const floatOf = new Float32Array(bitsOf.buffer);

function toRgbe(rgb: Float32Array, rgbe: Uint8Array): void {
  for (let i = 0, to = 0; i < rgb.length; i += 3, to += 4) {
    const red = clamp(rgb[i]);
    const green = clamp(rgb[i + 1]);
    const blue = clamp(rgb[i + 2]);
    floatOf[0] = Math.max(red, green, blue);
    // The exponent e with 128 <= largest mantissa < 256; float32 exponents are biased by 127, RGBE's by 128 + 8 bits.
    let exponent = (bitsOf[0] >>> 23) + 2;
    if (floatOf[0] * 2 ** (136 - exponent) >= 255.5) exponent++; // the mantissa rounds up to 256
    if (bitsOf[0] >>> 23 === 0) exponent = 0; // float32 subnormals: below what is worth keeping
    const scale = exponent === 0 ? 0 : 2 ** (136 - exponent);
    rgbe[to] = red * scale + 0.5;
    rgbe[to + 1] = green * scale + 0.5;
    rgbe[to + 2] = blue * scale + 0.5;
    rgbe[to + 3] = exponent;
  }
}

function clamp(value: number): number {
  return value > 0 ? (value < MAX_RGBE ? value : MAX_RGBE) : 0; // NaN > 0 is false
}

/** Writes one line of RGBE at `to`; returns the offset after it. */
function encodeLine(rgbe: Uint8Array, out: Uint8Array, to: number): number {
  const width = rgbe.length / 4;
  if (width < 8 || width > 32767) {
    out.set(rgbe, to);
    return to + rgbe.length;
  }
  out.set([2, 2, width >> 8, width & 255], to);
  let offset = to + 4;
  for (let component = 0; component < 4; component++) offset = encodeComponent(rgbe, component, width, out, offset);
  return offset;
}

/** Runs of at least four equal bytes as (128 + count, byte), the rest as (count, bytes...). */
function encodeComponent(rgbe: Uint8Array, component: number, width: number, out: Uint8Array, start: number): number {
  let offset = start;
  const runAt = (x: number): number => {
    let end = x + 1;
    const value = rgbe[4 * x + component];
    while (end < width && end - x < 127 && rgbe[4 * end + component] === value) end++;
    return end - x;
  };
  for (let x = 0; x < width; ) {
    let run = runAt(x);
    let literalEnd = x;
    while (run < 4 && literalEnd < width && literalEnd - x < 128) {
      literalEnd = Math.min(width, literalEnd + run, x + 128);
      run = literalEnd < width ? runAt(literalEnd) : 0;
    }
    if (literalEnd > x) {
      out[offset++] = literalEnd - x;
      for (; x < literalEnd; x++) out[offset++] = rgbe[4 * x + component];
    }
    if (run >= 4) {
      out[offset++] = 128 + run;
      out[offset++] = rgbe[4 * x + component];
      x += run;
    }
  }
  return offset;
}
