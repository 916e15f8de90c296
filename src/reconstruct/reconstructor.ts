import type { Bracket } from "../bracket/bracket.js";
import { loadAddon } from "../engine/addon.js";
import { SmhdrError, throwIfAborted } from "../errors.js";
import type { Radiance } from "../image.js";
import { mergeRadiance } from "./radiance.js";

export type Method = "network" | "radiance";

export interface ReconstructorOptions {
  /** "radiance" merges without a network; "network" needs a model. Default: radiance. */
  readonly method?: Method | undefined;
  /** A model's name or file; only for the network. */
  readonly model?: string | undefined;
  /** What computes. Default: auto, the best there is. */
  readonly device?: "auto" | "cpu" | "cuda" | "onnx" | undefined;
  /** Threads to use, at least 1. Default: one per processor. */
  readonly threads?: number | undefined;
  /** Bytes that the work may take. Default: 2 GiB. */
  readonly memory?: number | undefined;
  /** Arithmetic of the network. Default: auto. */
  readonly precision?: "auto" | "fp32" | "bf16" | undefined;
  /** Side in pixels of the tiles the network works in, "full" for the whole image at once. Default: auto. */
  readonly tile?: "auto" | "full" | number | undefined;
}

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the finished fraction in [0, 1]. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** Turns brackets into radiance with one method, model and device. */
export class Reconstructor {
  private constructor(private readonly options: ReconstructorOptions) {}

  /**
   * Makes ready what `run` needs, so that what is missing is known before the work.
   * @throws SmhdrError INVALID_ARGUMENT or UNSUPPORTED naming the option; ADDON_MISSING.
   */
  static async load(options: ReconstructorOptions = {}): Promise<Reconstructor> {
    const { method = "radiance", model, device = "auto", threads, memory } = options;
    if (method !== "radiance") {
      throw new SmhdrError("UNSUPPORTED", `method: "radiance" is what there is in this version; got "${method}".`);
    }
    if (model !== undefined && model !== "default") {
      throw new SmhdrError("INVALID_ARGUMENT", `model: method "radiance" uses no model; got "${model}".`);
    }
    if (device !== "auto" && device !== "cpu") {
      throw new SmhdrError("UNSUPPORTED", `device: method "radiance" runs on the cpu; got "${device}".`);
    }
    if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1)) {
      throw new SmhdrError("INVALID_ARGUMENT", `threads: expected a whole number, 1 or more; got ${threads}.`);
    }
    if (memory !== undefined && !(memory > 0)) {
      throw new SmhdrError("INVALID_ARGUMENT", `memory: expected a number of bytes; got ${memory}.`);
    }
    loadAddon();
    return new Reconstructor(options);
  }

  /**
   * Merges a bracket: linear light in which 1.0 is where the shortest exposure clips, showing the reference's moment.
   * @throws SmhdrError CANCELLED once `signal` has fired; OUT_OF_MEMORY when the work cannot fit `memory`.
   */
  async run(bracket: Bracket, { signal, onProgress }: RunOptions = {}): Promise<Radiance> {
    throwIfAborted(signal);
    const { threads, memory } = this.options;
    return mergeRadiance(bracket, { threads, memory, signal, onProgress });
  }
}
