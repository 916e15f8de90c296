import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import type { Job, Queue } from "bullmq";
import type { Note } from "../../bracket/bracket.js";
import { type ErrorCode, SmhdrError, throwIfAborted } from "../../errors.js";
import type { ExecuteOptions, Executor } from "../executor.js";
import type { BracketTask, TaskResult } from "../task.js";
import { cancelKey, connectQueue, PREFIX, QUEUE, type QueuePackages } from "./connection.js";

/** What a worker returns for a task. */
export interface QueueResult extends TaskResult {
  readonly attempts: number;
}

export interface QueueExecutorOptions {
  /** Further attempts at a task that failed. Default 2. */
  readonly retries?: number | undefined;
  readonly onNote?: ((note: Note) => void) | undefined;
}

/** Brackets on the queue at once: enough for many workers, and little in Redis' memory. */
const WINDOW = 500;
/** Milliseconds between looks at a job whose news may have been missed. */
const LOOK = 5000;
/** Seconds that a request to stop stands, and milliseconds that a worker may take to heed it. */
const CANCEL_SECONDS = 60;
const PATIENCE = 20_000;
/** So often results may be absent that workers have written. */
const MOST_ABSENT = 2;
/** Seconds that results which nobody fetched are kept. */
const KEPT_SECONDS = 14 * 24 * 3600;
/** Before the first further attempt, in milliseconds; doubled for every one after it. */
const FIRST_PAUSE = 1000;
/** Milliseconds after which to say that there are no workers. */
const LONELY = 5000;

interface Waiting {
  readonly settle: () => void;
  readonly onProgress: ExecuteOptions["onProgress"];
}

/**
 * Merges by workers behind a BullMQ queue (smhdr worker). A submitter that died finds its brackets again when it is started
 * anew: those on the queue are not put there twice, and results that were not fetched are.
 * @throws SmhdrError as connectQueue does.
 */
export async function queueExecutor(url: string, options: QueueExecutorOptions = {}): Promise<Executor> {
  const packages = await connectQueue(url);
  return new QueueExecutor(packages, options);
}

class QueueExecutor implements Executor {
  readonly capacity = WINDOW;
  readonly remote = true;
  private readonly queue: Queue<BracketTask, QueueResult>;
  private readonly events: InstanceType<QueuePackages["bullmq"]["QueueEvents"]>;
  private readonly waiting = new Map<string, Waiting>();
  private readonly lonely: NodeJS.Timeout;

  constructor(
    private readonly packages: QueuePackages,
    private readonly options: QueueExecutorOptions,
  ) {
    const { bullmq, connection } = packages;
    this.queue = new bullmq.Queue(QUEUE, { connection, prefix: PREFIX });
    this.events = new bullmq.QueueEvents(QUEUE, { connection, prefix: PREFIX });
    let told = "";
    const tell = ({ message }: Error) => {
      if (told !== message) options.onNote?.({ code: "queue", message: `Redis: ${message}` });
      told = message;
    };
    this.queue.on("error", tell);
    this.events.on("error", tell);
    this.events.on("completed", ({ jobId }) => this.waiting.get(jobId)?.settle());
    this.events.on("failed", ({ jobId }) => this.waiting.get(jobId)?.settle());
    this.events.on("progress", ({ jobId, data }) => {
      if (typeof data === "number") this.waiting.get(jobId)?.onProgress?.(data);
    });
    this.lonely = setTimeout(() => void this.lookForWorkers(), LONELY);
  }

  engineSeconds(): undefined {
    return undefined;
  }

  async run(task: BracketTask, { signal, onProgress }: ExecuteOptions): Promise<QueueResult> {
    const id = jobIdOf(task);
    for (let absent = 0; ; ) {
      throwIfAborted(signal);
      const job = await this.put(task, id);
      const news = await this.newsOf(id, onProgress, signal);
      if (news === "cancelled") {
        await this.cancel(job, id);
        throw new SmhdrError("CANCELLED", "Cancelled.", { cause: signal?.reason });
      }
      const found = await this.queue.getJob(id);
      const state = await found?.getState();
      if (found && state === "completed" && (await isWritten(task, found.returnvalue))) return found.returnvalue;
      if (found && state === "failed") throw asError(found.failedReason);
      // Not finished after all, gone from Redis, or its files are gone: looked after again.
      if (!found || state !== "completed") continue;
      await found.remove();
      // Once, they may have been deleted since.
      if (++absent === MOST_ABSENT)
        throw new SmhdrError(
          "IO",
          `${task.outputs.join(", ")}: workers wrote it, but it is not there. Expected a folder that all machines share; see smhdr worker --map.`,
        );
    }
  }

  async forget(task: BracketTask): Promise<void> {
    await this.queue.remove(jobIdOf(task)).catch(() => {}); // Redis will let it go in time
  }

  async close(): Promise<void> {
    clearTimeout(this.lonely);
    await Promise.allSettled([this.events.close(), this.queue.close()]);
    this.packages.redis.disconnect();
  }

  /** Has the task on the queue, once; one that had failed begins anew. */
  private async put(task: BracketTask, id: string): Promise<Job<BracketTask, QueueResult>> {
    const known = await this.queue.getJob(id);
    if (known && (await known.isFailed())) await known.remove();
    const { retries = 2 } = this.options;
    await this.packages.redis.del(cancelKey(id)); // of a run that was stopped and started anew at once
    return this.queue.add("merge", task, {
      jobId: id,
      attempts: retries + 1,
      backoff: { type: "exponential", delay: FIRST_PAUSE },
      removeOnComplete: { age: KEPT_SECONDS },
      removeOnFail: { age: KEPT_SECONDS },
    });
  }

  /** Waits until a job finished, or may have. */
  private newsOf(
    id: string,
    onProgress: ExecuteOptions["onProgress"],
    signal: AbortSignal | undefined,
  ): Promise<"look" | "cancelled"> {
    return new Promise((resolve) => {
      const finish = (news: "look" | "cancelled") => {
        clearInterval(look);
        signal?.removeEventListener("abort", stop);
        this.waiting.delete(id);
        resolve(news);
      };
      const stop = () => finish("cancelled");
      // Events are not kept for ever, nor told of what happened before.
      const check = async () => {
        const state = await this.queue.getJobState(id).catch(() => "waiting");
        if (state === "completed" || state === "failed" || state === "unknown") finish("look");
      };
      const look = setInterval(check, LOOK);
      this.waiting.set(id, { settle: () => finish("look"), onProgress });
      signal?.addEventListener("abort", stop, { once: true });
      if (signal?.aborted) stop();
      else void check();
    });
  }

  /** Takes a job off the queue; the worker that has it is asked to stop, and waited for. */
  private async cancel(job: Job<BracketTask, QueueResult>, id: string): Promise<void> {
    const deadline = Date.now() + PATIENCE;
    await this.packages.redis.set(cancelKey(id), "1", "EX", CANCEL_SECONDS).catch(() => {});
    while (Date.now() < deadline) {
      // Refused while a worker has it.
      const removed = await job.remove().then(
        () => true,
        () => false,
      );
      if (removed) break;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await this.packages.redis.del(cancelKey(id)).catch(() => {});
  }

  private async lookForWorkers(): Promise<void> {
    const count = await this.queue.getWorkersCount().catch(() => 1);
    if (count > 0) return;
    const message = "No worker is there yet: start smhdr worker --queue on the machines that shall merge.";
    this.options.onNote?.({ code: "queue", message });
  }
}

/** The same for the same results in the same place. */
function jobIdOf({ id, outputs }: BracketTask): string {
  return createHash("sha256")
    .update(JSON.stringify([id, outputs]))
    .digest("hex")
    .slice(0, 32);
}

async function isWritten({ outputs }: BracketTask, { bytes }: QueueResult): Promise<boolean> {
  const sizes = await Promise.all(
    outputs.map((path) =>
      stat(path).then(
        ({ size }) => size,
        () => -1,
      ),
    ),
  );
  return sizes.every((size, i) => size === bytes[i]);
}

/** Workers fail with "CODE: message". */
function asError(reason: string): SmhdrError {
  const [, code, message] = /^([A-Z_]+): ([\s\S]*)$/.exec(reason) ?? [];
  if (code) return new SmhdrError(code as ErrorCode, message);
  return new SmhdrError("INTERNAL", `The workers that took it died or failed (${reason}).`);
}
