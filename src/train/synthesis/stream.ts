import { availableParallelism } from "node:os";
import type { Worker } from "node:worker_threads";
import { type ErrorCode, SmhdrError, throwIfAborted } from "../../errors.js";
import { startThread } from "../../start-thread.js";
import { Random } from "./random.js";
import type { PreparedSource } from "./source.js";
import type { SynthesisOptions, SyntheticBracket } from "./synthesize.js";

export interface StreamOptions {
  /** Paths of HDR images (.hdr, .exr). */
  readonly sources: readonly string[];
  readonly options: SynthesisOptions;
  readonly seed: number;
  /** Threads. Default: all the machine has. */
  readonly workers?: number;
  /** Brackets in all. Default: endless. */
  readonly count?: number;
  /** Index of the first bracket, to go on where another stream stopped. Default 0. */
  readonly first?: number;
  /** Ends the stream with CANCELLED. */
  readonly signal?: AbortSignal;
}

/** The seed of a stream's bracket number `index`: synthesizeBracket(sources, options, this) is that bracket. */
export function bracketSeed(seed: number, index: number): number {
  const random = new Random(seed, index + 1);
  return (random.next() >>> 12) * 2 ** 32 + (random.next() >>> 0);
}

/** What the threads say to each other. */
export type ToWorker =
  | { readonly kind: "load"; readonly paths: readonly string[] }
  | { readonly kind: "start"; readonly sources: readonly PreparedSource[]; readonly options: SynthesisOptions }
  | { readonly kind: "synthesize"; readonly index: number; readonly seed: number };
export type FromWorker =
  | { readonly kind: "loaded"; readonly sources: readonly PreparedSource[] }
  | { readonly kind: "bracket"; readonly index: number; readonly bracket: SyntheticBracket }
  | { readonly kind: "error"; readonly code: ErrorCode; readonly message: string };

/**
 * Brackets without end (or `count` of them), made by worker threads, always the same ones in the same order whatever the number of
 * workers. Sources are read and prepared once and shared. At most two brackets per worker wait to be taken. Leaving the loop ends the threads.
 * @throws SmhdrError as loadSource and synthesizeBracket do.
 */
export async function* streamBrackets(stream: StreamOptions): AsyncGenerator<SyntheticBracket, void, undefined> {
  const {
    sources: paths,
    options,
    seed,
    workers = availableParallelism(),
    count = Infinity,
    first = 0,
    signal,
  } = stream;
  if (paths.length === 0)
    throw new SmhdrError("INVALID_ARGUMENT", "streamBrackets: sources must name at least one HDR image.");
  if (!Number.isInteger(workers) || workers < 1 || workers > 256)
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `streamBrackets: workers must be a whole number from 1 to 256, got ${workers}.`,
    );

  throwIfAborted(signal);
  const end = first + count;
  const finished = new Map<number, SyntheticBracket>();
  const prepared = new Map<string, PreparedSource>();
  let failure: Error | undefined;
  let wake: () => void = () => {};
  const fail = (error: Error) => {
    failure ??= error;
    wake();
  };

  const abort = () => fail(new SmhdrError("CANCELLED", "Cancelled.", { cause: signal?.reason }));
  signal?.addEventListener("abort", abort);

  const threads = Array.from({ length: workers }, () => startThread(new URL("./stream-worker.js", import.meta.url)));
  const send = (thread: Worker, message: ToWorker) => thread.postMessage(message);
  let next = first;
  let taken = first;
  const idle: Worker[] = [];
  const dispatch = () => {
    while (idle.length > 0 && next < end && next < taken + 2 * workers) {
      send(idle.pop() as Worker, { kind: "synthesize", index: next, seed: bracketSeed(seed, next) });
      next++;
    }
  };
  let loading = workers;
  threads.forEach((thread, k) => {
    thread.on("error", fail);
    thread.on("message", (message: FromWorker) => {
      if (message.kind === "error") {
        fail(new SmhdrError(message.code, message.message));
      } else if (message.kind === "loaded") {
        message.sources.forEach((source, i) => {
          prepared.set(paths[k + i * workers], source);
        });
        if (--loading > 0) return;
        const sources = paths.map((path) => prepared.get(path) as PreparedSource);
        for (const other of threads) {
          send(other, { kind: "start", sources, options });
          idle.push(other);
        }
        dispatch();
      } else {
        finished.set(message.index, message.bracket);
        idle.push(thread);
        dispatch();
        wake();
      }
    });
    send(thread, { kind: "load", paths: paths.filter((_, i) => i % workers === k) });
  });

  try {
    while (taken < end) {
      while (!failure && !finished.has(taken)) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      if (failure) throw failure;
      const bracket = finished.get(taken) as SyntheticBracket;
      finished.delete(taken++);
      dispatch();
      yield bracket;
    }
  } finally {
    signal?.removeEventListener("abort", abort);
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
}
