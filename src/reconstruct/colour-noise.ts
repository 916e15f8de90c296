import { loadAddon } from "../engine/addon.js";
import { finishTask } from "../engine/task.js";

/**
 * Takes the colour noise that a network left in its picture away, in place (native/include/smhdr/colour_noise.h).
 * @param picture whole rows of interleaved RGB radiance in [0, 1], of which 1.0 is where the network's shortest exposure clips
 * @throws SmhdrError OUT_OF_MEMORY, CANCELLED
 */
export async function takeColourNoiseAway(
  picture: Float32Array,
  width: number,
  { threads = 0, signal }: { threads?: number | undefined; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  await finishTask(() => loadAddon().takeColourNoiseAway(picture, width, threads), signal);
}
