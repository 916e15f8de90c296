import { EXRLoader } from "three/examples/jsm/loaders/EXRLoader.js";
import type { Image } from "../image.js";
import { primariesFrom } from "./chromaticities.js";
import { badExr, checkExrBlocks, type ExrHeader, readExrHeader, unsupportedExr } from "./openexr-header.js";
import { decodeLuminanceChroma } from "./openexr-luminance-chroma.js";

const MAX_PIXELS = 2 ** 28;
const THREE_FLOAT_TYPE = 1015;

/**
 * Decodes the (first) image of an OpenEXR file to float32 linear RGB: its data window, red, green and blue,
 * luminance/chroma, or luminance alone as grey. Scan lines and tiles (the largest level), every lossless and lossy compression. Alpha is
 * dropped, colours stay as stored (premultiplied). Throws BAD_INPUT for damaged files, UNSUPPORTED for deep data and
 * other channels.
 */
export function decodeOpenExr(bytes: Uint8Array): Image {
  const header = readExrHeader(bytes);
  const [left, top, right, bottom] = header.dataWindow;
  const width = right - left + 1;
  const height = bottom - top + 1;
  if (width * height > MAX_PIXELS) throw unsupportedExr(`${width}x${height} pixels (at most ${MAX_PIXELS})`);
  if (header.deep) throw unsupportedExr("deep data");
  if (!header.multiPart) checkExrBlocks(bytes, header);
  const names = header.channels.map((channel) => channel.name);
  const has = (...wanted: string[]) => wanted.every((name) => names.includes(name));
  const primaries = header.chromaticities ? primariesFrom(header.chromaticities) : "srgb";
  let data: Float32Array;
  if (has("Y", "RY", "BY")) data = decodeLuminanceChroma(bytes, header, primaries);
  else if (has("R", "G", "B") || has("Y")) data = decodeFullResolution(bytes, header, width, height);
  else throw unsupportedExr(`channels ${names.join(", ")} (R, G, B or Y were expected)`);
  return { width, height, channels: 3, data, encoding: { transfer: "linear", primaries } };
}

function decodeFullResolution(bytes: Uint8Array, header: ExrHeader, width: number, height: number): Float32Array {
  // three takes every channel for one type and for full resolution.
  if (new Set(header.channels.map((channel) => channel.type)).size > 1) throw unsupportedExr("channels of mixed types");
  if (header.channels.some((channel) => channel.xSampling > 1 || channel.ySampling > 1)) {
    throw unsupportedExr("subsampled channels other than luminance/chroma");
  }
  const buffer = bytes.slice().buffer;
  let rgba: Float32Array;
  try {
    rgba = new EXRLoader().setDataType(THREE_FLOAT_TYPE).parse(buffer).data;
  } catch (error) {
    throw badExr(`is damaged (${error instanceof Error ? error.message : error})`, error);
  }
  const data = new Float32Array(width * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0, from = 4 * width * (height - 1 - y); x < width; x++, from += 4, to += 3) {
      data[to] = rgba[from];
      data[to + 1] = rgba[from + 1];
      data[to + 2] = rgba[from + 2];
    }
  }
  return data;
}
