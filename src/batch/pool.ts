import { type ChildProcess, fork } from "node:child_process";
import { readHeader } from "../bracket/decode.js";
import { SmhdrError, throwIfAborted } from "../errors.js";
import { methodOf } from "../reconstruct/reconstructor.js";
import { Room } from "../room.js";
import { bracketNeed, planWork, type WorkOptions, type WorkPlan } from "./budget.js";
import type { FromProcess, ProcessLimits, ToProcess } from "./messages.js";
import type { BracketTask, MergeSettings, TaskResult } from "./task.js";

export interface PoolRunOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the fraction of this bracket that is done. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** A process that merges, and what it does at the moment. */
interface Helper {
  readonly child: ChildProcess;
  settle?: ((answer: FromProcess) => void) | undefined;
  onProgress?: PoolRunOptions["onProgress"];
}

/** How often to load the model where processes die of it. */
const LOAD_TRIES = 3;
/** How long a process may take to stop, in milliseconds, before it is killed. */
const PATIENCE = 10_000;

/**
 * Merges brackets in processes of their own: what makes one of them die costs its bracket and no other. Reading, merging and
 * writing of different brackets overlap; the network's engine, which takes all threads, is used by one at a time. A bracket waits
 * until its pixels fit into what the others leave of the memory.
 */
export class BracketPool {
  readonly plan: WorkPlan;
  /** Seconds in which the network's engine computed. */
  engineSeconds = 0;
  /** Whether the engine is the network's, which one bracket at a time may use. */
  readonly network: boolean;
  private readonly limits: ProcessLimits;
  private readonly helpers = new Set<Helper>();
  private readonly idle: Helper[] = [];
  private readonly places: Room;
  private readonly pixels: Room;
  private computing: Helper | undefined;
  private readonly queue: Helper[] = [];
  private closed = false;

  /** @throws SmhdrError as planWork does. */
  constructor(settings: MergeSettings, options: WorkOptions) {
    this.network = methodOf(settings) === "network";
    this.plan = planWork(this.network, options);
    this.limits = { threads: this.plan.threads, memory: this.plan.engineBytes };
    this.places = new Room(this.plan.jobs);
    this.pixels = new Room(this.plan.pixelBytes);
  }

  /** Loads the model, so that what is missing is known before the work; returns what people should know. Throws as Reconstructor.load. */
  async check(settings: MergeSettings): Promise<readonly string[]> {
    for (let tries = 1; ; tries++) {
      const helper = this.idle.pop() ?? this.start();
      const answer = await this.ask(helper, { kind: "load", settings, limits: this.limits });
      if (answer.kind === "loaded") return answer.notes;
      const died = answer.kind === "failed" && answer.code === "INTERNAL";
      if (!died || tries === LOAD_TRIES) throw asError(answer);
    }
  }

  /** @throws SmhdrError as mergeFiles does; CANCELLED; INTERNAL where the process died. */
  async run(task: BracketTask, { signal, onProgress }: PoolRunOptions = {}): Promise<TaskResult> {
    const merge = async (spill: boolean) => {
      const helper = this.idle.pop() ?? this.start();
      helper.onProgress = onProgress;
      const answer = await this.ask(helper, { kind: "merge", task, limits: this.limits, spill }, signal);
      if (answer.kind === "merged") return answer.result;
      throw asError(answer);
    };
    const work = async () => {
      const { bytes, spill } = await this.need(task);
      return this.pixels.run(bytes, () => merge(spill), signal);
    };
    return this.places.run(1, work, signal);
  }

  /** Ends the processes; those at work are stopped first and leave nothing. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all([...this.helpers].map((helper) => end(helper.child)));
  }

  private async need({ photographs, settings }: BracketTask) {
    const room = this.plan.pixelBytes;
    try {
      const { width, height, depth } = await readHeader(photographs[0], photographs[0], settings.alpha);
      const bytesPerSample = depth === "uint8" ? 1 : 2;
      return bracketNeed({ width, height, exposures: photographs.length, bytesPerSample }, this.network, room);
    } catch {
      return { bytes: 0, spill: false }; // reading it will say why
    }
  }

  private start(): Helper {
    if (this.closed) throw new SmhdrError("INTERNAL", "The pool of processes was closed.");
    // One thread for libvips, zlib and the engine's caller: the engine brings its own.
    const helper: Helper = { child: startProcess(this.network ? 1 : this.limits.threads) };
    this.helpers.add(helper);
    const { child } = helper;
    child.on("message", (message: FromProcess) => this.hear(helper, message));
    const gone = (how: string) => {
      this.helpers.delete(helper);
      if (this.idle.includes(helper)) this.idle.splice(this.idle.indexOf(helper), 1);
      if (this.queue.includes(helper)) this.queue.splice(this.queue.indexOf(helper), 1);
      if (this.computing === helper) this.grantNext();
      helper.settle?.({ kind: "failed", code: "INTERNAL", message: `The process that merged it ended (${how}).` });
    };
    child.on("exit", (code, signal) => gone(signal ?? `exit code ${code}`)).on("error", (error) => gone(error.message));
    return helper;
  }

  private hear(helper: Helper, message: FromProcess): void {
    if (message.kind === "progress") helper.onProgress?.(message.fraction);
    else if (message.kind === "wait") {
      this.queue.push(helper);
      if (!this.computing) this.grantNext();
    } else if (message.kind === "computed") {
      this.engineSeconds += message.seconds;
      const at = this.queue.indexOf(helper);
      if (at >= 0) this.queue.splice(at, 1); // stopped before its turn came
      if (this.computing === helper) this.grantNext();
    } else helper.settle?.(message);
  }

  private grantNext(): void {
    this.computing = this.queue.shift();
    if (this.computing) send(this.computing.child, { kind: "turn" });
  }

  private async ask(helper: Helper, message: ToProcess, signal?: AbortSignal): Promise<FromProcess> {
    let killing: NodeJS.Timeout | undefined;
    const cancel = () => {
      send(helper.child, { kind: "cancel" });
      killing = setTimeout(() => helper.child.kill("SIGKILL"), PATIENCE);
    };
    signal?.addEventListener("abort", cancel);
    try {
      const answer = await new Promise<FromProcess>((resolve) => {
        helper.settle = resolve;
        send(helper.child, message);
      });
      if (signal?.aborted) throwIfAborted(answer.kind === "merged" ? undefined : signal);
      return answer;
    } finally {
      clearTimeout(killing);
      signal?.removeEventListener("abort", cancel);
      helper.settle = undefined;
      helper.onProgress = undefined;
      if (helper.child.connected && this.helpers.has(helper)) this.idle.push(helper);
    }
  }
}

function send(child: ChildProcess, message: ToProcess): void {
  if (child.connected) child.send(message, () => {}); // a process that died is heard of by its exit
}

function asError(answer: FromProcess): SmhdrError {
  if (answer.kind === "failed") return new SmhdrError(answer.code, answer.message);
  return new SmhdrError("INTERNAL", `Unexpected answer "${answer.kind}".`);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => {
    const killing = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
    child.once("exit", () => {
      clearTimeout(killing);
      resolve();
    });
    if (child.connected) child.disconnect();
  });
}

/** Run uncompiled (by tsx, in tests), a process has to be taught TypeScript first. */
function startProcess(threads: number): ChildProcess {
  const compiled = !import.meta.url.endsWith(".ts");
  return fork(new URL(compiled ? "./process.js" : "./process.ts", import.meta.url), {
    execArgv: ["--expose-gc", ...(compiled ? [] : ["--import", import.meta.resolve("tsx")])],
    env: { ...process.env, UV_THREADPOOL_SIZE: String(threads), MALLOC_ARENA_MAX: "2" },
    stdio: ["ignore", "ignore", "inherit", "ipc"],
    // A terminal's Ctrl-C goes to the whole group: this process decides what becomes of the others.
    detached: process.platform !== "win32",
  });
}
