import type { Engine } from "../engine/engine.js";
import { throwIfAborted } from "../errors.js";
import { blend } from "../reconstruct/network.js";
import type { Region } from "../reconstruct/sampler.js";
import { planTiles } from "../reconstruct/tiles.js";
import type { Scene } from "./dataset.js";
import { inputPixel } from "./patches.js";

/** Sides are padded to multiples of this, by reflection (method.md section 2). */
const PADDING = 16;
const order = [0, 1, 2];

function mirror(at: number, length: number): number {
  if (length === 1) return 0;
  const within = at % (2 * (length - 1));
  return within < length ? within : 2 * (length - 1) - within;
}

/** The radiance that an engine makes of a scene, interleaved RGB: at once where `memory` bytes allow, else in tiles. */
export async function reconstructScene(
  scene: Scene,
  engine: Engine,
  memory: number,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const { width, height } = scene;
  const up = (length: number) => Math.ceil(length / PADDING) * PADDING;
  const pixels = Math.floor(memory / engine.bytesPerPixel(scene.exposures.length));
  const plan = planTiles(up(width), up(height), pixels, "auto");
  const read = (regions: readonly Region[]) =>
    scene.exposures.map((codes, e) => {
      const out = new Float32Array(regions.reduce((sum, r) => sum + r.width * r.height, 0) * 6);
      let to = 0;
      for (const region of regions)
        for (let y = 0; y < region.height; y++)
          for (let x = 0; x < region.width; x++, to += 6) {
            const from = mirror(region.y + y, height) * width + mirror(region.x + x, width);
            inputPixel(codes, from * 3, scene.exposureValues[e], order, out, to);
          }
      return out;
    });
  const run = (regions: readonly Region[], record: boolean) => {
    const [{ width, height }] = regions;
    return engine.run({ exposures: read(regions), batch: regions.length, height, width, record }, { signal });
  };
  engine.clearSums();
  if (plan.samples.length > 0) await run(plan.samples, true);
  const data = new Float32Array(width * height * 3);
  const covered = plan.tiles.length > 1 ? new Float32Array(width * height) : undefined;
  for (const region of plan.tiles) {
    throwIfAborted(signal);
    blend(await run([region], false), region, scene, data, covered);
  }
  engine.clearSums();
  if (covered) for (let i = 0; i < data.length; i++) data[i] /= covered[Math.floor(i / 3)];
  return data;
}
