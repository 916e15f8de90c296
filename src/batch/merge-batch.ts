import { resolve } from "node:path";
import type { Note } from "../bracket/bracket.js";
import type { WorkOptions } from "./budget.js";
import type { Executor } from "./executor.js";
import { localExecutor } from "./local-executor.js";
import type { BatchPlan } from "./plan.js";
import { queueExecutor } from "./queue/queue-executor.js";
import type { BatchReport } from "./report.js";
import { type RunBatchOptions, runBatch } from "./run-batch.js";
import type { MergeSettings } from "./task.js";

export interface MergeBatchOptions extends RunBatchOptions, WorkOptions {
  /** Leave the merging to the workers of this queue (redis://host:port) instead of this machine; jobs, threads and memory are theirs. */
  readonly queue?: string | undefined;
  /** Called with what a person should know. */
  readonly onNote?: ((note: Note) => void) | undefined;
}

/**
 * Merges every bracket of a plan, here or by the workers of a queue. A run that was stopped or killed goes on when called again the same way.
 * @throws SmhdrError as runBatch does; as Reconstructor.load where something needed is missing; IO where no queue answers.
 */
export async function mergeBatch(plan: BatchPlan, options: MergeBatchOptions): Promise<BatchReport> {
  const settings = withAbsoluteModel(options.settings ?? {});
  const executor = await chooseExecutor(settings, options);
  try {
    return await runBatch(plan, executor, { ...options, settings });
  } finally {
    await executor.close();
  }
}

async function chooseExecutor(settings: MergeSettings, options: MergeBatchOptions): Promise<Executor> {
  const { queue, retries, jobs, threads, memory, onNote } = options;
  if (queue !== undefined) return queueExecutor(queue, { retries, onNote });
  const { executor, plan, notes } = await localExecutor(settings, { jobs, threads, memory });
  for (const message of notes) onNote?.({ code: "engine", message });
  if (jobs !== undefined && plan.jobs < jobs)
    onNote?.({ code: "jobs", message: `The memory is enough for ${plan.jobs} brackets at once.` });
  return executor;
}

/** Workers have other current folders. */
function withAbsoluteModel(settings: MergeSettings): MergeSettings {
  const { model } = settings;
  if (model === undefined || !/[/\\]|\.(safetensors|onnx)$/.test(model)) return settings;
  return { ...settings, model: resolve(model) };
}
