import type { TrainConfig } from "./config.js";
import { ISO } from "./synthesis/camera.js";

/** The published schedule and network: epochs 1-300, 301-350, 351-400, batches of 8 patches, every scene 100 times an epoch. */
const paper: TrainConfig = {
  seed: 1,
  exposures: 3,
  network: { width: 60, stages: 4, blocks: 6, heads: 6, outputBias: null, prior: false },
  curriculum: { plain: 300, rising: 50, falling: 50, peakRatio: 0.9, changing: true },
  patchesPerScene: 100,
  patch: 128,
  batch: 8,
  rate: { from: 5e-4, to: 5e-5, warmUp: 0 },
  adam: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
  clip: 0,
  dropPath: 0.1,
  averageDecay: 0,
  augmentation: { flips: true, turns: false, colours: 0 },
  masks: "semantic",
  maskProbability: 0.75,
  lossWeights: "quality",
  squaredWeight: 0,
  ownWeight: 0,
  gateWeight: 0,
  precision: "fp32",
  perceptual: "vgg",
  perceptualWeight: 0.005,
  trained: [],
  validation: { every: 5, scenes: 4 },
  scenesAtOnce: 0,
  synthesis: { scenes: 74, size: 256, evSpacing: [], response: 0.1, motion: 0.9, iso: ISO, truth: "scene" },
  checkpointMinutes: 5,
  metricsEvery: 10,
};

/** smhdr-s in hours on a processor: an eighth of the epochs, the same shape of the curriculum. */
const small: TrainConfig = {
  ...paper,
  network: { width: 24, stages: 3, blocks: 2, heads: 2, outputBias: -2, prior: true },
  curriculum: { plain: 36, rising: 6, falling: 6, peakRatio: 0.9, changing: true },
  patchesPerScene: 25,
  rate: { from: 1.5e-3, to: 1e-5, warmUp: 200 },
  clip: 1,
  dropPath: 0,
  averageDecay: 0.999,
  augmentation: { flips: true, turns: true, colours: 0.33 },
  ownWeight: 1,
  gateWeight: 5e-5,
  perceptual: "structure",
  perceptualWeight: 0.1,
  validation: { every: 2, scenes: 4 },
  synthesis: { scenes: 100, size: 256, evSpacing: [], response: 0.1, motion: 0.9, iso: ISO, truth: "merged" },
};

/** For tests: seconds on a few small scenes. */
const tiny: TrainConfig = {
  ...small,
  network: { width: 12, stages: 1, blocks: 2, heads: 2, outputBias: -2, prior: false },
  curriculum: { plain: 6, rising: 1, falling: 1, peakRatio: 0.9, changing: true },
  patchesPerScene: 4,
  patch: 32,
  batch: 4,
  rate: { from: 4e-3, to: 4e-4, warmUp: 0 },
  averageDecay: 0.9,
  validation: { every: 4, scenes: 1 },
  synthesis: { scenes: 4, size: 64, evSpacing: [2], response: 0.1, motion: 0.9, iso: ISO, truth: "scene" },
  metricsEvery: 1,
};

/** Adapts a model to another number of exposures: the extractor alone, without masks. */
const finetune: TrainConfig = {
  ...small,
  curriculum: { plain: 16, rising: 0, falling: 0, peakRatio: 0, changing: true },
  masks: "none",
  lossWeights: "uniform",
  ownWeight: 0,
  gateWeight: 0,
  trained: ["conv_first.", "fold."],
};

export const presets = { paper, small, tiny, finetune } as const;
export type PresetName = keyof typeof presets;
