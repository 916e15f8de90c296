// Over areas wider than its noise a network's picture is a few per cent brighter or darker than the merge, which is exact where the
// exposures agree. That is taken back; what is finer, and where the two show different things, stays the network's.
import { loadAddon } from "../engine/addon.js";
import { callNative, finishTask } from "../engine/task.js";
import type { Sampler } from "./sampler.js";

/** Rows at once, a multiple of the squares (native/include/smhdr/drift.h): the reference's values take memory. */
const BAND = 128;

/**
 * Takes the drift of `picture` from `merge` back, in place. Both are interleaved RGB radiance of the same pixels.
 * @param scale what makes 1.0 of the merge's radiance at which the network's shortest exposure clips; `picture` has that scale
 * @param reference the reference exposure as the network reads it
 * @throws SmhdrError OUT_OF_MEMORY, CANCELLED
 */
export async function takeDriftBack(
  picture: Float32Array,
  merge: { readonly width: number; readonly height: number; readonly data: Float32Array },
  scale: number,
  reference: Sampler,
  { threads = 0, signal }: { threads?: number | undefined; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { width, height } = merge;
  const addon = loadAddon();
  const drift = callNative(() => addon.createDrift(width, height));
  const values = new Float32Array(Math.min(BAND, height) * width * 6);
  const bands = Array.from({ length: Math.ceil(height / BAND) }, (_, i) => i * BAND);
  const rows = (data: Float32Array, y: number) => data.subarray(y * width * 3, (y + BAND) * width * 3);
  for (const y of bands) {
    const region = { x: 0, y, width, height: Math.min(BAND, height - y) };
    const seen = values.subarray(0, region.height * width * 6);
    await reference.read(region, seen);
    await finishTask(
      () => addon.driftMeasure(drift, y, rows(picture, y), rows(merge.data, y), scale, seen, threads),
      signal,
    );
  }
  await finishTask(() => addon.driftSmooth(drift, threads), signal);
  for (const y of bands) await finishTask(() => addon.driftTakeBack(drift, y, rows(picture, y), threads), signal);
}
