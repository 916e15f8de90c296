import type { Note } from "../bracket/bracket.js";
import type { NativeDevice } from "./addon.js";

/** How matrix products are computed; bf16 rounds the factors to bfloat16 and sums in fp32. */
export type Precision = "fp32" | "bf16";

/** What a forward pass takes: one array [batch, height, width, 6] an exposure, shortest first. */
export interface EngineInput {
  /** Linearised radiance RGB, then pixel values RGB (gamma 2.2), per pixel. */
  readonly exposures: readonly Float32Array[];
  readonly batch: number;
  /** Multiples of 8. */
  readonly height: number;
  readonly width: number;
  /** Take the sums over the whole batch and use them for every later run, until recorded again or cleared. */
  readonly record?: boolean;
  /** For tests and training: per stage 0 none, 1 the mask map, 2 the importance map. */
  readonly maskMode?: readonly number[];
  /** [batch, height, width], 1 = keep. */
  readonly maskMap?: Float32Array;
}

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
  /** Called when one of several devices is left out from now on. */
  readonly onNote?: ((note: Note) => void) | undefined;
}

/** A loaded network on some device. */
export interface Engine {
  /** Such as "cpu (avx512)". */
  readonly device: string;
  /** The CUDA device that it computes on: what comes before the network can be computed there too. */
  readonly cuda?: NativeDevice | undefined;
  /** The devices it is made of, where there are several. */
  readonly devices?: readonly NativeDevice[];
  /** How many runs of one picture it has use for at once; default 1. */
  readonly parallel?: number;
  /** Bytes of this machine's working memory for each pixel of a run, inputs and output included. */
  bytesPerPixel(exposures: number): number;
  /** How many pixels each run may have, where the device has a memory of its own. */
  pixelsAtOnce?(exposures: number): number;
  /** What does the work where the device's own memory is too small even for a small run. */
  substitute?(): Engine;
  /** Radiance [batch, height, width, 3] in [0, 1]. */
  run(input: EngineInput, options?: RunOptions): Promise<Float32Array>;
  /** Every image takes its own sums again. */
  clearSums(): void;
}
