import { readFile, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { EngineInput, Precision } from "../engine/engine.js";
import { createNativeEngine } from "../engine/native.js";
import { hasOnnxRuntime } from "../engine/onnx.js";
import { loadModel } from "../model/model.js";
import { exportOnnx } from "../model/onnx/export.js";
import { SUMS_MODE } from "../model/onnx/network.js";
import { mergeRadiance } from "../reconstruct/radiance.js";
import { Reconstructor } from "../reconstruct/reconstructor.js";
import { Missing } from "./contender.js";
import { peakMemory } from "./peak-memory.js";
import { bracketOf, EXPOSURE_VALUES, type PictureSize, photograph } from "./pictures.js";
import { readFloats } from "./race.js";

// The process of a contender in Node: does the task in its argument once for every line on stdin. See contender.ts.

/** One pass of the network over values in a file. */
export interface NetworkTask {
  readonly kind: "network";
  readonly engine: "native" | "onnxruntime";
  readonly precision: Precision;
  /** A model's name or file. */
  readonly model: string;
  /** float32, exposures one after the other, each [height, width, 6]. */
  readonly input: string;
  /** Where to leave float32 [height, width, 3]. */
  readonly output: string;
  readonly height: number;
  readonly width: number;
  readonly threads: number;
}
/** Merging three photographs in a file without a network. */
export interface MergeTask extends PictureSize {
  readonly kind: "merge";
  readonly input: string;
  readonly moved: boolean;
  readonly threads: number;
}
/** Reconstructing a bracket made on the spot as the product does, in tiles or strips where it thinks fit. */
export interface GrowthTask extends PictureSize {
  readonly kind: "growth";
  readonly method: "network" | "radiance";
  readonly model: string;
  readonly threads: number;
}
export type WorkerTask = NetworkTask | MergeTask | GrowthTask;

/** Does the task once; returns its seconds and, for a task with an output, what it came to. */
type Run = () => Promise<{ readonly seconds: number; readonly result?: Float32Array }>;

async function timed<T>(work: () => Promise<T>): Promise<{ seconds: number; value: T }> {
  const start = performance.now();
  const value = await work();
  return { seconds: (performance.now() - start) / 1000, value };
}

async function prepareNative({ model, input, height, width, threads, precision }: NetworkTask): Promise<Run> {
  const loaded = await loadModel(model);
  const engine = createNativeEngine(loaded, threads, precision);
  const values = await readFloats(input);
  const size = height * width * 6;
  const exposures = Array.from({ length: loaded.exposures }, (_, i) => values.subarray(i * size, (i + 1) * size));
  const given: EngineInput = { exposures, batch: 1, height, width };
  return async () => {
    const { seconds, value } = await timed(() => engine.run(given));
    return { seconds, result: value };
  };
}

/** ONNX Runtime as it comes, all optimisations on; its own layout is made before and undone after the clock runs. */
async function prepareOnnx({ model, input, height, width, threads }: NetworkTask): Promise<Run> {
  if (!hasOnnxRuntime()) throw new Missing("the package onnxruntime-node is not installed");
  const module = await import("onnxruntime-node").catch((error: Error) => {
    throw new Missing(`onnxruntime-node could not be loaded: ${error.message.split("\n")[0]}`);
  });
  const runtime = "default" in module ? (module.default as typeof module) : module;
  const loaded = await loadModel(model);
  const session = await runtime.InferenceSession.create(exportOnnx(loaded), {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
    logSeverityLevel: 4,
  });
  const area = height * width;
  const values = await readFloats(input);
  const channels = 6 * loaded.exposures;
  const planes = new Float32Array(channels * area);
  for (let c = 0; c < channels; c++) {
    for (let p = 0, at = Math.floor(c / 6) * area * 6 + (c % 6); p < area; p++, at += 6)
      planes[c * area + p] = values[at];
  }
  const feeds = {
    exposures: new runtime.Tensor("float32", planes, [1, channels, height, width]),
    sums_mode: new runtime.Tensor("int64", [SUMS_MODE.own], []),
    given_sums: new runtime.Tensor("float32", new Float32Array(1), [1]),
  };
  return async () => {
    const { seconds, value } = await timed(() => session.run(feeds, ["radiance"]));
    const radiance = value.radiance.data as Float32Array;
    const result = new Float32Array(3 * area);
    for (let p = 0; p < area; p++) for (let c = 0; c < 3; c++) result[3 * p + c] = radiance[c * area + p];
    value.radiance.dispose();
    return { seconds, result };
  };
}

async function prepareMerge(task: MergeTask): Promise<Run> {
  const file = await readFile(task.input);
  const bytes = file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength);
  const samples = task.width * task.height * 3;
  const data = EXPOSURE_VALUES.map((_, i) =>
    task.depth === "uint8"
      ? new Uint8Array(bytes, i * samples, samples)
      : new Uint16Array(bytes, 2 * i * samples, samples),
  );
  const bracket = bracketOf(task, data, task.moved);
  return () => timed(() => mergeRadiance(bracket, { threads: task.threads }));
}

async function prepareGrowth(task: GrowthTask): Promise<Run> {
  const bracket = bracketOf(
    task,
    EXPOSURE_VALUES.map((_, i) => photograph(task, i)),
  );
  const { method, threads, model } = task;
  const reconstructor = await Reconstructor.load({ method, threads, ...(method === "network" && { model }) });
  return () => timed(() => reconstructor.run(bracket));
}

function prepare(task: WorkerTask): Promise<Run> {
  if (task.kind === "merge") return prepareMerge(task);
  if (task.kind === "growth") return prepareGrowth(task);
  return task.engine === "native" ? prepareNative(task) : prepareOnnx(task);
}

const say = (message: object) => process.stdout.write(`${JSON.stringify(message)}\n`);
process.on("SIGINT", () => {}); // Ctrl-C reaches the whole group; whoever started this process ends it
try {
  const task = JSON.parse(process.argv[2]) as WorkerTask;
  const run = await prepare(task);
  say({ ready: process.version });
  for await (const line of createInterface({ input: process.stdin })) {
    const { seconds, result } = await run();
    const peakBytes = peakMemory();
    if (line === "check" && result && "output" in task) await writeFile(task.output, result);
    say({ seconds, peakBytes });
  }
} catch (error) {
  say({ [error instanceof Missing ? "missing" : "error"]: (error as Error).message });
}
