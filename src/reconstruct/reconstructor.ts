import type { Bracket, Note } from "../bracket/bracket.js";
import { DEFAULT_MEMORY } from "../default-memory.js";
import { buildCommand, hasAddon, type NativeDevice, oneDevice } from "../engine/addon.js";
import type { Precision } from "../engine/engine.js";
import { type DeviceName, isNative } from "../engine/select.js";
import { SmhdrError, shown, throwIfAborted } from "../errors.js";
import type { Radiance } from "../image.js";
import { loadModel, type Model } from "../model/model.js";
import { type OnnxModel, readOnnx } from "../model/onnx/read.js";
import { hasPrior, withoutPrior } from "../model/prior.js";
import { LoadedNetwork } from "./loaded-network.js";
import { bestCount, reconstructNetwork, selectionNote, type Turn } from "./network.js";
import { checkMergeDevice, mergeRadiance } from "./radiance.js";
import { LEAST_TILE } from "./tiles.js";

export type Method = "network" | "radiance";

export interface ReconstructorOptions {
  /**
   * "network" reconstructs with a trained model, "radiance" merges without one, several times faster. Default: the network where it can
   * take the bracket and fits the memory; the result's metadata says which it was.
   */
  readonly method?: Method | undefined;
  /** A model's name or file (.safetensors, .onnx); only for the network. */
  readonly model?: string | undefined;
  /**
   * What computes. Default: auto; for a network the native part (the CUDA devices where there are any) or ONNX Runtime, for the
   * radiance merge the processor.
   */
  readonly device?: DeviceName | undefined;
  /** Threads to use, at least 1. Default: one per processor. */
  readonly threads?: number | undefined;
  /** Bytes that the work may take. Default: 2 GiB. */
  readonly memory?: number | undefined;
  /** Arithmetic of the network's products. Default: auto, bf16 where the device is faster with it. */
  readonly precision?: Precision | "auto" | undefined;
  /** Side in pixels of the tiles the network works in, "full" for the whole image at once. Default: auto. */
  readonly tile?: "auto" | "full" | number | undefined;
}

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the finished fraction in [0, 1]. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
  /** Called with what a person should know about this merge: exposures left out, another method. */
  readonly onNote?: ((note: Note) => void) | undefined;
  /** Runs the network's engine when it is this bracket's turn; default at once. For programs with several brackets in work. */
  readonly turn?: Turn | undefined;
}

/** A bracket's pixels may hold a quarter of the memory (see ReadOptions.memory); the network gets what is left. */
const NETWORK_SHARE = 3 / 4;

/** The shipped model that learnt to do without the merge beside it, which the native part makes. */
const WITHOUT_ADDON = "smhdr";

const defaultModel = () => (hasAddon() ? "default" : WITHOUT_ADDON);

/** The model without its merge, where it is the one that learnt to do without. Throws UNSUPPORTED for another. */
function doWithoutMerge(model: Model | OnnxModel, named: string | undefined): Model {
  if ("tensors" in model && (named ?? WITHOUT_ADDON) === WITHOUT_ADDON)
    return { ...model, tensors: withoutPrior(model.tensors) };
  throw new SmhdrError(
    "UNSUPPORTED",
    `model: ${model.name} takes a merge of the exposures, which the native part makes, and that could not be loaded. Use --model ${WITHOUT_ADDON}, or build the native part: ${buildCommand()}`,
  );
}

/** The method that options mean where they name none. */
export function methodOf({ method }: ReconstructorOptions): Method {
  return method ?? "network";
}

/** What merges without a network: a CUDA device only where it was asked for. */
function mergeDevice(device: DeviceName = "auto"): NativeDevice {
  return device !== "auto" && isNative(device) ? oneDevice(device) : "cpu";
}

/** Turns brackets into radiance with one method, model and device. */
export class Reconstructor {
  private constructor(
    private readonly options: ReconstructorOptions,
    private readonly network: LoadedNetwork | undefined,
    /** What a person should know about how this computes. */
    readonly notes: readonly Note[] = [],
  ) {}

  /** The devices that work on a bracket together, where there are several. */
  get devices(): readonly NativeDevice[] {
    return this.network?.devices ?? [];
  }

  /**
   * Makes ready what `run` needs, so that what is missing is known before the work.
   * @throws SmhdrError INVALID_ARGUMENT or UNSUPPORTED naming the option; BAD_INPUT for a broken model; ADDON_MISSING.
   */
  static async load(options: ReconstructorOptions = {}): Promise<Reconstructor> {
    if (typeof options !== "object" || options === null)
      throw new SmhdrError(
        "INVALID_ARGUMENT",
        `options: expected an object, such as { model }; got ${shown(options)}.`,
      );
    const { model, device = "auto", threads, memory, precision = "auto", tile = "auto" } = options;
    const method = methodOf(options);
    if (method !== "radiance" && method !== "network") {
      throw new SmhdrError("INVALID_ARGUMENT", `method: expected "network" or "radiance"; got "${method}".`);
    }
    if (method === "radiance" && model !== undefined) {
      throw new SmhdrError("INVALID_ARGUMENT", `model: method "radiance" uses no model; got "${model}".`);
    }
    if (method === "radiance" && device !== "auto" && !isNative(device)) {
      throw new SmhdrError(
        "INVALID_ARGUMENT",
        `device: method "radiance" computes on "cpu" or "cuda"; got "${device}".`,
      );
    }
    if (precision !== "auto" && precision !== "fp32" && precision !== "bf16") {
      throw new SmhdrError("INVALID_ARGUMENT", `precision: expected "auto", "fp32" or "bf16"; got "${precision}".`);
    }
    if (method === "radiance" && precision === "bf16") {
      throw new SmhdrError("INVALID_ARGUMENT", 'precision: method "radiance" computes in "fp32"; got "bf16".');
    }
    if (tile !== "auto" && tile !== "full" && !(Number.isInteger(tile) && tile >= LEAST_TILE)) {
      throw new SmhdrError(
        "INVALID_ARGUMENT",
        `tile: expected auto, full or ${LEAST_TILE} or more pixels; got ${tile}.`,
      );
    }
    if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1)) {
      throw new SmhdrError("INVALID_ARGUMENT", `threads: expected a whole number, 1 or more; got ${threads}.`);
    }
    if (memory !== undefined && !(memory > 0)) {
      throw new SmhdrError("INVALID_ARGUMENT", `memory: expected a number of bytes; got ${memory}.`);
    }
    if (method === "radiance") {
      checkMergeDevice(mergeDevice(device));
      return new Reconstructor(options, undefined);
    }
    const loaded = model?.endsWith(".onnx") ? await readOnnx(model) : await loadModel(model ?? defaultModel());
    const prior = "tensors" in loaded ? hasPrior(loaded.tensors) : loaded.prior;
    const able = prior && !hasAddon() ? doWithoutMerge(loaded, model) : loaded;
    const { network: ready, notes } = await LoadedNetwork.load(able, device, threads, precision);
    return new Reconstructor(options, ready, notes);
  }

  /**
   * Merges a bracket: linear light in which 1.0 is where the shortest exposure clips, showing the reference's moment. A network
   * uses all exposures where its model has an extractor for so many, else as many as it can; `onNote` is told.
   * @throws SmhdrError CANCELLED once `signal` has fired; OUT_OF_MEMORY when the work cannot fit `memory`; UNSUPPORTED
   * when the network was asked for and cannot take this bracket.
   */
  async run(bracket: Bracket, { signal, onProgress, onNote, turn }: RunOptions = {}): Promise<Radiance> {
    throwIfAborted(signal);
    if (!Array.isArray(bracket?.exposures))
      throw new SmhdrError("INVALID_ARGUMENT", `bracket: expected what readBracket returns; got ${shown(bracket)}.`);
    const { threads, memory = DEFAULT_MEMORY, tile = "auto", method } = this.options;
    const network = this.network;
    const merging = { threads, memory, device: mergeDevice(this.options.device), signal, onProgress, onNote };
    if (!network) return mergeRadiance(bracket, merging);
    const { name, counts, prior } = network;
    const exposures = bestCount(bracket, network);
    if (exposures === undefined && method === "network") {
      throw new SmhdrError(
        "UNSUPPORTED",
        `exposures: the model ${name} takes ${counts.join(", ")} with the reference in the middle; the bracket has ${bracket.exposures.length} and its reference is number ${bracket.reference}. Use the method "radiance".`,
      );
    }
    const note = selectionNote(bracket, network);
    if (note) onNote?.(note);
    if (exposures === undefined) return mergeRadiance(bracket, merging);
    const options = {
      memory: memory * NETWORK_SHARE,
      share: NETWORK_SHARE,
      tile,
      threads,
      signal,
      onProgress,
      turn,
      onNote,
    };
    try {
      return await reconstructNetwork(bracket, { name, exposures, prior }, await network.engineFor(exposures), options);
    } catch (error) {
      const chosen = method !== undefined || this.options.model !== undefined || !hasAddon();
      if (chosen || !(error instanceof SmhdrError && error.code === "OUT_OF_MEMORY")) throw error;
      onNote?.({ code: "method", message: `Merged without a network, which does not fit. ${error.message}` });
      return mergeRadiance(bracket, merging);
    }
  }
}
