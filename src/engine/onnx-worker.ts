import { parentPort } from "node:worker_threads";
import type { InferenceSession } from "onnxruntime-node";
import { SmhdrError } from "../errors.js";
import { SUMS_MODE } from "../model/onnx/network.js";
import type { EngineInput } from "./engine.js";
import {
  type Computed,
  type FromWorker,
  type OnnxProvider,
  type Opened,
  type OpenRequest,
  providerNames,
  type RunRequest,
  type ToWorker,
} from "./onnx.js";

// The thread that holds one network in ONNX Runtime and runs it, one question after the other.

type Runtime = typeof import("onnxruntime-node");

const port = parentPort;
if (!port) throw new SmhdrError("INTERNAL", "onnx-worker is started by createOnnxEngine as a thread.");

/** A provider must agree with the processor this well to be used: what reduced precision may cost. */
const LEAST_PSNR = 60;

let runtime: Runtime;
let session: InferenceSession;

let last: Promise<void> = Promise.resolve();
port.on("message", (question: ToWorker) => {
  last = last.then(async () => {
    try {
      const answer = question.kind === "open" ? await open(question) : await run(session, question);
      const transfer = "radiance" in answer ? [answer.radiance.buffer as ArrayBuffer] : [];
      port.postMessage({ id: question.id, answer } satisfies FromWorker, transfer);
    } catch (error) {
      const code = error instanceof SmhdrError ? error.code : "INTERNAL";
      port.postMessage({ id: question.id, code, message: (error as Error).message } satisfies FromWorker);
    }
  });
});

async function open({ bytes, exposures, providers, threads }: OpenRequest): Promise<Opened> {
  try {
    const module = await import("onnxruntime-node");
    runtime = "default" in module ? (module.default as Runtime) : module;
  } catch (error) {
    throw new SmhdrError("UNSUPPORTED", `onnxruntime-node could not be loaded: ${firstLine(error)}`, { cause: error });
  }
  const create = (provider: OnnxProvider) =>
    runtime.InferenceSession.create(bytes, {
      executionProviders: [providerNames[provider]],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      enableMemPattern: false, // patterns of whole runs double the memory
      logSeverityLevel: 4,
      // Threads that wait shall not keep a processor busy.
      extra: { session: { intra_op: { allow_spinning: "0" } } },
    });
  const refusals: string[] = [];
  for (const provider of providers) {
    if (provider === "cpu") continue;
    try {
      session = await create(provider);
      const psnr = await compare(session, await create("cpu"), exposures);
      if (psnr >= LEAST_PSNR) return { provider, refusals };
      refusals.push(`${provider}: its results differ from the processor's (PSNR ${psnr.toFixed(0)} dB)`);
    } catch (error) {
      refusals.push(`${provider}: ${firstLine(error)}`);
    }
  }
  try {
    session = await create("cpu");
  } catch (error) {
    throw new SmhdrError("BAD_INPUT", `ONNX Runtime cannot load this model: ${firstLine(error)}`, { cause: error });
  }
  return { provider: "cpu", refusals };
}

/** PSNR in dB of what two sessions make of the same small noise. */
async function compare(a: InferenceSession, b: InferenceSession, exposures: number): Promise<number> {
  const [height, width] = [16, 24];
  const noise = (_: unknown, i: number) => 0.5 + 0.5 * Math.sin(i * i);
  const input: EngineInput = {
    exposures: Array.from({ length: exposures }, () => Float32Array.from({ length: height * width * 6 }, noise)),
    batch: 1,
    height,
    width,
  };
  const question: RunRequest = { kind: "run", input, mode: "own", given: undefined };
  const [left, right] = [(await run(a, question)).radiance, (await run(b, question)).radiance];
  const squared = left.reduce((sum, value, i) => sum + (value - right[i]) ** 2, 0);
  return -10 * Math.log10(squared / left.length);
}

async function run(on: InferenceSession, { input, mode, given }: RunRequest): Promise<Computed> {
  const { exposures, batch, height, width } = input;
  const channels = 6 * exposures.length;
  const area = height * width;
  const planes = new Float32Array(batch * channels * area);
  for (let b = 0; b < batch; b++) {
    for (const [i, data] of exposures.entries()) {
      for (let c = 0; c < 6; c++) {
        const to = (b * channels + 6 * i + c) * area;
        for (let p = 0, from = b * area * 6 + c; p < area; p++, from += 6) planes[to + p] = data[from];
      }
    }
  }
  const feeds = {
    exposures: new runtime.Tensor("float32", planes, [batch, channels, height, width]),
    sums_mode: new runtime.Tensor("int64", [SUMS_MODE[mode]], []),
    given_sums: new runtime.Tensor("float32", given ?? new Float32Array(1), [given?.length ?? 1]),
  };
  let results: InferenceSession.OnnxValueMapType;
  try {
    results = await on.run(feeds);
  } catch (error) {
    const code = /alloc/i.test((error as Error).message) ? "OUT_OF_MEMORY" : "INTERNAL";
    throw new SmhdrError(code, `ONNX Runtime failed: ${firstLine(error)}`, { cause: error });
  }
  const out = results.radiance.data as Float32Array;
  const radiance = new Float32Array(out.length);
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < 3; c++) {
      const from = (b * 3 + c) * area;
      for (let p = 0, to = b * area * 3 + c; p < area; p++, to += 3) radiance[to] = out[from + p];
    }
  }
  const sums = results.sums.data as Float32Array;
  const first = sums.slice(0, sums.length / batch);
  for (const tensor of Object.values(results)) tensor.dispose();
  return { radiance, sums: first };
}

function firstLine(error: unknown): string {
  return (error as Error).message.trim().split("\n")[0];
}
