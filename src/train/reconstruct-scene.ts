import type { Engine } from "../engine/engine.js";
import { reconstructPicture } from "../reconstruct/network.js";
import { mirror } from "../reconstruct/region.js";
import { mergeSampler, type Sampler } from "../reconstruct/sampler.js";
import type { Scene } from "./dataset.js";
import { inputPixel } from "./patches.js";

/** Sides are padded to multiples of this, by reflection (method.md section 2). */
const PADDING = 16;
const order = [0, 1, 2];

/** The radiance that an engine makes of a scene, interleaved RGB: at once where `memory` bytes allow, else in tiles. */
export async function reconstructScene(
  scene: Scene,
  engine: Engine,
  memory: number,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const { width, height } = scene;
  const samplers: Sampler[] = scene.exposures.map((codes, e) => ({
    async read(region, out) {
      let to = 0;
      for (let y = 0; y < region.height; y++)
        for (let x = 0; x < region.width; x++, to += 6) {
          const from = mirror(region.y + y, height) * width + mirror(region.x + x, width);
          inputPixel(codes, from * 3, scene.exposureValues[e], order, out, to);
        }
    },
  }));
  if (scene.merge) samplers.push(mergeSampler({ width, height, data: scene.merge }, 1));
  const options = { memory, tile: "auto", signal, padding: PADDING } as const;
  return reconstructPicture({ width, height }, samplers, engine, options);
}
