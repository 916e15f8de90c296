import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { InferenceSession } from "onnxruntime-node";
import { SmhdrError } from "../errors.js";
import { SUMS_MODE } from "../model/onnx/network.js";
import { agreement } from "./agreement.js";
import type { EngineInput } from "./engine.js";
import {
  type Computed,
  type FromWorker,
  ONNX_PROVIDERS,
  type OnnxProvider,
  type Opened,
  type OpenRequest,
  type ProbeRequest,
  providerNames,
  type RunRequest,
  type ToWorker,
} from "./onnx.js";

// The process that holds one network in ONNX Runtime and runs it, one question after the other.

type Runtime = typeof import("onnxruntime-node");

process.on("SIGINT", () => {}); // Ctrl-C reaches the whole group; whoever started this process ends it

/** A provider must agree with the processor this well to be used: what reduced precision may cost. */
const LEAST_PSNR = 60;

/** Where onnxruntime-node keeps this system's libraries. */
const binaries = join(
  createRequire(import.meta.url).resolve("onnxruntime-node"),
  "../../bin/napi-v6",
  process.platform,
  process.arch,
);

let runtime: Runtime;
let session: InferenceSession;

let last: Promise<void> = Promise.resolve();
process.on("message", (question: ToWorker) => {
  const say = (message: FromWorker) => process.send?.(message);
  last = last.then(async () => {
    try {
      say({ id: question.id, answer: await reply(question) });
    } catch (error) {
      const code = error instanceof SmhdrError ? error.code : "INTERNAL";
      say({ id: question.id, code, message: (error as Error).message });
    }
  });
});

function reply(question: ToWorker): Promise<Opened | Computed | readonly OnnxProvider[]> {
  if (question.kind === "run") return run(session, question);
  return question.kind === "open" ? open(question) : probe(question);
}

async function load(): Promise<void> {
  try {
    const module = await import("onnxruntime-node");
    runtime = "default" in module ? (module.default as Runtime) : module;
  } catch (error) {
    throw new SmhdrError("UNSUPPORTED", `onnxruntime-node could not be loaded: ${firstLine(error)}`, { cause: error });
  }
}

async function create(bytes: Uint8Array, provider: OnnxProvider, threads: number): Promise<InferenceSession> {
  const name = providerNames[provider];
  if (!runtime.listSupportedBackends().some((backend) => backend.name === name)) {
    throw new Error("not part of ONNX Runtime on this system");
  }
  if (provider === "cuda" && !existsSync(join(binaries, "libonnxruntime_providers_cuda.so"))) {
    throw new Error("its libraries are not installed (npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12)");
  }
  return runtime.InferenceSession.create(bytes, {
    executionProviders: [name],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    enableMemPattern: false, // patterns of whole runs double the memory
    logSeverityLevel: 4,
    // Threads that wait shall not keep a processor busy.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });
}

async function probe({ bytes }: ProbeRequest): Promise<readonly OnnxProvider[]> {
  await load();
  const found: OnnxProvider[] = [];
  for (const provider of ONNX_PROVIDERS) {
    await create(bytes, provider, 1).then(
      () => found.push(provider),
      () => {}, // that it does not work is the answer
    );
  }
  return found;
}

async function open({ bytes, exposures, providers, threads }: OpenRequest): Promise<Opened> {
  await load();
  const refusals: string[] = [];
  for (const provider of providers) {
    if (provider === "cpu") continue;
    try {
      session = await create(bytes, provider, threads);
      const of = (session: InferenceSession) => async (input: EngineInput) =>
        (await run(session, { kind: "run", input, mode: "own", given: undefined })).radiance;
      const psnr = await agreement(of(session), of(await create(bytes, "cpu", threads)), exposures);
      if (psnr >= LEAST_PSNR) return { provider, refusals };
      refusals.push(`${provider}: its results differ from the processor's (PSNR ${psnr.toFixed(0)} dB)`);
    } catch (error) {
      refusals.push(`${provider}: ${firstLine(error)}`);
    }
  }
  try {
    session = await create(bytes, "cpu", threads);
  } catch (error) {
    throw new SmhdrError("BAD_INPUT", `ONNX Runtime cannot load this model: ${firstLine(error)}`, { cause: error });
  }
  return { provider: "cpu", refusals };
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

/** What went wrong, without the place in ONNX Runtime's sources. */
function firstLine(error: unknown): string {
  return (error as Error).message
    .trim()
    .split("\n")[0]
    .replace(/^\/\S+\.cc:\d+ .*? was false\. /, "")
    .replace(/\.$/, "");
}
