import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DEFAULT_MEMORY } from "../default-memory.js";
import type { NativeDevices } from "../engine/addon.js";
import { createTrainer, initialWeights, type Trainer } from "../engine/trainer.js";
import { SmhdrError } from "../errors.js";
import { FOLD_WEIGHT } from "../model/fold.js";
import type { Model } from "../model/model.js";
import { FIRST_GATE, hasPrior, withPrior } from "../model/prior.js";
import { readSafetensors, type StoredTensor } from "../model/safetensors.js";
import { type Checkpoint, readCheckpoint } from "./checkpoint.js";
import { begunConfig, configDifference, makeConfig, type TrainConfig } from "./config.js";
import { findScenes, readScene, type Scene } from "./dataset.js";
import { type LoopResult, type ProgressState, runLoop } from "./loop.js";
import { cutMetrics } from "./metrics.js";
import { prepareScene } from "./prepare-scene.js";
import { checkUnused, makeRunFolder, type RunFolder, readRunConfig, runFolder } from "./run-folder.js";
import { checkBase } from "./saved-model.js";
import { checkScene, folderScenes, type SceneSet, synthesizedScenes } from "./scenes.js";

export interface TrainOptions {
  /** The run's folder. */
  readonly output: string;
  /** A data set (method.md section 8): Training/ to train on, Test/ to validate on. With `sources` only Test/ is used. */
  readonly data?: string | undefined;
  /** HDR images to synthesise scenes from while training. */
  readonly sources?: readonly string[] | undefined;
  /** Default: the run's own when it goes on, else the preset "small". */
  readonly config?: TrainConfig | undefined;
  readonly resume?: boolean | undefined;
  /** Weights to begin with instead of drawn ones. */
  readonly model?: Model | undefined;
  /** The model that the run adapts: saved is this one with what was trained as its extractor for the run's exposures. */
  readonly base?: Model | undefined;
  /** VGG-19's weights (safetensors, torchvision's names), for the perceptual term "vgg". */
  readonly vgg?: string | undefined;
  /** What trains and validates. Default: "cpu". */
  readonly device?: NativeDevices | undefined;
  readonly threads?: number | undefined;
  /** Bytes for the reconstruction of whole scenes. Default 2 GiB. */
  readonly memory?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Scenes read, or made for the beginning. */
  readonly onReading?: ((fraction: number) => void) | undefined;
  readonly onProgress?: ((fraction: number, state: ProgressState) => void) | undefined;
  readonly onNote?: ((message: string) => void) | undefined;
}

export interface TrainResult extends LoopResult {
  readonly folder: RunFolder;
}

/**
 * Trains a network, from drawn weights, from a model's, or from where a run stopped.
 * @throws SmhdrError as runLoop does; INVALID_ARGUMENT where options do not go together or a checkpoint is another configuration's
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { output, data, sources, resume, signal, threads = 0, memory = DEFAULT_MEMORY, onNote } = options;
  if (data === undefined && sources === undefined)
    throw new SmhdrError("INVALID_ARGUMENT", "train: expected a data set (--data) or HDR images (--synthesize).");
  if (!resume) await checkUnused(output);
  const checkpoint = resume ? await loadCheckpoint(output, options) : undefined;
  const config = checkpoint?.config ?? options.config ?? makeConfig();
  if (options.model && options.model.exposures !== config.exposures)
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `model: expected one for ${config.exposures} exposures as the configuration says, got one for ${options.model.exposures}.`,
    );
  const trainer = await makeTrainer(config, options, checkpoint, threads);
  const { base } = options;
  if (base) checkBase(base, trainer.state().parameters, config);
  const prepared = hasPrior(new Map(Object.entries(trainer.state().parameters)));
  const scenes = await openScenes(config, prepared, options);
  try {
    if (checkpoint && checkpoint.fingerprint !== scenes.fingerprint)
      throw new SmhdrError(
        "INVALID_ARGUMENT",
        `${output}: the run was begun on other scenes; give it the same --data or --synthesize to go on.`,
      );
    const validation = await openValidation(config, prepared, data);
    if (validation.length === 0 && config.validation.scenes > 0)
      onNote?.(
        `There is no ${data === undefined ? "--data" : join(data, "Test")} to validate on: no PSNR is reported.`,
      );
    const folder = checkpoint ? runFolder(output) : await makeRunFolder(output, config);
    if (checkpoint) await cutMetrics(folder.metrics, checkpoint.position.steps);
    const { onProgress } = options;
    const from = checkpoint;
    const result = await runLoop({
      ...{ folder, config, trainer, base, scenes, validation, from, threads, memory, signal, onProgress },
      device: options.device,
    });
    return { ...result, folder };
  } finally {
    await scenes.close();
  }
}

/** The checkpoint to go on from: it must be of this configuration, where one is given. */
async function loadCheckpoint(output: string, { config, model }: TrainOptions): Promise<Checkpoint> {
  if (model)
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      "model: a run that goes on has its own weights; leave out --model or --resume.",
    );
  const folder = runFolder(output);
  const begun = config ?? (await readRunConfig(folder));
  const checkpoint = await readCheckpoint(folder.checkpoint);
  const difference = configDifference(begun, begunConfig(checkpoint.config, folder.checkpoint));
  if (difference)
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `${folder.checkpoint}: is the checkpoint of another configuration; expected the same ${difference}. Go on without --config and --preset, or choose another --output.`,
    );
  // What changes nothing that is computed may be changed.
  return { ...checkpoint, config: begun };
}

async function makeTrainer(
  config: TrainConfig,
  options: TrainOptions,
  checkpoint: Checkpoint | undefined,
  threads: number,
): Promise<Trainer> {
  const { perceptual } = config;
  const vggPath = options.vgg;
  if (perceptual === "vgg" && vggPath === undefined)
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      'perceptual: "vgg" needs VGG-19\'s weights; give them with --vgg FILE (safetensors, torchvision\'s names), or set perceptual to "structure" or "none".',
    );
  const vgg = perceptual === "vgg" && vggPath !== undefined ? (await readSafetensors(vggPath)).tensors : undefined;
  const weights = checkpoint ? new Map(Object.entries(checkpoint.state.parameters)) : firstWeights(config, options);
  const trainer = createTrainer(
    weights,
    {
      ...config.adam,
      decay: config.averageDecay,
      clip: config.clip,
      dropPath: config.dropPath,
      squaredWeight: config.squaredWeight,
      ownWeight: config.ownWeight,
      gateWeight: config.gateWeight,
      perceptual,
      perceptualWeight: config.perceptualWeight,
      // An extractor for as many exposures as the body was made for has no fold of its own.
      trained: config.trained.filter((beginning) => beginning !== "fold." || weights.has(FOLD_WEIGHT)),
      seed: BigInt(config.seed),
      precision: config.precision,
      ...(vgg && { vgg }),
    },
    threads,
    options.device,
  );
  if (checkpoint) trainer.restore(checkpoint.state);
  return trainer;
}

/** The model's, or drawn ones. A model without a prior that is to have one gets it; one that is adapted stays as it is. */
function firstWeights(config: TrainConfig, { model, base }: TrainOptions): ReadonlyMap<string, StoredTensor> {
  const weights = model?.tensors ?? drawWeights(config);
  if (!config.network.prior || base || hasPrior(weights)) return weights;
  return model
    ? withPrior(weights, config.exposures, FIRST_GATE.learnt, "unseen")
    : withPrior(weights, config.exposures, FIRST_GATE.drawn, "seen");
}

function drawWeights({ network, seed }: TrainConfig): ReadonlyMap<string, StoredTensor> {
  const { width, stages, blocks, heads, outputBias } = network;
  const weights = initialWeights(
    {
      width,
      stages: Array.from({ length: stages }, () => ({ blocks, heads })),
      mlpRatio: 2,
      exposureMlpRatio: 4,
      reduced: Math.floor(width / 4),
    },
    BigInt(seed),
  );
  if (outputBias !== null) weights.get("conv_end.bias")?.data.fill(outputBias);
  return weights;
}

async function openScenes(
  config: TrainConfig,
  prepared: boolean,
  { data, sources, threads, signal, onReading: onProgress }: TrainOptions,
): Promise<SceneSet> {
  if (sources) return synthesizedScenes(sources, config, { ...(threads && { threads }), prepared, signal, onProgress });
  return folderScenes(await findScenes(data as string, "Training"), config, { prepared, signal, onProgress });
}

/** The first scenes of Test/, where there is one. */
async function openValidation(config: TrainConfig, prepared: boolean, data: string | undefined): Promise<Scene[]> {
  if (data === undefined || !(await stat(join(data, "Test")).catch(() => undefined))?.isDirectory()) return [];
  const files = (await findScenes(data, "Test")).slice(0, config.validation.scenes);
  const scenes: Scene[] = [];
  for (const file of files) {
    const scene = checkScene(await readScene(file), config, dirname(file.truth));
    scenes.push(prepared ? await prepareScene(scene) : scene);
  }
  return scenes;
}
