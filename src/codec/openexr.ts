import { type Image, MAX_PIXELS } from "../image.js";
import { primariesFrom } from "./chromaticities.js";
import { decodeScanLines, decodesBlocks } from "./openexr-blocks.js";
import { checkExrBlocks, checkExrSize, type ExrHeader, readExrHeader, unsupportedExr } from "./openexr-header.js";
import { decodeLuminanceChroma } from "./openexr-luminance-chroma.js";
import { decodeWithThree } from "./three-exr.js";

/**
 * Decodes the (first) image of an OpenEXR file to float32 linear RGB: its data window, red, green and blue,
 * luminance/chroma, or luminance alone as grey. Scan lines and tiles (the largest level), every lossless and lossy compression. Alpha is
 * dropped, colours stay as stored (premultiplied). Throws BAD_INPUT for damaged files, UNSUPPORTED for deep data and
 * other channels.
 */
export async function decodeOpenExr(bytes: Uint8Array): Promise<Image> {
  const header = readExrHeader(bytes);
  const [left, top, right, bottom] = header.dataWindow;
  const width = right - left + 1;
  const height = bottom - top + 1;
  if (width * height > MAX_PIXELS) throw unsupportedExr(`${width}x${height} pixels (at most ${MAX_PIXELS})`);
  if (header.deep) throw unsupportedExr("deep data");
  checkExrSize(bytes, header);
  if (!header.multiPart) checkExrBlocks(bytes, header);
  const names = header.channels.map((channel) => channel.name);
  const has = (...wanted: string[]) => wanted.every((name) => names.includes(name));
  const primaries = (header.chromaticities && primariesFrom(header.chromaticities)) ?? "srgb";
  let data: Float32Array;
  if (has("Y", "RY", "BY")) data = decodeLuminanceChroma(bytes, header, primaries);
  else if (has("R", "G", "B")) data = await decodeFullResolution(bytes, header, ["R", "G", "B"]);
  else if (has("Y")) data = await decodeFullResolution(bytes, header, ["Y", "Y", "Y"]);
  else throw unsupportedExr(`channels ${names.join(", ").slice(0, 200)} (R, G, B or Y were expected)`);
  return { width, height, channels: 3, data, encoding: { transfer: "linear", primaries } };
}

async function decodeFullResolution(
  bytes: Uint8Array,
  header: ExrHeader,
  names: readonly string[],
): Promise<Float32Array> {
  const wanted = header.channels.filter((channel) => names.includes(channel.name));
  if (wanted.some((channel) => channel.xSampling > 1 || channel.ySampling > 1)) {
    throw unsupportedExr("subsampled channels other than luminance/chroma");
  }
  if (!decodesBlocks(header)) return decodeWithThree(bytes, header);
  const planes = decodeScanLines(bytes, header, names);
  const [red, green, blue] = names.map((name) => planes.get(name) as Float32Array);
  const data = new Float32Array(3 * red.length);
  for (let i = 0, to = 0; i < red.length; i++, to += 3) {
    data[to] = red[i];
    data[to + 1] = green[i];
    data[to + 2] = blue[i];
  }
  return data;
}
