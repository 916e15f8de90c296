import type { StoredTensor } from "../model/safetensors.js";
import { loadAddon, type NativeDevices } from "./addon.js";
import type { Precision } from "./engine.js";
import { callNative, finishTask } from "./task.js";

/** Everything the shapes of a network's weights follow from. */
export interface NetworkShape {
  /** C, the number of feature channels. */
  readonly width: number;
  readonly stages: readonly { readonly blocks: number; readonly heads: number }[];
  readonly mlpRatio: number;
  readonly exposureMlpRatio: number;
  /** Inner channels of the channel attention; C / 4. */
  readonly reduced: number;
}

export type Perceptual = "vgg" | "structure" | "none";

export interface TrainerOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decay of the weight averages; 0: none are kept. */
  readonly decay: number;
  /** Longest gradient; 0: no limit. */
  readonly clip: number;
  /** Stochastic depth's rate at the last block. */
  readonly dropPath: number;
  /** Half of it times the squared difference is added to the absolute one (mu_law_loss in smhdr/training.h). */
  readonly squaredWeight: number;
  /** It times the loss of a network's own radiance, its prior left out, is added to the loss. */
  readonly ownWeight: number;
  /** Half of it times the mean square of the logits of a prior's gate is added to the loss. */
  readonly gateWeight: number;
  readonly perceptual: Perceptual;
  readonly perceptualWeight: number;
  /** VGG-19's convolutions under torchvision's names, for "vgg". */
  readonly vgg?: ReadonlyMap<string, StoredTensor>;
  /** Parameters whose names begin with one of these are trained, the others frozen; all where empty. */
  readonly trained?: readonly string[];
  /** Of stochastic depth. */
  readonly seed: bigint;
  /** Of the products; sums, weights and Adam stay float32. Default fp32. */
  readonly precision?: Precision;
  /** What a step may keep for its backward pass before the batch is worked in pieces. Default 1 GiB. */
  readonly tapeBytes?: number;
}

/** The options as the addon takes them. */
export type NativeTrainerOptions = Omit<Required<TrainerOptions>, "vgg"> & {
  readonly vgg: Readonly<Record<string, StoredTensor>>;
};

export interface TrainingBatch {
  /** One array [batch, height, width, 6] an exposure, shortest first: radiance RGB, then pixel values RGB. */
  readonly exposures: readonly Float32Array[];
  /** [batch, height, width, 3]. */
  readonly truth: Float32Array;
  /** Loss weights [batch, height, width]; 1 where left out. */
  readonly weights?: Float32Array | undefined;
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  /** Per stage 0 none, 1 the mask map, 2 the importance map; no mask anywhere where left out. */
  readonly maskMode?: readonly number[] | undefined;
  /** [batch, height, width], 1 = keep. */
  readonly maskMap?: Float32Array | undefined;
  /** Learning rate. */
  readonly rate: number;
}

export interface StepResult {
  readonly loss: number;
  readonly pixelLoss: number;
  /** Before its weight. */
  readonly perceptualLoss: number;
  /** Of the network's own radiance, both terms, before its weight; 0 where that is 0. */
  readonly ownLoss: number;
  /** Before clipping. */
  readonly gradientNorm: number;
  /** False: the loss or the gradient was not finite, and nothing was changed. */
  readonly applied: boolean;
}

/** All that decides how training goes on. */
export interface TrainerState {
  /** Steps that were applied. */
  readonly steps: number;
  readonly random: bigint;
  readonly parameters: Readonly<Record<string, StoredTensor>>;
  readonly averages: Readonly<Record<string, StoredTensor>>;
  /** Adam's moments. */
  readonly first: Readonly<Record<string, StoredTensor>>;
  readonly second: Readonly<Record<string, StoredTensor>>;
}

export interface Trainer {
  /** Such as "cpu (avx512)". */
  readonly device: string;
  readonly stages: number;
  /** One step. Stopped by the signal it rejects with CANCELLED and has changed nothing. */
  step(batch: TrainingBatch, signal?: AbortSignal): Promise<StepResult>;
  state(): TrainerState;
  restore(state: TrainerState): void;
}

/** A new network's weights: the same for the same seed. Throws ADDON_MISSING. */
export function initialWeights(network: NetworkShape, seed: bigint): Map<string, StoredTensor> {
  return new Map(Object.entries(loadAddon().initialWeights(network, seed)));
}

/**
 * A trainer on the processor's own kernels, or on a CUDA device. `threads` 0 means one per processor; results do not
 * depend on it.
 * @throws SmhdrError ADDON_MISSING, INVALID_ARGUMENT naming the weight or option that does not fit, or UNSUPPORTED for a
 * device that is not there or a precision that it has not.
 */
export function createTrainer(
  weights: ReadonlyMap<string, StoredTensor>,
  options: TrainerOptions,
  threads = 0,
  device: NativeDevices = "cpu",
): Trainer {
  const addon = loadAddon();
  const native = {
    trained: [],
    tapeBytes: 2 ** 30,
    precision: "fp32" as const,
    ...options,
    vgg: Object.fromEntries(options.vgg ?? []),
  };
  const created = callNative(() => addon.createTrainer(Object.fromEntries(weights), native, threads, device));
  const { handle, stages } = created;
  return {
    device: `${device} (${created.device})`,
    stages,
    step: (batch, signal) => finishTask(() => addon.trainStep(handle, batch), signal),
    state: () => addon.trainerState(handle),
    restore: (state) => callNative(() => addon.restoreTrainer(handle, state)),
  };
}
