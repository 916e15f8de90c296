import { type ChildProcess, fork } from "node:child_process";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type ErrorCode, SmhdrError, throwIfAborted } from "../errors.js";
import { probeOnnx } from "../model/onnx/export.js";
import type { SUMS_MODE } from "../model/onnx/network.js";
import type { OnnxModel } from "../model/onnx/read.js";
import type { Engine, EngineInput } from "./engine.js";

/** What ONNX Runtime can compute on; which of them it brings depends on the operating system. */
export const ONNX_PROVIDERS = ["cpu", "webgpu", "directml", "coreml", "cuda"] as const;
export type OnnxProvider = (typeof ONNX_PROVIDERS)[number];

/** What ONNX Runtime calls them. */
export const providerNames: Readonly<Record<OnnxProvider, string>> = {
  cpu: "cpu",
  webgpu: "webgpu",
  directml: "dml",
  coreml: "coreml",
  cuda: "cuda",
};

/** What the processes say to each other; an answer has its question's id. */
export type ToWorker = { readonly id: number } & Question;
export type Question = OpenRequest | RunRequest | ProbeRequest;
export interface OpenRequest {
  readonly kind: "open";
  readonly bytes: Uint8Array;
  readonly exposures: number;
  /** In the order to try; the first that works is used. */
  readonly providers: readonly OnnxProvider[];
  readonly threads: number;
}
export interface RunRequest {
  readonly kind: "run";
  readonly input: EngineInput;
  readonly mode: keyof typeof SUMS_MODE;
  readonly given: Float32Array | undefined;
}
/** Which providers can be used here, shown by opening a small model in each. */
export interface ProbeRequest {
  readonly kind: "probe";
  readonly bytes: Uint8Array;
}
export interface Opened {
  readonly provider: OnnxProvider;
  /** Why the providers before it are not used. */
  readonly refusals: readonly string[];
}
export interface Computed {
  /** [batch, height, width, 3] */
  readonly radiance: Float32Array;
  /** The image-wide sums of the first image. */
  readonly sums: Float32Array;
}
export type FromWorker = { readonly id: number } & (
  | { readonly answer: Opened | Computed | readonly OnnxProvider[] }
  | { readonly code: ErrorCode; readonly message: string }
);

export interface OnnxOptions {
  /** The first that works is used; cpu always is the last. Default: cpu. */
  readonly providers?: readonly OnnxProvider[] | undefined;
  /** Of the processor; 0, the default: one for every processor. */
  readonly threads?: number | undefined;
}

/** Whether the optional package onnxruntime-node is installed. */
export function hasOnnxRuntime(): boolean {
  try {
    createRequire(import.meta.url).resolve("onnxruntime-node");
    return true;
  } catch {
    return false;
  }
}

/** Values of width C, and of attention's logits, that ONNX Runtime holds at once for a pixel (measured on the processor). */
const LIVE_VALUES = 20;
const LIVE_LOGITS = 2;
const WINDOW_TOKENS = 64;

/**
 * The network in ONNX Runtime, in a process of its own: ONNX Runtime blocks the thread it runs in and cannot be stopped
 * there, ending a thread inside it aborts the whole process, and a GPU's driver may crash. Cancelling ends the process
 * at once; the next run starts another. What other providers than the processor compute is compared with it once, before
 * it is trusted. Progress comes with each finished run only.
 *
 * `refusals` says which providers were tried in vain, and why.
 * @throws SmhdrError UNSUPPORTED where onnxruntime-node is not installed, BAD_INPUT for a model it cannot load.
 */
export async function createOnnxEngine(
  model: OnnxModel,
  { providers = [], threads = 0 }: OnnxOptions = {},
): Promise<{ readonly engine: Engine; readonly provider: OnnxProvider; readonly refusals: readonly string[] }> {
  if (!hasOnnxRuntime()) {
    throw new SmhdrError(
      "UNSUPPORTED",
      'device: "onnx" needs the package onnxruntime-node: npm install onnxruntime-node --onnxruntime-node-install=skip',
    );
  }
  const helper = new Helper();
  const question: OpenRequest = {
    kind: "open",
    bytes: model.bytes,
    exposures: inputsOf(model),
    providers: [...new Set([...providers, "cpu" as const])],
    threads: threads || availableParallelism(),
  };
  const { provider, refusals } = await helper.ask<Opened>(question);
  helper.greeting = { ...question, providers: [provider] };
  let given: Float32Array | undefined;
  const engine: Engine = {
    device: `onnx (${provider})`,
    bytesPerPixel: (exposures) =>
      4 * (LIVE_VALUES * model.width + LIVE_LOGITS * WINDOW_TOKENS * model.heads + WINDOW_TOKENS + 18 * exposures + 9),
    async run(input, { signal, onProgress } = {}) {
      checkInput(input, model);
      const mode = input.record ? "shared" : given ? "given" : "own";
      const { radiance, sums } = await helper.ask<Computed>({ kind: "run", input, mode, given }, signal);
      if (input.record) given = sums;
      onProgress?.(1);
      return radiance;
    },
    clearSums() {
      given = undefined;
    },
  };
  abandoned.register(engine, helper);
  return { engine, provider, refusals };
}

/** The providers that this machine can use; none where onnxruntime-node is not installed or cannot be loaded. */
export async function listOnnxProviders(): Promise<readonly OnnxProvider[]> {
  if (!hasOnnxRuntime()) return [];
  const helper = new Helper();
  try {
    return await helper.ask<readonly OnnxProvider[]>({ kind: "probe", bytes: probeOnnx() });
  } catch {
    return [];
  } finally {
    helper.end();
  }
}

/** Ends the processes of engines that nobody holds any more. */
const abandoned = new FinalizationRegistry<Helper>((helper) => helper.end());

const inputsOf = ({ exposures, prior }: OnnxModel) => exposures + Number(prior);

function checkInput({ exposures, batch, height, width, maskMode }: EngineInput, model: OnnxModel): void {
  const refuse = (message: string) => new SmhdrError("INVALID_ARGUMENT", message);
  if (exposures.length !== inputsOf(model)) {
    const takes = `${model.exposures}${model.prior ? " and a merge of them" : ""}`;
    throw refuse(`exposures: this ONNX model takes ${takes}; ${exposures.length} came.`);
  }
  const positive = (n: number) => Number.isInteger(n) && n > 0;
  if (!positive(batch) || !positive(height / 8) || !positive(width / 8)) {
    throw refuse(`exposures: height and width must be positive multiples of 8, not ${width} x ${height}.`);
  }
  const values = batch * height * width * 6;
  const wrong = exposures.findIndex((data) => data.length !== values);
  if (wrong >= 0) {
    throw refuse(`exposures: number ${wrong} has ${exposures[wrong].length} values, expected ${values}.`);
  }
  if (maskMode?.some((mode) => mode !== 0)) throw refuse("maskMode: masks are for the native engine; got some.");
}

interface Asker {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: Error) => void;
}

/** Processes that answer questions, one after the other dies; they let this one end while nobody waits for an answer. */
class Helper {
  /** What every new process has to hear first. */
  greeting: OpenRequest | undefined;
  private child: ChildProcess | undefined;
  private readonly waiting = new Map<number, Asker>();
  private asked = 0;

  /** Rejects with CANCELLED as soon as `signal` fires, and stops the work where nobody else waits for any. */
  async ask<Answer>(question: Question, signal?: AbortSignal): Promise<Answer> {
    throwIfAborted(signal);
    if (!this.child && this.greeting) {
      this.start();
      await this.ask(this.greeting);
      throwIfAborted(signal);
    }
    const child = this.child ?? this.start();
    const id = this.asked++;
    let cancel = () => {};
    try {
      return await new Promise<Answer>((resolve, reject) => {
        cancel = () => {
          reject(new SmhdrError("CANCELLED", "Cancelled.", { cause: signal?.reason }));
          if (this.waiting.size === 1) this.end();
        };
        signal?.addEventListener("abort", cancel);
        this.waiting.set(id, { resolve, reject });
        child.ref();
        child.channel?.ref();
        child.send({ id, ...question } satisfies ToWorker);
      });
    } finally {
      signal?.removeEventListener("abort", cancel);
      this.waiting.delete(id);
      if (this.waiting.size === 0) release(child);
    }
  }

  end(): void {
    this.child?.kill("SIGKILL");
    this.child = undefined;
  }

  private start(): ChildProcess {
    const child = startProcess();
    this.child = child;
    const stop = () => child.kill("SIGKILL");
    process.once("exit", stop);
    child.on("message", (message: FromWorker) => {
      const asker = this.waiting.get(message.id);
      if ("answer" in message) asker?.resolve(message.answer as never);
      else asker?.reject(new SmhdrError(message.code, message.message));
    });
    const fail = (why: string, cause?: Error) => {
      process.off("exit", stop);
      if (this.child !== child) return; // ended on purpose
      this.child = undefined;
      const error = new SmhdrError("INTERNAL", `The process of ONNX Runtime ended (${why}).`, { cause });
      for (const { reject } of this.waiting.values()) reject(error);
    };
    child.on("error", (error) => fail(error.message, error));
    child.on("exit", (code, signal) => fail(signal ?? `exit code ${code}`));
    release(child);
    return child;
  }
}

/** Lets this process end before `child`, which it takes along. */
function release(child: ChildProcess): void {
  child.unref();
  child.channel?.unref();
}

/** Run uncompiled (by tsx, in tests), a process has to be taught TypeScript first. */
function startProcess(): ChildProcess {
  const compiled = !import.meta.url.endsWith(".ts");
  const script = new URL(compiled ? "./onnx-worker.js" : "./onnx-worker.ts", import.meta.url);
  const require = createRequire(import.meta.url);
  return fork(fileURLToPath(script), [], {
    execArgv: compiled ? [] : ["--import", pathToFileURL(require.resolve("tsx")).href],
    serialization: "advanced",
    // What fails comes back as an error; drivers print much besides.
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
}
