import { SmhdrError } from "../errors.js";
import { type Image, MAX_PIXELS, type Primaries } from "../image.js";
import { primariesFrom } from "./chromaticities.js";

/** More pixels than this need a byte of the file for every thousand: a small file cannot ask for gigabytes. */
const FREE_PIXELS = 2 ** 22;
const PIXELS_PER_BYTE = 1000;

/** CIE XYZ itself, as primaries: what a file in the xyze format holds. */
const XYZ: Primaries = { red: [1, 0], green: [0, 1], blue: [0, 0], white: [1 / 3, 1 / 3] };

interface Header {
  /** What the pixels were multiplied by, per channel; the reader divides by it. */
  readonly scale: [number, number, number];
  readonly primaries: Primaries;
  /** Length of a scan line and their count, in file order. */
  readonly length: number;
  readonly lines: number;
  readonly lineAxis: "X" | "Y";
  readonly linesForward: boolean;
  readonly pixelsForward: boolean;
  /** Where the pixels start. */
  readonly offset: number;
}

export function isRadianceHdr(bytes: Uint8Array): boolean {
  return bytes[0] === 0x23 && bytes[1] === 0x3f; // "#?"
}

/**
 * Decodes a Radiance picture (Ward, "Real Pixels", Graphics Gems II, and the Radiance file format notes): flat,
 * old-style and adaptive run-length pixels, every orientation. The result is float32 linear RGB, mantissa m and
 * exponent e giving m 2^(e - 136), divided by EXPOSURE and COLORCORR. Without PRIMARIES the pixels are taken for
 * linear sRGB, as nearly every writer means them. Throws BAD_INPUT for anything damaged.
 */
export function decodeRadianceHdr(bytes: Uint8Array): Image {
  const header = readHeader(bytes);
  const { length, lines, lineAxis, linesForward, pixelsForward, scale } = header;
  const width = lineAxis === "Y" ? length : lines;
  const height = lineAxis === "Y" ? lines : length;
  if (lines > bytes.length / 4) throw bad(`is cut off: ${lines} scan lines cannot lie in ${bytes.length} bytes`);
  if (width * height > MAX_PIXELS) {
    throw new SmhdrError("UNSUPPORTED", `Radiance file: ${width}x${height} pixels; at most ${MAX_PIXELS} are read.`);
  }
  if (width * height > FREE_PIXELS + PIXELS_PER_BYTE * bytes.length)
    throw bad(`is cut off: ${width}x${height} pixels cannot lie in ${bytes.length} bytes`);

  const data = new Float32Array(width * height * 3);
  const line = new Uint8Array(length * 4);
  const pixelStep = (pixelsForward ? 1 : -1) * (lineAxis === "Y" ? 3 : 3 * width);
  const lineStep = (linesForward ? 1 : -1) * (lineAxis === "Y" ? 3 * width : 3);
  let start = (linesForward ? 0 : -lineStep * (lines - 1)) + (pixelsForward ? 0 : -pixelStep * (length - 1));
  let offset = header.offset;
  for (let y = 0; y < lines; y++, start += lineStep) {
    offset = readScanLine(bytes, offset, line, y);
    for (let x = 0, i = 0, at = start; x < length; x++, i += 4, at += pixelStep) {
      const unit = UNITS[line[i + 3]];
      data[at] = (line[i] * unit) / scale[0];
      data[at + 1] = (line[i + 1] * unit) / scale[1];
      data[at + 2] = (line[i + 2] * unit) / scale[2];
    }
  }
  return { width, height, channels: 3, data, encoding: { transfer: "linear", primaries: header.primaries } };
}

/** What mantissa 1 is worth at each exponent; exponent 0 is black. */
const UNITS = Float64Array.from({ length: 256 }, (_, exponent) => (exponent === 0 ? 0 : 2 ** (exponent - 136)));

function readHeader(bytes: Uint8Array): Header {
  if (!isRadianceHdr(bytes)) throw bad('does not begin with "#?"');
  const scale: [number, number, number] = [1, 1, 1];
  let primaries: Primaries = "srgb";
  let offset = 0;
  const nextLine = (): string => {
    const end = bytes.indexOf(0x0a, offset);
    if (end < 0 || end - offset > 65536) throw bad("has a header without an end");
    const text = Buffer.from(bytes.buffer, bytes.byteOffset + offset, end - offset).toString("latin1");
    offset = end + 1;
    return text.trim();
  };
  for (let text = nextLine(); text !== ""; text = nextLine()) {
    const [key, value] = split(text);
    if (key === "FORMAT") {
      if (value === "32-bit_rle_xyze") primaries = XYZ;
      else if (value !== "32-bit_rle_rgbe")
        throw bad(`has FORMAT ${value.slice(0, 40)}; 32-bit_rle_rgbe or _xyze was expected`);
    } else if (key === "EXPOSURE") {
      const [exposure] = numbers(key, value, 1);
      for (let c = 0; c < 3; c++) scale[c] *= exposure;
    } else if (key === "COLORCORR") {
      const correction = numbers(key, value, 3);
      for (let c = 0; c < 3; c++) scale[c] *= correction[c];
    } else if (key === "PRIMARIES") {
      primaries = primariesFrom(numbers(key, value, 8)) ?? primaries;
    }
  }
  if (!scale.every((s) => s > 0 && Number.isFinite(s))) throw bad(`has an EXPOSURE or COLORCORR of ${scale}`);

  const resolution = nextLine();
  const match = /^([+-])([XY]) (\d{1,7}) ([+-])([XY]) (\d{1,7})$/.exec(resolution);
  const [, lineSign, lineAxis, lines, pixelSign, pixelAxis, length] = match ?? [];
  if (!match || lineAxis === pixelAxis || Number(lines) < 1 || Number(length) < 1) {
    throw bad(`has the resolution "${resolution.slice(0, 40)}"; something like "-Y 480 +X 640" was expected`);
  }
  // Radiance's y points up: "-Y" starts at the top. Our rows run top to bottom, columns left to right.
  const forward = (axis: string, sign: string) => (axis === "Y") === (sign === "-");
  return {
    scale,
    primaries,
    lines: Number(lines),
    length: Number(length),
    lineAxis: lineAxis as "X" | "Y",
    linesForward: forward(lineAxis, lineSign),
    pixelsForward: forward(pixelAxis, pixelSign),
    offset,
  };
}

function split(text: string): [string, string] {
  const equals = text.indexOf("=");
  return equals < 0 ? [text, ""] : [text.slice(0, equals).trim(), text.slice(equals + 1).trim()];
}

function numbers(key: string, text: string, count: number): number[] {
  const values = text.split(/\s+/).map(Number);
  if (values.length !== count || !values.every(Number.isFinite))
    throw bad(`has ${key}=${text.slice(0, 40)}; ${count} numbers were expected`);
  return values;
}

/** Reads one scan line of RGBE into `line` (interleaved); returns the offset after it. */
function readScanLine(bytes: Uint8Array, offset: number, line: Uint8Array, y: number): number {
  const length = line.length / 4;
  const adaptive =
    length >= 8 &&
    length < 32768 &&
    bytes[offset] === 2 &&
    bytes[offset + 1] === 2 &&
    bytes[offset + 2] < 128 &&
    ((bytes[offset + 2] << 8) | bytes[offset + 3]) === length;
  return adaptive ? readAdaptive(bytes, offset + 4, line, y) : readFlat(bytes, offset, line, y);
}

/** One component after the other, each as runs (count over 128) and literals. */
function readAdaptive(bytes: Uint8Array, start: number, line: Uint8Array, y: number): number {
  let offset = start;
  for (let component = 0; component < 4; component++) {
    for (let i = component; i < line.length; ) {
      if (offset >= bytes.length) throw bad(`is cut off in scan line ${y}`);
      let count = bytes[offset++];
      const run = count > 128;
      if (run) count -= 128;
      if (count === 0 || i + 4 * (count - 1) >= line.length) throw bad(`is damaged in scan line ${y}`);
      if (offset + (run ? 1 : count) > bytes.length) throw bad(`is cut off in scan line ${y}`);
      for (let k = 0; k < count; k++, i += 4) line[i] = run ? bytes[offset] : bytes[offset++];
      if (run) offset++;
    }
  }
  return offset;
}

/** Whole pixels; a pixel (1, 1, 1, n) repeats the one before it n times, n shifted by 8 more bits each time in a row. */
function readFlat(bytes: Uint8Array, start: number, line: Uint8Array, y: number): number {
  let offset = start;
  let shift = 0;
  for (let i = 0; i < line.length; offset += 4) {
    if (offset + 4 > bytes.length) throw bad(`is cut off in scan line ${y}`);
    if (bytes[offset] === 1 && bytes[offset + 1] === 1 && bytes[offset + 2] === 1) {
      const end = i + 4 * bytes[offset + 3] * 2 ** shift;
      if (i === 0 || end > line.length) throw bad(`is damaged in scan line ${y}`);
      for (; i < end; i += 4) line.copyWithin(i, i - 4, i);
      shift += 8;
    } else {
      line.set(bytes.subarray(offset, offset + 4), i);
      i += 4;
      shift = 0;
    }
  }
  return offset;
}

function bad(what: string): SmhdrError {
  return new SmhdrError("BAD_INPUT", `Radiance file ${what}.`);
}
