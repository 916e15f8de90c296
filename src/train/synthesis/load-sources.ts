import { basename } from "node:path";
import { readRadiance } from "../../codec/read-radiance.js";
import { SmhdrError } from "../../errors.js";
import type { SourceImage } from "./source.js";

/** Reads HDR images (.hdr, .exr) as sources; one twice as wide as high is a panorama. Errors as loadSource. */
export async function loadSources(paths: readonly string[]): Promise<SourceImage[]> {
  const sources: SourceImage[] = [];
  for (const path of paths) sources.push(await loadSource(path));
  return sources;
}

/**
 * Reads one source. Values outside the display's gamut (negative) become 0 and infinite ones the largest finite value.
 * @throws SmhdrError IO or BAD_INPUT where it cannot be read, is smaller than 64 pixels, is black, or over 1 % of it is not finite.
 */
export async function loadSource(path: string): Promise<SourceImage> {
  const { width, height, channels, data: pixels } = await readRadiance(path);
  const fail = (what: string) => {
    throw new SmhdrError("BAD_INPUT", `${path}: ${what}.`);
  };
  if (channels !== 3) fail(`expected 3 channels, got ${channels}`);
  if (Math.min(width, height) < 64) fail(`expected at least 64x64 pixels to cut scenes from, got ${width}x${height}`);
  const data = Float32Array.from(pixels);
  let largest = 0;
  let broken = 0;
  for (const v of data) {
    if (!Number.isFinite(v)) broken++;
    else if (v > largest) largest = v;
  }
  if (broken > data.length / 100)
    fail(`expected finite radiance, got ${broken} of ${data.length} values that are infinite or not a number`);
  if (largest <= 0) fail("expected radiance above 0 somewhere, got a black image");
  for (let i = 0; i < data.length; i++) {
    const v = data[i];
    if (!(v >= 0)) data[i] = 0;
    else if (v > largest) data[i] = largest;
  }
  return { name: basename(path), width, height, data, panorama: width === 2 * height };
}
