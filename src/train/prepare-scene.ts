import { exposureSampler } from "../reconstruct/sampler.js";
import type { Scene } from "./dataset.js";
import { bracketOf, mergeBracket } from "./restore-scene.js";

/**
 * A scene as a network with a prior meets brackets in use: aligned and what moved followed, with the merge beside the
 * exposures.
 * @throws SmhdrError BAD_INPUT where the exposures are not sorted, CANCELLED
 */
export async function prepareScene(scene: Scene, signal?: AbortSignal): Promise<Scene> {
  const { width, height, exposureValues } = scene;
  const bracket = await bracketOf(scene, { align: "auto", follow: "auto", signal });
  try {
    const merge = await mergeBracket(bracket, exposureValues, { signal });
    const values = new Float32Array(width * height * 6);
    const exposures: Uint16Array[] = [];
    for (const exposure of bracket.exposures) {
      if (exposure.alignment) {
        await exposureSampler(exposure).read({ x: 0, y: 0, width, height }, values);
        const codes = new Uint16Array(width * height * 3);
        for (let p = 0; p < width * height; p++)
          for (let c = 0; c < 3; c++) codes[3 * p + c] = Math.round(values[6 * p + 3 + c] * 65535);
        exposures.push(codes);
      } else exposures.push(exposure.pixels.rows(0, height) as Uint16Array);
    }
    return { ...scene, exposures, merge };
  } finally {
    bracket.close();
  }
}
