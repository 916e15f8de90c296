import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Homography } from "../bracket/bracket.js";
import { SmhdrError } from "../errors.js";
import type { PixelData } from "../image.js";
import type { StoredTensor } from "../model/safetensors.js";
import type { EngineInput, Precision } from "./engine.js";
import type { NativeTask } from "./task.js";
import type { NativeTrainerOptions, NetworkShape, StepResult, TrainerState, TrainingBatch } from "./trainer.js";

/**
 * What the native addon exports: the one place that declares it. Whoever adds a function to native/addon adds its type
 * here. Long functions return a NativeTask: call them through finishTask (task.ts).
 */
export interface Addon {
  /** The instruction set the kernels were chosen for, whether they multiply bfloat16, and the number of processors. */
  cpuInfo(): {
    readonly isa: "generic" | "avx2" | "avx512" | "neon";
    readonly bf16: boolean;
    /** Whether they do so on the processor's matrix unit (AMX). */
    readonly matrixUnit: boolean;
    /** Whether its products of bfloat16 are faster than those of float32. */
    readonly gainsFromBf16: boolean;
    readonly processors: number;
  };
  /** Copies weights by their published names into a session; throws INVALID_ARGUMENT naming what does not fit. */
  createSession(
    tensors: Readonly<Record<string, StoredTensor>>,
    threads: number,
    precision: Precision,
    device: NativeDevice,
  ): { readonly handle: SessionHandle; readonly width: number; readonly stages: number; readonly device: string };
  runSession(
    handle: SessionHandle,
    input: EngineInput,
    onProgress: ((fraction: number) => void) | undefined,
  ): NativeTask<Float32Array>;
  clearSums(handle: SessionHandle): void;
  /** Bytes that the session's device could still give; -1: not known, or the host's. */
  availableMemory(handle: SessionHandle): number;
  /** CUDA's devices by their index. Texts are empty where all is well. */
  cudaDevices(): {
    /** Why there is none. */
    readonly absence: string;
    readonly devices: readonly CudaDevice[];
  };

  /** Draws a new network's weights (method.md section 2). */
  initialWeights(network: NetworkShape, seed: bigint): Record<string, StoredTensor>;
  /** Copies weights into a trainer; throws INVALID_ARGUMENT naming what does not fit. See trainer.h for the options. */
  createTrainer(
    tensors: Readonly<Record<string, StoredTensor>>,
    options: NativeTrainerOptions,
    threads: number,
    device: NativeDevices,
  ): { readonly handle: TrainerHandle; readonly stages: number; readonly device: string };
  trainStep(handle: TrainerHandle, batch: TrainingBatch): NativeTask<StepResult>;
  trainerState(handle: TrainerHandle): TrainerState;
  restoreTrainer(handle: TrainerHandle, state: TrainerState): void;

  /** Registers linear RGB pictures of one size (float32, 1.0 = clipped), each pixel `scale` full-resolution pixels wide. */
  align(
    images: readonly Float32Array[],
    width: number,
    height: number,
    scale: number,
    exposureValues: readonly number[],
    reference: number,
    onProgress?: (fraction: number) => void,
    threads?: number,
  ): NativeTask<AlignedExposure[]>;
  /** Where an exposure shows what the reference does; undefined where nothing moved: see native/include/smhdr/motion.h. */
  findMotion(
    reference: Float32Array,
    exposure: Float32Array,
    width: number,
    height: number,
    scale: number,
    stops: number,
    homography: number[],
    threads?: number,
  ): NativeTask<MotionField | undefined>;
  /** Rows [from, to) of the photograph that rows [y0, y1) are made of, before they are cut off at its edges. */
  rowsFollowed(field: MotionField, y0: number, y1: number): [number, number];
  /** Fills `out`, whole rows from outFirst, with those of `rows` (from inFirst) as they were at the reference's moment. */
  followRows(
    field: MotionField,
    linear: boolean,
    width: number,
    inFirst: number,
    rows: PixelData,
    outFirst: number,
    out: PixelData,
  ): void;
  createSampler(options: SamplerOptions): NativeSampler;
  /** Rows [from, to) of the exposure that a region is made of. */
  samplerRows(sampler: NativeSampler, region: SampleRegion): [number, number];
  /** Fills `out`, 6 values a pixel; `rows`: exactly samplerRows(sampler, region). */
  samplerRead(
    sampler: NativeSampler,
    region: SampleRegion,
    rows: PixelData,
    out: Float32Array,
    threads: number,
  ): NativeTask<void>;

  /** See native/include/smhdr/drift.h. */
  createDrift(width: number, height: number): NativeDrift;
  /** Arrays hold the same whole rows from y0 on, y0 a multiple of 4; the reference's 6 values a pixel. */
  driftMeasure(
    drift: NativeDrift,
    y0: number,
    picture: Float32Array,
    merge: Float32Array,
    mergeScale: number,
    reference: Float32Array,
    threads: number,
  ): NativeTask<void>;
  driftSmooth(drift: NativeDrift, threads: number): NativeTask<void>;
  driftTakeBack(drift: NativeDrift, y0: number, picture: Float32Array, threads: number): NativeTask<void>;
  /** See native/include/smhdr/colour_noise.h. */
  createColourNoise(width: number, height: number, exposureValues: readonly number[]): NativeColourNoise;
  /** First rows of the squares that are measured. */
  colourNoiseTops(noise: NativeColourNoise): number[];
  /** 8 rows of every exposure from colourNoiseTops()[index] on, one exposure after the other, 6 values a pixel. */
  colourNoiseMeasure(
    noise: NativeColourNoise,
    index: number,
    exposures: Float32Array,
    threads: number,
  ): NativeTask<void>;
  colourNoiseTakeAway(noise: NativeColourNoise, picture: Float32Array, threads: number): NativeTask<void>;

  createMerger(options: MergerOptions): NativeMerger;
  /** Bands [y0, y1) of the reference to hand to mergerAnalyse. */
  mergerBands(merger: NativeMerger): [number, number][];
  /** Rows [from, to) of every exposure that rows [y0, y1) of the result need. */
  mergerSourceRows(merger: NativeMerger, y0: number, y1: number): [number, number][];
  /** `rows`: exactly mergerSourceRows(merger, y0, y1) of every exposure, here and in mergerRun. */
  mergerAnalyse(merger: NativeMerger, y0: number, y1: number, rows: PixelData[]): NativeTask<void>;
  mergerFinish(merger: NativeMerger): NativeTask<MergerCalibration>;
  /** Resolves to why the processor merged though a device was to, or to "". */
  mergerRun(
    merger: NativeMerger,
    y0: number,
    y1: number,
    rows: PixelData[],
    out: Float32Array,
    threads: number,
  ): NativeTask<string>;

  /**
   * Adds whole rows of codes, from row y0 on, to sums of the linear light of scale x scale blocks; `table` holds the light of
   * every code.
   */
  proxyAdd(
    codes: Uint8Array | Uint16Array,
    table: Float32Array,
    width: number,
    y0: number,
    scale: number,
    sums: Float32Array,
  ): void;
  /**
   * Counts interleaved linear RGB in even bins of the light's square root, clamped to [0, 1]: `counts` takes 2 more than the bins of
   * each channel, bin b at b + 1.
   */
  countLevels(rgb: Float32Array, counts: Uint32Array): void;
  /** Codes whole lines as a Radiance file's, run-length coded where the format allows it; returns the bytes. */
  encodeRgbe(rgb: Float32Array, width: number, out: Uint8Array): number;
  /** Fills `out` with whole lines of RGB as an OpenEXR block of halves or floats, as it is or made ready for deflate (native/include/smhdr/openexr.h). */
  packOpenExr(rgb: Float32Array, width: number, half: boolean, predicted: boolean, out: Uint8Array): void;

  /**
   * Adds the log2 luminance of whole rows, from row y0 on, to sums over factor x factor squares, and counts the pixels that have any
   * (native/include/smhdr/tone_map.h).
   */
  sumLogLuminance(
    rgb: Float32Array,
    width: number,
    y0: number,
    weights: readonly number[],
    factor: number,
    sums: Float64Array,
    counts: Uint32Array,
  ): void;
  createToneMap(options: ToneMapTables): NativeToneMap;
  /** sRGB codes of whole rows from row y0 on. */
  toneMapRows(map: NativeToneMap, rgb: Float32Array, y0: number, out: Uint8Array | Uint16Array): void;

  createMeter(threads: number): NativeMeter;
  /**
   * One sample of what this machine can do at most: operations of fp32 multiply-adds or of products of bfloat16 pairs (0
   * where the processor has none), bytes of a stream triad, or of a copy that reads and writes `bytes` in all.
   */
  meterSample(
    meter: NativeMeter,
    kind: "fp32" | "bf16" | "triad" | "copy",
    bytes?: number,
  ): NativeTask<{ readonly amount: number; readonly seconds: number }>;
}

/** What the addon computes on; "cuda" is the first CUDA device that can be used. */
export type NativeDevice = "cpu" | "cuda" | `cuda:${number}`;
/** One, or "cuda:all": the CUDA devices that can be used, together. */
export type NativeDevices = NativeDevice | "cuda:all";

/** The device that does what several cannot share. */
export function oneDevice(devices: NativeDevices): NativeDevice {
  return devices === "cuda:all" ? "cuda" : devices;
}

export interface CudaDevice {
  readonly name: string;
  /** Compute capability, such as 9. */
  readonly capability: number;
  /** Bytes. */
  readonly memory: number;
  /** Why it cannot be used. */
  readonly refusal: string;
  readonly bf16: boolean;
}

/** Opaque: the addon's meter. */
export interface NativeMeter {
  readonly meter: unique symbol;
}

/** Opaque: the addon's tone map. */
export interface NativeToneMap {
  readonly toneMap: unique symbol;
}

/** What every pixel of a tone-mapped picture needs: see native/include/smhdr/tone_map.h. */
export interface ToneMapTables {
  /** Weights of RGB. */
  readonly luminance: readonly number[];
  /** The picture's primaries to sRGB's, row by row. */
  readonly toSrgb: readonly number[];
  readonly width: number;
  readonly height: number;
  readonly factor: number;
  /** The guided filter at 1 / factor of the size. */
  readonly slope: Float32Array;
  readonly offset: Float32Array;
  /** log2 display luminance at log2 luminance first + k / steps. */
  readonly curve: Float64Array;
  readonly first: number;
  readonly steps: number;
  readonly detail: number;
  readonly saturation: number;
  /** sRGB's codes, within 0 and 1, of light (k / n)^2; n + 2 of them. */
  readonly encode: Float64Array;
}

/** Opaque: the addon's sampler. */
export interface NativeSampler {
  readonly sampler: unique symbol;
}

/** See native/include/smhdr/sample.h. */
export interface SamplerOptions {
  readonly width: number;
  readonly height: number;
  readonly depth: "uint8" | "uint16" | "float32";
  /** Linear light of evenly spaced stored values; empty for linear float32. */
  readonly transfer: Float32Array;
  /** On linear float32 values before they are cut to [0, 1]. */
  readonly gain: number;
  /** Homography, reference pixel -> exposure pixel, row by row. */
  readonly alignment?: readonly number[] | undefined;
  /** Radiance of linear light 1.0. */
  readonly scale: number;
  /** Of light (k / 4096)^2, k = 0 ... 4097. */
  readonly curve: Float32Array;
}

/** A rectangle of the reference's pixels, mirrored beyond the image. */
export interface SampleRegion {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Opaque: the addon's drift. */
export interface NativeDrift {
  readonly drift: unique symbol;
}

/** Opaque: the addon's colour noise. */
export interface NativeColourNoise {
  readonly colourNoise: unique symbol;
}

/** Opaque: the addon's merger. */
export interface NativeMerger {
  readonly merger: unique symbol;
}

export interface MergerOptions {
  readonly width: number;
  readonly height: number;
  readonly depth: "uint8" | "uint16" | "float32";
  /** Linear light of evenly spaced stored values; empty for linear float32. */
  readonly transfer: Float32Array;
  readonly exposureValues: readonly number[];
  /** Homographies, reference pixel -> exposure pixel, row by row. */
  readonly alignments: readonly (readonly number[] | undefined)[];
  readonly reference: number;
  /** What merges; default "cpu". Throws UNSUPPORTED where it cannot be used. */
  readonly device?: NativeDevice;
}

/** Disagreement of adjacent exposures in stops before and after the correction; the tone curve's correction in stops. */
export interface MergerCalibration {
  readonly samples: number;
  readonly before: number;
  readonly after: number;
  readonly curve: readonly number[];
}

/** Where an exposure shows what the reference does; see native/include/smhdr/motion.h. */
export interface MotionField {
  readonly width: number;
  readonly height: number;
  /** Pixels of the photograph to one of the field's. */
  readonly scale: number;
  /** dx, dy of every pixel of the field, in 1 / 64 of it; dx = -32768 where nothing moved. */
  readonly moved: Int16Array;
  /** Of its pixels that moved. */
  readonly count: number;
}

/** How one exposure lies on the reference; see native/include/smhdr/align.h. */
export interface AlignedExposure {
  readonly outcome: "still" | "aligned" | "unreliable" | "no-overlap";
  readonly model: "identity" | "translation" | "similarity" | "homography";
  /** Maps full-resolution pixel centres of the reference to this exposure's; the identity unless aligned. */
  readonly homography: Homography;
  readonly comparedWith: number;
  /** Largest movement found, in full-resolution pixels. */
  readonly displacement: number;
  readonly agreementBefore: number;
  readonly agreementAfter: number;
}

/** A network in the addon's memory. */
export type SessionHandle = { readonly __session: unique symbol };

/** A trainer in the addon's memory. */
export type TrainerHandle = { readonly __trainer: unique symbol };

const packageRoot = fileURLToPath(new URL("../../", import.meta.url));
const require = createRequire(import.meta.url);

let loaded: { readonly addon: Addon; readonly path: string } | undefined;

/** Where the addon may lie, in the order tried. */
function candidates(): string[] {
  const chosen = process.env.SMHDR_ADDON;
  if (chosen) return [resolve(chosen)]; // asked for by name: nothing else will do
  return [`@smhdr/${platformName()}/smhdr.node`, `${packageRoot}build/Release/smhdr.node`];
}

/** Name of the prebuilt package for this machine, such as linux-x64 or linux-x64-musl. */
export function platformName(): string {
  const name = `${process.platform}-${process.arch}`;
  if (process.platform !== "linux" || !process.report) return name;
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime ? name : `${name}-musl`;
}

/** What builds the addon: a working tree has its own way, an installed package only its command. */
export function buildCommand(): string {
  return existsSync(`${packageRoot}tsconfig.json`) ? "npm run build:addon" : "npx --no-install smhdr build-addon";
}

function load(): { readonly addon: Addon; readonly path: string } {
  if (loaded) return loaded;
  const reasons: string[] = [];
  for (const path of candidates()) {
    try {
      loaded = { addon: require(path) as Addon, path: require.resolve(path) };
      return loaded;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      reasons.push(`${path}: ${code === "MODULE_NOT_FOUND" ? "not there" : message.split("\n")[0]}`);
    }
  }
  throw new SmhdrError(
    "ADDON_MISSING",
    [
      "The native part of smhdr could not be loaded.",
      ...reasons.map((reason) => `  ${reason}`),
      `Build it with:  ${buildCommand()}`,
      "That needs Node 20.17 or newer, CMake 3.22 or newer and a C++20 compiler (g++ 12, clang 14, or newer).",
    ].join("\n"),
  );
}

/**
 * The native addon: from the environment variable SMHDR_ADDON, else the prebuilt package @smhdr/<platform>, else
 * build/Release. Loaded once.
 * @throws SmhdrError ADDON_MISSING saying where it was looked for, why that failed and how to build it.
 */
export function loadAddon(): Addon {
  return load().addon;
}

/** The native addon where it can be loaded: for what is only slower without it. */
export function optionalAddon(): Addon | undefined {
  try {
    return load().addon;
  } catch {
    return undefined;
  }
}

/** Whether the native addon can be loaded. */
export const hasAddon = (): boolean => optionalAddon() !== undefined;

/** The file the addon was loaded from. Throws as loadAddon does. */
export function addonPath(): string {
  return load().path;
}
