import { open, stat } from "node:fs/promises";
import { dirname } from "node:path";
import sharp from "sharp";
import { outOfMemory, SmhdrError } from "../errors.js";
import { makeFolder } from "../output/make-folder.js";
import { Reconstructor } from "../reconstruct/reconstructor.js";
import { toAbsolute } from "./absolute-scale.js";
import { mergeFiles } from "./merge-files.js";
import type { FromProcess, ProcessLimits, ToProcess } from "./messages.js";
import type { BracketTask, MergeSettings, TaskResult } from "./task.js";

// The process that BracketPool starts: merges one bracket after the other, and asks before it uses the engine.

/** Bytes of pixels that may wait for the garbage collector between brackets, and their part of the memory for pixels. */
const MOST_WAITING = 80 * 1024 ** 2;
const WAITING_SHARE = 1 / 16;

const tell = (message: FromProcess) =>
  new Promise<void>((resolve) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => resolve());
    else resolve();
  });

let loaded: { readonly key: string; readonly reconstructor: Reconstructor } | undefined;
let controller = new AbortController();
let grant = () => {};

/** The reconstructor could not be made ready. */
class LoadFailure {
  constructor(readonly cause: unknown) {}
}

async function load(settings: MergeSettings, limits: ProcessLimits): Promise<Reconstructor> {
  const { method, model, precision, tile } = settings;
  const { threads, memory, device = settings.device } = limits;
  const options = { method, model, device, precision, tile, threads, memory };
  const key = JSON.stringify(options);
  if (loaded?.key !== key) loaded = { key, reconstructor: await Reconstructor.load(options).catch(fail) };
  return loaded.reconstructor;
}

function fail(cause: unknown): never {
  throw new LoadFailure(cause);
}

/** Runs that use the engine, and when it became theirs. */
let running = 0;
let start: Promise<number>;

/** Waits until the engine is free for this process, which keeps it until none of its runs uses it. */
async function turn<T>(work: () => Promise<T>): Promise<T> {
  if (running++ === 0) start = waitForEngine();
  const began = await start;
  try {
    return await work();
  } finally {
    if (--running === 0) await tell({ kind: "computed", seconds: (performance.now() - began) / 1000 });
  }
}

async function waitForEngine(): Promise<number> {
  const { signal } = controller;
  const granted = new Promise<void>((resolve) => {
    grant = resolve;
  });
  await tell({ kind: "wait" });
  await Promise.race([granted, new Promise((resolve) => signal.addEventListener("abort", resolve))]);
  return performance.now();
}

async function merge(task: BracketTask, limits: ProcessLimits, spill: boolean): Promise<TaskResult> {
  const start = performance.now();
  const { photographs, outputs, ev, settings, scale } = task;
  const reconstructor = await load(settings, limits);
  const notes: string[] = [];
  for (const folder of new Set(outputs.map(dirname))) await makeFolder(folder);
  const shares: Readonly<Record<string, readonly [number, number]>> = {
    Reading: [0, 0.3],
    Merging: [0.3, 0.5],
    Writing: [0.8, 0.2],
  };
  let told = 0;
  await mergeFiles(reconstructor, photographs, outputs, {
    ev,
    reference: settings.reference,
    align: settings.align,
    follow: settings.follow,
    alpha: settings.alpha,
    threads: limits.threads,
    memory: spill ? 1 : Number.POSITIVE_INFINITY,
    signal: controller.signal,
    turn,
    onNote: ({ message }) => notes.push(message),
    onStage: (name) => (fraction) => {
      if (performance.now() - told < 200) return;
      told = performance.now();
      const [from, share] = shares[name];
      void tell({ kind: "progress", fraction: from + share * fraction });
    },
    ...(scale && { finish: (radiance, bracket) => toAbsolute(radiance, bracket, photographs, scale) }),
  });
  const bytes = await Promise.all(outputs.map(keep));
  return { bytes, seconds: (performance.now() - start) / 1000, notes };
}

/** Has the file, and its name, on the disk before the journal says so. Returns its length. */
async function keep(path: string): Promise<number> {
  for (const place of [path, dirname(path)]) {
    // Folders cannot be opened everywhere.
    const file = await open(place, "r").catch(() => undefined);
    await file?.sync().catch(() => {});
    await file?.close();
  }
  return (await stat(path)).size;
}

async function answer(message: Extract<ToProcess, { kind: "load" | "merge" }>): Promise<FromProcess> {
  controller = new AbortController();
  const { limits } = message;
  if (message.kind === "load") {
    const { notes, devices } = await load(message.settings, limits);
    return { kind: "loaded", notes: notes.map((note) => note.message), devices };
  }
  return { kind: "merged", result: await merge(message.task, limits, message.spill) };
}

function describe(error: unknown): Extract<FromProcess, { kind: "failed" }> {
  if (error instanceof LoadFailure) return { ...describe(error.cause), load: true };
  const ours = error instanceof SmhdrError ? error : outOfMemory(error);
  if (ours) return { kind: "failed", code: ours.code, message: ours.message };
  return { kind: "failed", code: "INTERNAL", message: (error instanceof Error && error.stack) || String(error) };
}

// What libvips and zlib may use besides the engine's threads.
sharp.concurrency(Number(process.env.UV_THREADPOOL_SIZE ?? 1));
process.on("message", async (message: ToProcess) => {
  if (message.kind === "cancel") controller.abort();
  else if (message.kind === "turn") grant();
  else {
    const reply = await answer(message).catch(describe);
    // Pixels of a bracket are large and few: nothing would make the collector run before the next one's are made. A collection
    // costs a small bracket a fifth of its time, so that what is little beside the memory for all may wait.
    const waiting = Math.min(MOST_WAITING, message.limits.memory * WAITING_SHARE);
    if (process.memoryUsage().arrayBuffers > waiting) globalThis.gc?.();
    await tell(reply);
  }
});
process.on("disconnect", () => {
  controller.abort(); // nobody is left to answer to: what was begun is removed
  setTimeout(() => process.exit(), 5000).unref();
});
// A terminal's Ctrl-C goes to all: the parent decides.
process.on("SIGINT", () => {}).on("SIGTERM", () => {});
