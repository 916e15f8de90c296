import type { TrainingBatch } from "../engine/trainer.js";
import type { TrainConfig } from "./config.js";
import type { Scene } from "./dataset.js";
import type { LocalQuality } from "./local-quality.js";
import { lossWeights, weightMap } from "./loss-weights.js";
import { drawMaskMap, drawMaskModes, segmentRatios } from "./masks.js";
import { cutPatch, patchArrays, randomFor } from "./patches.js";

/** A patch to cut: from which scene, its number in the run (its random choices follow from it), and the scene's local quality. */
export interface PatchOrder {
  readonly scene: Scene;
  readonly number: number;
  readonly quality: LocalQuality | undefined;
}

/**
 * The batch of one step. Masks are drawn where the epoch's ratio is above 0, loss weights are 1 for scenes without local quality.
 * @param step of the run, for the choice of each stage's mask
 */
export function makeBatch(
  patches: readonly PatchOrder[],
  config: TrainConfig,
  stages: number,
  ratio: number,
  step: number,
): Omit<TrainingBatch, "rate"> {
  const { patch, seed, masks } = config;
  const pixels = patch * patch;
  const merged = patches.some(({ scene }) => scene.merge);
  const arrays = patchArrays(patches.length, patch, config.exposures + Number(merged));
  const weighted = config.lossWeights === "quality" && patches.some(({ quality }) => quality);
  const masked = masks !== "none" && ratio > 0;
  const weights = weighted ? new Float32Array(patches.length * pixels).fill(1) : undefined;
  const maskMap = masked ? new Float32Array(patches.length * pixels) : undefined;
  patches.forEach(({ scene, number, quality }, slot) => {
    cutPatch(scene, config, randomFor(seed, "patch", number), arrays, slot);
    const segments = arrays.segments.subarray(slot * pixels, (slot + 1) * pixels);
    if (weights && quality) weights.set(weightMap(segments, lossWeights(quality)), slot * pixels);
    if (maskMap) {
      const own = maskMap.subarray(slot * pixels, (slot + 1) * pixels);
      const random = randomFor(seed, "mask", number);
      if (masks === "random") drawMaskMap(new Float32Array(pixels), new Map([[0, ratio]]), random, own);
      else drawMaskMap(segments, segmentRatios(quality ?? new Map(), ratio), random, own);
    }
  });
  return {
    exposures: arrays.exposures,
    truth: arrays.truth,
    weights,
    batch: patches.length,
    height: patch,
    width: patch,
    maskMode: masked ? drawMaskModes(stages, config.maskProbability, randomFor(seed, "modes", step)) : undefined,
    maskMap,
  };
}
