import type { Bracket, Note } from "../bracket/bracket.js";
import { transferTable } from "../bracket/transfer.js";
import { checkThreads } from "../check-threads.js";
import { DEFAULT_MEMORY } from "../default-memory.js";
import { loadAddon, type MergerOptions, type NativeDevice, type NativeMerger } from "../engine/addon.js";
import { asSmhdrError, callNative, finishTask } from "../engine/task.js";
import { SmhdrError, throwIfAborted } from "../errors.js";
import type { Radiance } from "../image.js";

export interface MergeRadianceOptions {
  /** Threads to use; default one per processor. */
  readonly threads?: number | undefined;
  /** What merges; default "cpu". Where another one fails the processor does it, and `onNote` is told. */
  readonly device?: NativeDevice | undefined;
  /** Bytes this step may hold besides the bracket: the result (12 bytes a pixel) and the strips. Default 2 GiB. */
  readonly memory?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the fraction done, 0 to 1. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
  readonly onNote?: ((note: Note) => void) | undefined;
}

/** Rows of a strip at most: enough work for many threads, and small beside the result. */
const STRIP_ROWS = 512;
const LEAST_ROWS = 16;
/** Aligned rows reach further than the strip, and those that follow what moved are made of others. */
const ROW_COPIES = 3;
const sampleBytes = { uint8: 1, uint16: 2, float32: 4 } as const;

/**
 * Merges a bracket without a network: a weighted mean of the exposures in linear light in which each counts only where it
 * agrees with the reference; where the reference clips, the exposures that saw more fill in. The camera's tone curve and
 * the exposures' gains are corrected from the pixels. The result is in the bracket's primaries and in [0, 1].
 *
 * @throws SmhdrError INVALID_ARGUMENT, OUT_OF_MEMORY, CANCELLED or ADDON_MISSING.
 */
export async function mergeRadiance(bracket: Bracket, options: MergeRadianceOptions = {}): Promise<Radiance> {
  const { threads = 0, memory = DEFAULT_MEMORY, device = "cpu", signal, onProgress, onNote } = options;
  checkThreads(threads);
  throwIfAborted(signal);
  const { width, height, exposures, reference } = bracket;
  const stores = exposures.map(({ pixels }) => pixels);
  const stripRows = planStrips(bracket, memory);
  const addon = loadAddon();
  let noted = false;
  const noteFailure = (why: string) => {
    if (!noted) onNote?.({ code: "engine", message: `The processor merges the exposures, not ${device}: ${why}` });
    noted = true;
  };
  const mergerOptions = {
    width,
    height,
    depth: stores[0].depth,
    transfer: transferTable(stores[0]),
    exposureValues: exposures.map(({ exposureValue }) => exposureValue),
    alignments: exposures.map(({ alignment }) => alignment),
    reference,
  };
  const merger = createMerger(mergerOptions, device, noteFailure);
  const readRows = (y0: number, y1: number) =>
    addon.mergerSourceRows(merger, y0, y1).map(([from, to], i) => stores[i].rows(from, to));

  const bands = addon.mergerBands(merger);
  const analysed = 0.1; // its part of the work, roughly
  for (const [i, [y0, y1]] of bands.entries()) {
    await finishTask(() => addon.mergerAnalyse(merger, y0, y1, readRows(y0, y1)), signal);
    onProgress?.((analysed * (i + 1)) / bands.length);
  }
  await finishTask(() => addon.mergerFinish(merger), signal);

  const data = allocate(width * height * 3);
  for (let y0 = 0; y0 < height; y0 += stripRows) {
    const y1 = Math.min(y0 + stripRows, height);
    const out = data.subarray(y0 * width * 3, y1 * width * 3);
    const failure = await finishTask(() => addon.mergerRun(merger, y0, y1, readRows(y0, y1), out, threads), signal);
    if (failure) noteFailure(failure);
    onProgress?.(analysed + ((1 - analysed) * y1) / height);
  }
  return {
    width,
    height,
    channels: 3,
    data,
    encoding: { transfer: "linear", primaries: stores[0].encoding.primaries },
    metadata: {
      exposureValues: exposures.map(({ exposureValue }) => exposureValue),
      reference,
      method: "radiance",
    },
  };
}

/** On the processor where the device fails. */
function createMerger(options: MergerOptions, device: NativeDevice, onFailure: (why: string) => void): NativeMerger {
  try {
    return loadAddon().createMerger({ ...options, device });
  } catch (error) {
    const { code, message } = asSmhdrError(error);
    if (device === "cpu" || code === "INVALID_ARGUMENT") throw error;
    onFailure(message);
    return loadAddon().createMerger(options);
  }
}

/** Throws UNSUPPORTED, saying why, where mergeRadiance could not use the device. */
export function checkMergeDevice(device: NativeDevice): void {
  const smallest = { width: 1, height: 1, depth: "float32", transfer: new Float32Array(0), reference: 0 } as const;
  callNative(() => loadAddon().createMerger({ ...smallest, exposureValues: [0, 1], alignments: [], device }));
}

/** Rows per strip that keep the result and every exposure's rows within `memory`. */
function planStrips({ width, height, exposures }: Bracket, memory: number): number {
  const resultBytes = width * height * 12;
  const rowBytes = exposures.reduce((sum, { pixels }) => sum + width * 3 * sampleBytes[pixels.depth], 0);
  const rows = Math.min(STRIP_ROWS, Math.floor((memory - resultBytes) / rowBytes / ROW_COPIES));
  if (!(rows >= Math.min(LEAST_ROWS, height))) {
    const needed = Math.ceil((resultBytes + ROW_COPIES * LEAST_ROWS * rowBytes) / 1024 ** 2);
    throw new SmhdrError(
      "OUT_OF_MEMORY",
      `memory: merging ${width} x ${height} pixels needs at least ${needed} MiB; got ${Math.floor(memory / 1024 ** 2)} MiB.`,
    );
  }
  return rows;
}

function allocate(samples: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(samples);
  } catch (error) {
    throw new SmhdrError("OUT_OF_MEMORY", `The result needs ${Math.ceil(samples / 2 ** 18)} MiB at once.`, {
      cause: error,
    });
  }
}
