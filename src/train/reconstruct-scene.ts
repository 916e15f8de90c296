import type { Engine } from "../engine/engine.js";
import { finishPicture } from "../reconstruct/finish.js";
import { reconstructPicture } from "../reconstruct/network.js";
import { mirror } from "../reconstruct/region.js";
import { mergeSampler, type Sampler } from "../reconstruct/sampler.js";
import type { Scene } from "./dataset.js";
import { inputPixel } from "./patches.js";

/** Sides are padded to multiples of this, by reflection (method.md section 2). */
const PADDING = 16;
const order = [0, 1, 2];

/**
 * The radiance that an engine makes of a scene, interleaved RGB: at once where `memory` bytes allow, else in tiles. With `finish` and a
 * merge beside the exposures, drift and colour noise are taken away as in use; training sees the network without.
 */
export async function reconstructScene(
  scene: Scene,
  engine: Engine,
  memory: number,
  { finish = false, signal }: { finish?: boolean; signal?: AbortSignal | undefined } = {},
): Promise<Float32Array> {
  const { width, height, merge, exposureValues } = scene;
  const samplers: Sampler[] = scene.exposures.map((codes, e) => ({
    async read(region, out) {
      let to = 0;
      for (let y = 0; y < region.height; y++)
        for (let x = 0; x < region.width; x++, to += 6) {
          const from = mirror(region.y + y, height) * width + mirror(region.x + x, width);
          inputPixel(codes, from * 3, exposureValues[e], order, out, to);
        }
    },
  }));
  const inputs = merge ? [...samplers, mergeSampler({ width, height, data: merge }, 1)] : samplers;
  const options = { memory, tile: "auto", signal, padding: PADDING } as const;
  const picture = await reconstructPicture({ width, height }, inputs, engine, options);
  if (finish && merge) {
    const exposures = samplers.map((sampler, e) => ({ sampler, exposureValue: exposureValues[e] }));
    await finishPicture(picture, { width, height, data: merge }, 1, exposures, exposures.length >> 1, { signal });
  }
  return picture;
}
