import type { BracketTask, TaskResult } from "./task.js";

/** Where brackets are merged: processes of this machine, or workers behind a queue. */
export interface Executor {
  /** How many tasks to hand over at once. */
  readonly capacity: number;
  /** Other machines may work here too, and failed tasks are tried again there: `run` then says how often. */
  readonly remote: boolean;
  /** @throws SmhdrError; CANCELLED once `signal` has fired. */
  run(task: BracketTask, options: ExecuteOptions): Promise<TaskResult & { readonly attempts?: number }>;
  /** The journal knows the result of a task: what was kept of it elsewhere may go. */
  forget?(task: BracketTask): Promise<void>;
  /** Seconds in which the network's engine computed so far, of several the mean; undefined where that is not known. */
  engineSeconds(): number | undefined;
  close(): Promise<void>;
}

export interface ExecuteOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the fraction of this bracket that is done. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}
