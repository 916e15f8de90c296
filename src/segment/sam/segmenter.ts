import { type ChildProcess, fork } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { type ErrorCode, SmhdrError, throwIfAborted, unreadable } from "../../errors.js";
import { cleanSegments, type SegmentMap } from "../segment-map.js";
import { SegmentCache } from "./cache.js";
import type { GeneratorOptions, SamModels } from "./generator.js";
import type { Pixels } from "./image.js";
import { type MaskOptions, maskDefaults } from "./mask-generator.js";

/** A photograph's codes 0 .. 65535, interleaved RGB, display-encoded. */
export interface Photograph {
  readonly width: number;
  readonly height: number;
  readonly codes: Uint16Array;
}

export interface SamOptions extends GeneratorOptions, Partial<MaskOptions> {
  /** A folder for the maps of photographs already segmented with the same models and settings. Default: none is kept. */
  readonly cache?: string | undefined;
}

export interface SegmentOptions {
  /** Id of the background; the segments have the following ones, from the largest down. Default 0. */
  readonly firstId?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** Keeps the masks of one image within some hundred megabytes, and its four logits within four times as much. */
const MAX_PIXELS = 2 ** 24;

/** What the processes say to each other. */
export type ToProcess =
  | { readonly kind: "load"; readonly models: SamModels; readonly options: GeneratorOptions }
  | { readonly kind: "segment"; readonly image: Pixels; readonly options: MaskOptions };
export type FromProcess =
  | { readonly kind: "loaded" }
  | { readonly kind: "progress"; readonly fraction: number }
  | { readonly kind: "segments"; readonly labels: Int32Array; readonly count: number }
  | { readonly kind: "error"; readonly code: ErrorCode; readonly message: string };

/**
 * Segments photographs with a Segment Anything model (SAM, MobileSAM, EdgeSAM, SlimSAM) in ONNX files, as method.md section 3 says:
 * masks of a 32x32 grid of points, chosen by predicted IoU and stability, without duplicates, painted from the largest to the smallest.
 * ONNX Runtime works in a process of its own, which starts with the first photograph that is not in the cache: it blocks the event loop,
 * and can be ended at any time.
 */
export class SamSegmenter {
  private child: Promise<ChildProcess> | undefined;
  private identity: Promise<string> | undefined;
  private readonly cache: SegmentCache | undefined;
  private readonly masks: MaskOptions;
  private turn: Promise<unknown> = Promise.resolve();

  /** @throws SmhdrError INVALID_ARGUMENT for settings that make no sense. */
  constructor(
    private readonly models: SamModels,
    private readonly options: SamOptions = {},
  ) {
    this.masks = pickMaskOptions(options);
    for (const name of ["batch", "threads"] as const) {
      const value = options[name];
      if (value !== undefined && !(Number.isInteger(value) && value >= 1))
        throw new SmhdrError("INVALID_ARGUMENT", `${name}: expected a whole number of 1 or more, got ${value}.`);
    }
    this.cache = options.cache === undefined ? undefined : new SegmentCache(options.cache);
  }

  /**
   * One photograph after the other: calls wait for each other.
   * @throws SmhdrError CANCELLED when `signal` fires; INVALID_ARGUMENT for a photograph without sense, UNSUPPORTED above 16 megapixels
   * and without ONNX Runtime, IO and BAD_INPUT for models that cannot be read or used.
   */
  segment(photograph: Photograph, options: SegmentOptions = {}): Promise<SegmentMap> {
    const done = this.turn.then(() => this.segmentNow(photograph, options));
    this.turn = done.catch(() => {});
    return done;
  }

  /** Ends the process. Segmenting again starts another. */
  async close(): Promise<void> {
    const child = await this.child?.catch(() => undefined);
    this.child = undefined;
    child?.kill("SIGKILL");
  }

  private async segmentNow(photograph: Photograph, options: SegmentOptions): Promise<SegmentMap> {
    const { firstId = 0, signal, onProgress = () => {} } = options;
    const { width, height, codes } = photograph;
    throwIfAborted(signal);
    if (!(width > 0 && height > 0) || codes.length !== width * height * 3)
      throw new SmhdrError(
        "INVALID_ARGUMENT",
        `photograph: expected ${width}x${height} pixels of three codes, got ${codes.length} codes.`,
      );
    if (width * height > MAX_PIXELS)
      throw new SmhdrError(
        "UNSUPPORTED",
        `photograph: ${width}x${height} pixels are more than Segment Anything is given here (${MAX_PIXELS}); make it smaller.`,
      );
    const image = { width, height, data: Uint8Array.from(codes, (code) => Math.round(code / 257)) };
    const { smallest } = this.masks;
    const key = this.cache && (await this.keyOf(image));
    const known = key && (await this.cache?.get(key, width, height));
    if (known) {
      onProgress(1);
      return cleanSegments(known, firstId, smallest);
    }
    const child = await this.start(signal);
    const answer = await this.ask(child, { kind: "segment", image, options: this.masks }, signal, onProgress);
    if (answer.kind !== "segments") throw new SmhdrError("INTERNAL", `Unexpected answer ${answer.kind}.`);
    const segmentation = { width, height, labels: answer.labels, count: answer.count, background: 0 };
    const map = cleanSegments(segmentation, firstId, smallest);
    if (key) await this.cache?.put(key, segmentation);
    return map;
  }

  private start(signal: AbortSignal | undefined): Promise<ChildProcess> {
    this.child ??= (async () => {
      const { input, batch, threads } = this.options;
      const options = { ...(input && { input }), ...(batch && { batch }), ...(threads && { threads }) };
      const child = startProcess();
      await this.ask(child, { kind: "load", models: this.models, options }, signal);
      return child;
    })();
    this.child.catch(() => {
      this.child = undefined;
    });
    return this.child;
  }

  private ask(
    child: ChildProcess,
    question: ToProcess,
    signal: AbortSignal | undefined,
    onProgress?: (fraction: number) => void,
  ): Promise<FromProcess> {
    return new Promise<FromProcess>((resolve, reject) => {
      const finish = (act: () => void) => {
        child.off("message", onMessage).off("exit", onExit).off("error", onExit);
        signal?.removeEventListener("abort", onAbort);
        child.channel?.unref();
        act();
      };
      const fail = (error: Error) => {
        // Whatever it was doing, it is not to go on with it.
        this.child = undefined;
        child.kill("SIGKILL");
        finish(() => reject(error));
      };
      const onAbort = () => fail(new SmhdrError("CANCELLED", "Cancelled.", { cause: signal?.reason }));
      const onExit = (cause: unknown) =>
        fail(new SmhdrError("INTERNAL", `The process that runs Segment Anything ended unasked (${String(cause)}).`));
      const onMessage = (message: FromProcess) => {
        if (message.kind === "progress") onProgress?.(message.fraction);
        else if (message.kind === "error") fail(new SmhdrError(message.code, message.message));
        else finish(() => resolve(message));
      };
      child.on("message", onMessage).on("exit", onExit).on("error", onExit);
      child.channel?.ref(); // only an unanswered question keeps the program running
      signal?.addEventListener("abort", onAbort);
      if (signal?.aborted) onAbort();
      else child.send(question);
    });
  }

  /** Names the image, the models and every setting that the masks depend on. */
  private async keyOf({ width, height, data }: Pixels): Promise<string> {
    this.identity ??= Promise.all([hashFile(this.models.encoder), hashFile(this.models.decoder)]).then((hashes) =>
      JSON.stringify([...hashes, this.options.input ?? "auto", { ...this.masks, smallest: undefined }]),
    );
    return createHash("sha256")
      .update(`${await this.identity} ${width}x${height} `)
      .update(data)
      .digest("hex");
  }
}

/**
 * The segment map of one photograph: a SamSegmenter for one use.
 * @throws SmhdrError as SamSegmenter does.
 */
export async function segmentWithSam(
  photograph: Photograph,
  models: SamModels,
  options: SamOptions & SegmentOptions = {},
): Promise<SegmentMap> {
  const segmenter = new SamSegmenter(models, options);
  try {
    return await segmenter.segment(photograph, options);
  } finally {
    await segmenter.close();
  }
}

function pickMaskOptions(options: Partial<MaskOptions>): MaskOptions {
  const picked = Object.fromEntries(
    Object.entries(maskDefaults).map(([name, usual]) => [name, options[name as keyof MaskOptions] ?? usual]),
  ) as unknown as MaskOptions;
  for (const [name, value] of Object.entries(picked)) {
    const whole = name === "pointsPerSide" || name === "smallest";
    const most = name === "pointsPerSide" ? 256 : name === "predictedIou" || name === "stability" ? 1 : Infinity;
    if (!(value >= (whole ? 1 : 0) && value <= most) || (whole && !Number.isInteger(value)))
      throw new SmhdrError(
        "INVALID_ARGUMENT",
        `${name}: expected a ${whole ? "whole " : ""}number up to ${most}, got ${value}.`,
      );
  }
  return picked;
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash).catch((error: Error) => {
    throw unreadable(path, error);
  });
  return hash.digest("hex");
}

/** Run uncompiled (in tests), the process needs to understand TypeScript. */
function startProcess(): ChildProcess {
  const compiled = !import.meta.url.endsWith(".ts");
  const child = fork(new URL(compiled ? "./process.js" : "./process.ts", import.meta.url), {
    execArgv: compiled ? [] : ["--import", import.meta.resolve("tsx")],
    serialization: "advanced", // arrays of numbers as they are
    stdio: ["ignore", "ignore", "inherit", "ipc"],
    // A terminal's Ctrl-C goes to the whole group: this process decides what becomes of the other.
    detached: process.platform !== "win32",
  });
  child.unref();
  return child;
}
