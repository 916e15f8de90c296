import type { Job } from "bullmq";
import type { Note } from "../../bracket/bracket.js";
import { loadAddon } from "../../engine/addon.js";
import { SmhdrError } from "../../errors.js";
import { removeTemporaries } from "../../output/replace-file.js";
import { methodOf } from "../../reconstruct/reconstructor.js";
import { planWork, type WorkOptions } from "../budget.js";
import { BracketPool } from "../pool.js";
import type { BracketTask, MergeSettings } from "../task.js";
import { cancelKey, connectQueue, PREFIX, QUEUE } from "./connection.js";
import type { QueueResult } from "./queue-executor.js";

export interface QueueWorkerOptions extends WorkOptions {
  /** Where the queue is: redis://host:port. */
  readonly queue: string;
  /** Beginnings of paths as the submitter sees them, and what they are on this machine. */
  readonly paths?: readonly (readonly [from: string, to: string])[] | undefined;
  /** Seconds without a sign of life after which a worker's brackets are taken over by others. Default 30. */
  readonly stalledAfter?: number | undefined;
  /** Ends the work: brackets in hand are finished, no more are taken. */
  readonly signal?: AbortSignal | undefined;
  readonly onNote?: ((note: Note) => void) | undefined;
  /** Called when a bracket was merged. */
  readonly onMerged?: ((task: BracketTask, result: QueueResult) => void) | undefined;
}

/** Milliseconds between looks for requests to stop, and between news of a bracket's progress. */
const LOOK = 500;
const NEWS = 1000;
/** How often a bracket may be taken over from workers that died before it is given up. */
const MOST_TAKEOVERS = 20;

/**
 * Takes brackets off the queue and merges them until `signal` fires.
 * @throws SmhdrError as connectQueue does; as planWork for networks and loadAddon do: where a worker cannot merge, it takes no brackets from others.
 */
export async function runQueueWorker(options: QueueWorkerOptions): Promise<void> {
  const { queue, paths = [], stalledAfter = 30, signal, onNote, onMerged } = options;
  planWork(true, options);
  loadAddon();
  const { bullmq, connection, redis } = await connectQueue(queue);
  const pools = new PoolKeeper(options);
  const running = new Map<string, AbortController>();

  const process = async (
    job: Job<BracketTask, QueueResult>,
    _token?: string,
    lost?: AbortSignal,
  ): Promise<QueueResult> => {
    const id = job.id as string;
    const controller = new AbortController();
    const abort = () => controller.abort();
    lost?.addEventListener("abort", abort);
    running.set(id, controller);
    try {
      const task = here(job.data, paths);
      // Whoever had it before is dead, or has lost it.
      if (job.attemptsStarted > 1) await removeTemporaries(task.outputs, () => true);
      let told = 0;
      const result = await pools.run(task, (pool) => {
        worker.concurrency = pool.plan.jobs;
        return pool.run(task, {
          signal: controller.signal,
          onProgress: (fraction) => {
            if (Date.now() - told < NEWS) return;
            told = Date.now();
            job.updateProgress(fraction).catch(() => {});
          },
        });
      });
      const done = { ...result, attempts: job.attemptsStarted };
      onMerged?.(task, done);
      return done;
    } catch (error) {
      const { code, message } = error instanceof SmhdrError ? error : { code: "INTERNAL", message: String(error) };
      if (code === "CANCELLED") throw new bullmq.UnrecoverableError(`${code}: ${message}`);
      onNote?.({ code: "failed", message: `${job.data.name}: ${message}` });
      throw new Error(`${code}: ${message}`);
    } finally {
      running.delete(id);
      lost?.removeEventListener("abort", abort);
    }
  };
  const worker = new bullmq.Worker<BracketTask, QueueResult>(QUEUE, process, {
    ...{ connection, prefix: PREFIX, concurrency: 1, maxStalledCount: MOST_TAKEOVERS },
    lockDuration: 1000 * stalledAfter,
    stalledInterval: 1000 * stalledAfter,
  });
  let said = "";
  worker.on("error", (error) => {
    if (said !== error.message) onNote?.({ code: "queue", message: `Redis: ${error.message}` });
    said = error.message;
  });
  worker.on("lockRenewalFailed", (ids) => {
    for (const id of ids) running.get(id)?.abort(); // another worker may have it by now
  });
  const look = setInterval(async () => {
    const ids = [...running.keys()];
    const asked = ids.length > 0 ? await redis.mget(ids.map(cancelKey)).catch(() => []) : [];
    for (const [i, cancelled] of asked.entries()) if (cancelled) running.get(ids[i])?.abort();
  }, LOOK);
  try {
    await new Promise<void>((resolve) => {
      if (signal?.aborted) resolve();
      signal?.addEventListener("abort", () => resolve(), { once: true });
    });
    await worker.close();
  } finally {
    clearInterval(look);
    await pools.close();
    redis.disconnect();
  }
}

/** The task with its paths as they are on this machine. */
function here(task: BracketTask, paths: readonly (readonly [string, string])[]): BracketTask {
  const translate = (path: string) => {
    const [from, to] = paths.find(([start]) => path.startsWith(start)) ?? ["", ""];
    return to + path.slice(from.length);
  };
  const { model } = task.settings;
  return {
    ...task,
    photographs: task.photographs.map(translate),
    outputs: task.outputs.map(translate),
    settings: { ...task.settings, ...(model !== undefined && { model: translate(model) }) },
  };
}

/** One pool at a time, made for the method that is asked for: two would share out the memory twice. */
class PoolKeeper {
  private pool: BracketPool | undefined;
  private network: boolean | undefined;
  private users = 0;
  private idle: (() => void)[] = [];

  constructor(private readonly options: WorkOptions) {}

  async run<T>({ settings }: BracketTask, work: (pool: BracketPool) => Promise<T>): Promise<T> {
    const pool = await this.poolFor(settings);
    this.users++;
    try {
      return await work(pool);
    } finally {
      if (--this.users === 0) for (const wake of this.idle.splice(0)) wake();
    }
  }

  async close(): Promise<void> {
    await this.pool?.close();
  }

  private async poolFor(settings: MergeSettings): Promise<BracketPool> {
    const network = methodOf(settings) === "network";
    while (this.pool && this.network !== network && this.users > 0)
      await new Promise<void>((resolve) => this.idle.push(resolve));
    if (!this.pool || this.network !== network) {
      const old = this.pool;
      const { jobs, threads, memory } = this.options;
      this.pool = new BracketPool(settings, { jobs, threads, memory });
      this.network = network;
      await old?.close();
    }
    return this.pool;
  }
}
