import { loadAddon } from "../engine/addon.js";
import { callNative, finishTask } from "../engine/task.js";
import type { Sampler } from "./sampler.js";

/** Side of the squares that noise is measured in (native/include/smhdr/colour_noise.h). */
const SQUARE = 8;

/**
 * Takes the colour noise that a network left in its picture away, in place (native/include/smhdr/colour_noise.h). How much
 * there is is read off the picture, and off what the exposures that show the same differ by.
 * @param picture whole rows of interleaved RGB radiance in [0, 1], of which 1.0 is where the network's shortest exposure clips
 * @param exposures as the network read them, the shortest first, with their exposure values in stops
 * @throws SmhdrError OUT_OF_MEMORY, CANCELLED
 */
export async function takeColourNoiseAway(
  picture: Float32Array,
  width: number,
  exposures: readonly { readonly sampler: Sampler; readonly exposureValue: number }[],
  { threads = 0, signal }: { threads?: number | undefined; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const addon = loadAddon();
  const exposureValues = exposures.map(({ exposureValue }) => exposureValue);
  const noise = callNative(() => addon.createColourNoise(width, picture.length / 3 / width, exposureValues));
  const values = new Float32Array(exposures.length * SQUARE * width * 6);
  for (const [index, y] of addon.colourNoiseTops(noise).entries()) {
    for (const [i, { sampler }] of exposures.entries()) {
      const rows = values.subarray(i * SQUARE * width * 6, (i + 1) * SQUARE * width * 6);
      await sampler.read({ x: 0, y, width, height: SQUARE }, rows);
    }
    await finishTask(() => addon.colourNoiseMeasure(noise, index, values, threads), signal);
  }
  await finishTask(() => addon.colourNoiseTakeAway(noise, picture, threads), signal);
}
