import type { Engine } from "../engine/engine.js";
import { muLaw } from "../measure/mu-law.js";
import { psnr } from "../measure/psnr.js";
import type { Scene } from "./dataset.js";
import { reconstructScene } from "./reconstruct-scene.js";

export interface SceneResult {
  readonly name: string;
  readonly psnrMu: number;
  readonly psnrL: number;
}

/** PSNR of every scene, finished as in use; `each` gets the prediction before the next one is made. */
export async function validate(
  scenes: readonly Scene[],
  engine: Engine,
  memory: number,
  signal: AbortSignal | undefined,
  each: (scene: Scene, index: number, prediction: Float32Array) => Promise<void>,
): Promise<SceneResult[]> {
  const results: SceneResult[] = [];
  for (const [index, scene] of scenes.entries()) {
    const prediction = await reconstructScene(scene, engine, memory, { finish: true, signal });
    results.push({
      name: scene.name,
      psnrMu: psnr(prediction, scene.truth, muLaw),
      psnrL: psnr(prediction, scene.truth),
    });
    await each(scene, index, prediction);
  }
  return results;
}

export const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
