import type { Primaries } from "../image.js";
import { rgbToXyz } from "./chromaticities.js";
import { decodeScanLines, decodesBlocks, samplesIn } from "./openexr-blocks.js";
import { type ExrChannel, type ExrHeader, unsupportedExr } from "./openexr-header.js";
import type { Plane } from "./openexr-piz.js";

/**
 * Decodes OpenEXR's luminance/chroma files, Y at full and RY = (R - Y)/Y, BY = (B - Y)/Y at half resolution in half
 * precision, to linear RGB. (The library that reads other files does not read subsampled channels well.)
 */
export function decodeLuminanceChroma(bytes: Uint8Array, header: ExrHeader, primaries: Primaries): Float32Array {
  const [left, top, right, bottom] = header.dataWindow;
  const [width, height] = [right - left + 1, bottom - top + 1];
  if (header.channels.some((channel) => channel.type !== "half")) throw unsupportedExr("luminance/chroma not in half");
  if (!decodesBlocks(header)) throw unsupportedExr(`luminance/chroma in tiles, in parts or with ${header.compression}`);

  const samples = decodeScanLines(bytes, header, ["Y", "RY", "BY"]);
  const y = samples.get("Y") as Float32Array;
  const [ry, by] = ["RY", "BY"].map((name) => {
    const channel = header.channels.find((c) => c.name === name) as ExrChannel;
    if (channel.xSampling !== 2 || channel.ySampling !== 2)
      throw unsupportedExr(`${name} at other than half resolution`);
    const plane = { width: samplesIn(left, right, 2), height: samplesIn(top, bottom, 2) };
    return interpolate(samples.get(name) as Float32Array, plane, width, height, left & 1, top & 1);
  });
  const [, , , redWeight, greenWeight, blueWeight] = rgbToXyz(primaries);
  const data = new Float32Array(width * height * 3);
  for (let i = 0; i < y.length; i++) {
    const red = Math.max(0, (1 + ry[i]) * y[i]);
    const blue = Math.max(0, (1 + by[i]) * y[i]);
    data[3 * i] = red;
    data[3 * i + 1] = Math.max(0, (y[i] - redWeight * red - blueWeight * blue) / greenWeight);
    data[3 * i + 2] = blue;
  }
  return data;
}

/** OpenEXR's chroma reconstruction filter (ImfRgbaYca): taps at odd distances 1, 3, ..., 13 to either side. */
const TAPS = [0.627123, -0.186077, 0.087929, -0.043159, 0.019597, -0.00754, 0.002128];

/** Doubles a plane's resolution; `oddLeft`, `oddTop`: the first sample lies in column or row 1 and not 0. */
function interpolate(
  plane: Float32Array,
  size: Plane,
  width: number,
  height: number,
  oddLeft: number,
  oddTop: number,
): Float32Array {
  if (size.width === 0 || size.height === 0) return new Float32Array(width * height); // no sample lies in the window: grey
  const rows = new Float32Array(width * size.height);
  for (let y = 0; y < size.height; y++) line(plane, y * size.width, 1, size.width, rows, y * width, 1, width, oddLeft);
  const out = new Float32Array(width * height);
  for (let x = 0; x < width; x++) line(rows, x, width, size.height, out, x, width, height, oddTop);
  return out;
}

function line(
  from: Float32Array,
  fromStart: number,
  fromStep: number,
  fromCount: number,
  to: Float32Array,
  toStart: number,
  toStep: number,
  toCount: number,
  odd: number,
): void {
  const sample = (i: number) => from[fromStart + Math.min(fromCount - 1, Math.max(0, i)) * fromStep];
  for (let i = 0; i < toCount; i++) {
    const left = (i - odd) >> 1;
    let value = 0;
    if (((i - odd) & 1) === 0) value = sample(left);
    else for (let tap = 0; tap < TAPS.length; tap++) value += TAPS[tap] * (sample(left - tap) + sample(left + 1 + tap));
    to[toStart + i * toStep] = value;
  }
}
