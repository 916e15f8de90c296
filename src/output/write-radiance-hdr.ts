import { chromaticitiesOf } from "../codec/chromaticities.js";
import { optionalAddon } from "../engine/addon.js";
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
  const encode = encoderOf(width);
  const longestLine = 4 + 4 * (width + Math.ceil(width / 128));
  const linesPerStrip = Math.max(1, Math.min(height, Math.floor(STRIP_BYTES / longestLine)));
  const strip = new Uint8Array(linesPerStrip * longestLine);
  await withNewFile(path, async (file) => {
    const head = header(radiance);
    await writeFully(file, head, 0);
    let position = head.length;
    for (let y = 0; y < height; ) {
      const end = Math.min(height, y + linesPerStrip);
      const length = encode(data.subarray(y * width * 3, end * width * 3), strip);
      y = end;
      await writeFully(file, strip.subarray(0, length), position);
      position += length;
      throwIfAborted(options.signal);
      options.onProgress?.(y / height);
    }
  });
}

/** Codes whole lines of `width` pixels into the second array and returns the bytes. */
type Encoder = (rgb: Float32Array, out: Uint8Array) => number;

/** The addon's encoder, or (null) the same in JavaScript: seven times slower. */
export function encoderOf(width: number, addon = optionalAddon() ?? null): Encoder {
  if (addon) return (rgb, out) => addon.encodeRgbe(rgb, width, out);
  const planes = new Uint8Array(4 * width);
  return (rgb, out) => {
    let length = 0;
    for (let at = 0; at < rgb.length; at += 3 * width) {
      toRgbe(rgb.subarray(at, at + 3 * width), planes);
      length = encodeLine(planes, out, length);
    }
    return length;
  };
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
/** What brings light to mantissas, by the exponent's byte; 0 holds nothing. */
const scales = Float64Array.from({ length: 258 }, (_, exponent) => (exponent === 0 ? 0 : 2 ** (136 - exponent)));
/** The mantissa bits from which on the largest mantissa, 128 to 256, rounds up to 256: those of 255.5. */
const ROUNDS_UP = 0x7f8000;

/** One line as four planes, one after the other: red, green, blue, exponent. */
function toRgbe(rgb: Float32Array, planes: Uint8Array): void {
  const width = planes.length / 4;
  for (let x = 0, i = 0; x < width; x++, i += 3) {
    const red = clamp(rgb[i]);
    const green = clamp(rgb[i + 1]);
    const blue = clamp(rgb[i + 2]);
    const most = red > green ? red : green;
    floatOf[0] = most > blue ? most : blue;
    const bits = bitsOf[0];
    // The exponent e with 128 <= largest mantissa < 256; float32 exponents are biased by 127, RGBE's by 128 + 8 bits.
    let exponent = (bits >>> 23) + 2;
    if ((bits & 0x7fffff) >= ROUNDS_UP) exponent++;
    if (bits >>> 23 === 0) exponent = 0; // float32 subnormals: below what is worth keeping
    const scale = scales[exponent];
    planes[x] = red * scale + 0.5;
    planes[width + x] = green * scale + 0.5;
    planes[2 * width + x] = blue * scale + 0.5;
    planes[3 * width + x] = exponent;
  }
}

function clamp(value: number): number {
  return value > 0 ? (value < MAX_RGBE ? value : MAX_RGBE) : 0; // NaN > 0 is false
}

/** Writes one line of RGBE planes at `to`; returns the offset after it. */
function encodeLine(planes: Uint8Array, out: Uint8Array, to: number): number {
  const width = planes.length / 4;
  if (width < 8 || width > 32767) {
    for (let x = 0; x < width; x++) for (let c = 0; c < 4; c++) out[to + 4 * x + c] = planes[c * width + x];
    return to + planes.length;
  }
  out.set([2, 2, width >> 8, width & 255], to);
  let offset = to + 4;
  for (let component = 0; component < 4; component++)
    offset = encodePlane(planes, component * width, (component + 1) * width, out, offset);
  return offset;
}

/** Runs of at least four equal bytes as (128 + count, byte), the rest as (count, bytes...). */
function encodePlane(bytes: Uint8Array, begin: number, end: number, out: Uint8Array, start: number): number {
  let offset = start;
  const runAt = (at: number): number => {
    const value = bytes[at];
    const last = at + 127 < end ? at + 127 : end;
    let next = at + 1;
    while (next < last && bytes[next] === value) next++;
    return next - at;
  };
  for (let at = begin; at < end; ) {
    let run = runAt(at);
    let literalEnd = at;
    while (run < 4 && literalEnd < end && literalEnd - at < 128) {
      literalEnd = Math.min(end, literalEnd + run, at + 128);
      run = literalEnd < end ? runAt(literalEnd) : 0;
    }
    if (literalEnd > at) {
      out[offset++] = literalEnd - at;
      while (at < literalEnd) out[offset++] = bytes[at++];
    }
    if (run >= 4) {
      out[offset++] = 128 + run;
      out[offset++] = bytes[at];
      at += run;
    }
  }
  return offset;
}
