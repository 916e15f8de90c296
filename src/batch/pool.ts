import { type ChildProcess, fork } from "node:child_process";
import { readHeader } from "../bracket/decode.js";
import type { NativeDevice } from "../engine/addon.js";
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
  readonly lane: Lane;
  settle?: ((answer: FromProcess) => void) | undefined;
  onProgress?: PoolRunOptions["onProgress"];
}

/** What computes, for one bracket at a time. */
interface Lane {
  /** Where there are several. */
  readonly device?: NativeDevice;
  computing?: Helper | undefined;
  readonly queue: Helper[];
}

/** How often to load the model where processes die of it. */
const LOAD_TRIES = 3;
/** How long a process may take to stop, in milliseconds, before it is killed. */
const PATIENCE = 10_000;

/**
 * Merges brackets in processes of their own: what makes one of them die costs its bracket and no other. Reading, merging and
 * writing of different brackets overlap; the network's engine, which takes all threads, is used by one at a time, or each of several
 * devices is. A bracket waits until its pixels fit into what the others leave of the memory.
 */
export class BracketPool {
  plan: WorkPlan;
  /** Seconds in which the network's engines computed. */
  engineSeconds = 0;
  /** Whether the engine is the network's, which one bracket at a time may use. */
  readonly network: boolean;
  private limits: ProcessLimits;
  private readonly helpers = new Set<Helper>();
  private readonly idle: Helper[] = [];
  private places: Room;
  private pixels: Room;
  private lanes: readonly Lane[] = [{ queue: [] }];
  private closed = false;

  /** @throws SmhdrError as planWork does. */
  constructor(
    settings: MergeSettings,
    private readonly options: WorkOptions,
    private readonly startProcess = forkProcess,
  ) {
    this.network = methodOf(settings) === "network";
    this.plan = planWork(this.network, options);
    this.limits = { threads: this.plan.threads, memory: this.plan.engineBytes };
    this.places = new Room(this.plan.jobs);
    this.pixels = new Room(this.plan.pixelBytes);
  }

  /** How many devices there are, as far as is known. */
  get devices(): number {
    return this.lanes.length;
  }

  /** Loads the model, so that what is missing is known before the work, and gives each of several devices brackets of its own; returns what people should know. Throws as Reconstructor.load. */
  async check(settings: MergeSettings): Promise<readonly string[]> {
    for (let tries = 1; ; tries++) {
      const helper = this.idle.pop() ?? this.start(this.lanes[0]);
      const answer = await this.ask(helper, { kind: "load", settings, limits: this.limits });
      if (answer.kind === "loaded") {
        if (answer.devices.length > 1) {
          await this.end(helper); // it holds all devices
          this.shareOut(answer.devices);
        }
        return answer.notes;
      }
      if (!died(answer) || tries === LOAD_TRIES) throw asError(answer);
    }
  }

  /** @throws SmhdrError as mergeFiles does; CANCELLED; INTERNAL where the process died. */
  async run(task: BracketTask, { signal, onProgress }: PoolRunOptions = {}): Promise<TaskResult> {
    const merge = async (spill: boolean) => {
      const notes: string[] = [];
      for (;;) {
        const lane = this.freestLane();
        const at = this.idle.findIndex((helper) => helper.lane === lane);
        const helper = at < 0 ? this.start(lane) : this.idle.splice(at, 1)[0];
        helper.onProgress = onProgress;
        const limits = { ...this.limits, device: lane.device };
        const answer = await this.ask(helper, { kind: "merge", task, limits, spill }, signal);
        if (answer.kind === "merged") return { ...answer.result, notes: [...notes, ...answer.result.notes] };
        // After some failures a device does nothing more for the process that had them; one that works for none does not load.
        if (lane.device && answer.kind === "failed" && answer.code !== "CANCELLED" && (answer.load || died(answer)))
          await this.end(helper);
        if (!this.leaveOut(lane, answer, notes)) throw asError(answer);
      }
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

  private shareOut(devices: readonly NativeDevice[]): void {
    this.lanes = devices.map((device) => ({ device, queue: [] }));
    this.plan = planWork(this.network, this.options, devices.length);
    this.limits = { threads: this.plan.threads, memory: this.plan.engineBytes };
    this.places = new Room(this.plan.jobs);
    this.pixels = new Room(this.plan.pixelBytes);
  }

  /** The one whose processes merge the fewest brackets. */
  private freestLane(): Lane {
    const busy = (lane: Lane) =>
      [...this.helpers].filter((helper) => helper.lane === lane && !this.idle.includes(helper)).length;
    return this.lanes.reduce((best, lane) => (busy(lane) < busy(best) ? lane : best));
  }

  /** Whether `answer` says that a device does not work, and others are left to do its work. */
  private leaveOut(lane: Lane, answer: FromProcess, notes: string[]): boolean {
    if (!lane.device || answer.kind !== "failed" || !answer.load || answer.code === "CANCELLED") return false;
    const others = this.lanes.filter((other) => other !== lane);
    if (others.length === 0) return false;
    if (others.length < this.lanes.length) notes.push(`${lane.device} is left out: ${answer.message}`);
    this.lanes = others;
    for (const helper of this.idle.filter((helper) => helper.lane === lane)) void this.end(helper);
    return true;
  }

  private async end(helper: Helper): Promise<void> {
    this.helpers.delete(helper);
    if (this.idle.includes(helper)) this.idle.splice(this.idle.indexOf(helper), 1);
    await end(helper.child);
  }

  private async need({ photographs, settings }: BracketTask) {
    const room = this.plan.pixelBytes;
    try {
      const { width, height, depth } = await readHeader(photographs[0], photographs[0], settings.alpha);
      const bytesPerSample = depth === "uint8" ? 1 : 2;
      const follow = (settings.follow ?? settings.align) !== "none";
      return bracketNeed({ width, height, exposures: photographs.length, bytesPerSample, follow }, this.network, room);
    } catch {
      return { bytes: 0, spill: false }; // reading it will say why
    }
  }

  private start(lane: Lane): Helper {
    if (this.closed) throw new SmhdrError("INTERNAL", "The pool of processes was closed.");
    // One thread for libvips, zlib and the engine's caller: the engine brings its own.
    const helper: Helper = { lane, child: this.startProcess(this.network ? 1 : this.limits.threads) };
    this.helpers.add(helper);
    const { child } = helper;
    child.on("message", (message: FromProcess) => this.hear(helper, message));
    const gone = (how: string) => {
      this.helpers.delete(helper);
      if (this.idle.includes(helper)) this.idle.splice(this.idle.indexOf(helper), 1);
      if (lane.queue.includes(helper)) lane.queue.splice(lane.queue.indexOf(helper), 1);
      if (lane.computing === helper) grantNext(lane);
      helper.settle?.({ kind: "failed", code: "INTERNAL", message: `The process that merged it ended (${how}).` });
    };
    child.on("exit", (code, signal) => gone(signal ?? `exit code ${code}`)).on("error", (error) => gone(error.message));
    return helper;
  }

  private hear(helper: Helper, message: FromProcess): void {
    const { lane } = helper;
    if (message.kind === "progress") helper.onProgress?.(message.fraction);
    else if (message.kind === "wait") {
      lane.queue.push(helper);
      if (!lane.computing) grantNext(lane);
    } else if (message.kind === "computed") {
      this.engineSeconds += message.seconds;
      const at = lane.queue.indexOf(helper);
      if (at >= 0) lane.queue.splice(at, 1); // stopped before its turn came
      if (lane.computing === helper) grantNext(lane);
    } else helper.settle?.(message);
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

function grantNext(lane: Lane): void {
  lane.computing = lane.queue.shift();
  if (lane.computing) send(lane.computing.child, { kind: "turn" });
}

function died(answer: FromProcess): boolean {
  return answer.kind === "failed" && answer.code === "INTERNAL";
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
function forkProcess(threads: number): ChildProcess {
  const compiled = !import.meta.url.endsWith(".ts");
  return fork(new URL(compiled ? "./process.js" : "./process.ts", import.meta.url), {
    execArgv: ["--expose-gc", ...(compiled ? [] : ["--import", import.meta.resolve("tsx")])],
    env: { ...process.env, UV_THREADPOOL_SIZE: String(threads), MALLOC_ARENA_MAX: "2" },
    stdio: ["ignore", "ignore", "inherit", "ipc"],
    // A terminal's Ctrl-C goes to the whole group: this process decides what becomes of the others.
    detached: process.platform !== "win32",
  });
}
