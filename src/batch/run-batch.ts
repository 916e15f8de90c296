import { setMaxListeners } from "node:events";
import { access, stat, statfs } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SmhdrError, throwIfAborted } from "../errors.js";
import { makeFolder } from "../output/make-folder.js";
import { removeTemporaries } from "../output/replace-file.js";
import { absoluteScales } from "./absolute-scale.js";
import type { Executor } from "./executor.js";
import { type DoneRecord, Journal } from "./journal.js";
import { keepPhotographs } from "./keep-photographs.js";
import { isGone, takeLock } from "./lock.js";
import { DEFAULT_NAME, outputNames } from "./output-names.js";
import type { BatchPlan } from "./plan.js";
import { ProgressCounter } from "./progress.js";
import { type BatchReport, type BracketOutcome, REPORT_NAME, writeReport } from "./report.js";
import { type AbsoluteScale, type BracketTask, type MergeSettings, makeTask } from "./task.js";

export interface RunBatchOptions {
  /** The folder of the results; made where it does not exist. The journal and the report lie in it. */
  readonly output: string;
  /** Templates of the results' names, one for each file a bracket shall have (output-names.ts). Default "{name}.exr". */
  readonly names?: readonly string[] | undefined;
  readonly settings?: MergeSettings | undefined;
  /** One absolute scale for all results instead of each bracket's own. */
  readonly sameExposure?: boolean | undefined;
  /** How often a bracket that fails is tried again, after others. Default 2. */
  readonly retries?: number | undefined;
  /** Replace files that no earlier run of this batch wrote. Default: their brackets are set aside. */
  readonly overwrite?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: BatchProgress) => void) | undefined;
  /** Called when a bracket is done, present or set aside. */
  readonly onOutcome?: ((outcome: BracketOutcome) => void) | undefined;
}

export interface BatchProgress {
  /** Of the brackets, those in work in part. */
  readonly fraction: number;
  readonly total: number;
  readonly merged: number;
  readonly present: number;
  readonly setAside: number;
  readonly perMinute: number;
  readonly secondsLeft: number | undefined;
}

export const JOURNAL_NAME = "smhdr-journal.txt";
const LOCK_NAME = "smhdr-batch.lock";
const DEFAULT_RETRIES = 2;
/** Before the first further attempt, in milliseconds; doubled for every one after it. */
const FIRST_PAUSE = 500;
/** Below so many bytes a disk is full. */
const LEAST_FREE = 1 << 20;

interface Attempt {
  readonly index: number;
  readonly tries: number;
  readonly notBefore: number;
}

/**
 * Merges every bracket of a plan: each once, whatever happens. What the journal in the output folder knows as done, by photographs and settings
 * that have not changed since, is not done again; a bracket that fails is tried again later and then set aside. A full disk, or an output folder that is gone,
 * stops the run, for it is no bracket's fault: the next run goes on. The report is written at the end.
 * @throws SmhdrError INVALID_ARGUMENT for names that collide, with each other or with a photograph, IO, CANCELLED.
 */
export async function runBatch(plan: BatchPlan, executor: Executor, options: RunBatchOptions): Promise<BatchReport> {
  const { names = [DEFAULT_NAME], settings = {}, signal } = options;
  const output = resolve(options.output);
  const files = outputNames(plan.brackets, names);
  await keepPhotographs(plan.brackets, files, output);
  throwIfAborted(signal);
  await makeFolder(output);
  const unlock = await takeLock(join(output, LOCK_NAME));
  try {
    const scales = options.sameExposure ? await absoluteScales(plan.brackets) : undefined;
    const journal = await Journal.open(join(output, JOURNAL_NAME));
    try {
      const run = new BatchRun(plan, executor, options, { output, files, settings, scales, journal });
      const report = await run.all();
      await writeReport(report, join(output, REPORT_NAME));
      return report;
    } finally {
      await journal.close();
    }
  } finally {
    await unlock();
  }
}

interface Workplace {
  readonly output: string;
  /** Of every bracket, from the output folder. */
  readonly files: readonly string[][];
  readonly settings: MergeSettings;
  readonly scales: readonly AbsoluteScale[] | undefined;
  readonly journal: Journal;
}

class BatchRun {
  private readonly waiting: Attempt[];
  private readonly outcomes: BracketOutcome[] = [];
  private readonly done = new Map<string, DoneRecord>();
  /** Files that runs of this batch have begun to write. */
  private readonly ours = new Set<string>();
  private readonly counter: ProgressCounter;
  private readonly swept = new Map<string, Promise<void>>();
  /** The outputs of all brackets by their folder. */
  private readonly outputsIn = new Map<string, string[]>();
  /** Fires with the run's signal, and when something stops the run. */
  private readonly stop = new AbortController();
  private firstStart: number | undefined;
  private lastEnd = 0;

  constructor(
    private readonly plan: BatchPlan,
    private readonly executor: Executor,
    private readonly options: RunBatchOptions,
    private readonly place: Workplace,
  ) {
    setMaxListeners(0, this.stop.signal); // hundreds of brackets wait on it at once
    this.waiting = plan.brackets.map((_, index) => ({ index, tries: 0, notBefore: 0 })).reverse();
    for (const record of place.journal.records) {
      if (record.kind === "done") this.done.set(record.id, record);
      if (record.kind === "begun") for (const name of record.outputs) this.ours.add(name);
    }
    for (const path of place.files.flat().map((name) => join(place.output, name))) {
      const beside = this.outputsIn.get(dirname(path));
      if (beside) beside.push(path);
      else this.outputsIn.set(dirname(path), [path]);
    }
    this.counter = new ProgressCounter(plan.brackets.length, options.onProgress);
  }

  async all(): Promise<BatchReport> {
    const { signal } = this.options;
    const abort = () => this.stop.abort(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      const lanes = Math.min(this.executor.capacity, this.plan.brackets.length);
      const ended = await Promise.allSettled(Array.from({ length: lanes }, () => this.lane()));
      throwIfAborted(signal);
      const failed = ended.find((lane) => lane.status === "rejected");
      if (failed) throw failed.reason;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    return this.report();
  }

  /** Takes brackets until there are none. */
  private async lane(): Promise<void> {
    try {
      for (let next = this.waiting.pop(); next && !this.stop.signal.aborted; next = this.waiting.pop())
        await this.one(next);
    } catch (error) {
      this.stop.abort(error);
      throw error;
    }
  }

  private async one({ index, tries, notBefore }: Attempt): Promise<void> {
    const { output, files, settings, scales, journal } = this.place;
    const { signal } = this.stop;
    if (notBefore > Date.now()) await sleep(notBefore - Date.now(), undefined, { signal }).catch(() => {});
    if (signal.aborted) return;
    const names = files[index];
    const task = await makeTask(this.plan.brackets[index], names, output, settings, scales?.[index]);
    if (tries === 0) {
      const known = this.done.get(task.id);
      if (known && (await isThere(output, known))) return this.finish(index, task, { state: "present", record: known });
      const foreign = await this.foreign(task, names);
      if (foreign) return this.setAside(index, task, 1, foreign);
      if (!this.executor.remote) await this.sweep(task);
      await journal.append({ kind: "begun", id: task.id, outputs: names });
      for (const name of names) this.ours.add(name);
    }
    this.firstStart ??= performance.now();
    try {
      const onProgress = (fraction: number) => this.counter.part(task.id, fraction);
      const { bytes, seconds, notes, attempts = tries + 1 } = await this.executor.run(task, { signal, onProgress });
      const outputs = names.map((path, i) => ({ path, bytes: bytes[i] }));
      const record: DoneRecord = { kind: "done", id: task.id, name: task.name, outputs, seconds, attempts, notes };
      await journal.append(record);
      await this.executor.forget?.(task);
      this.lastEnd = performance.now();
      this.finish(index, task, { state: "merged", record });
    } catch (error) {
      this.counter.drop(task.id);
      if (signal.aborted) return;
      if (!(error instanceof SmhdrError)) throw error;
      await this.stopIfHopeless(error);
      const retries = this.executor.remote ? 0 : (this.options.retries ?? DEFAULT_RETRIES);
      if (tries < retries)
        this.waiting.unshift({ index, tries: tries + 1, notBefore: Date.now() + FIRST_PAUSE * 2 ** tries });
      else await this.setAside(index, task, tries + 1, error);
    }
  }

  /** Deletes what killed processes left in the folders of a task's outputs, once for each folder. */
  private async sweep({ outputs }: BracketTask): Promise<void> {
    for (const folder of new Set(outputs.map(dirname))) {
      let swept = this.swept.get(folder);
      if (!swept) {
        swept = removeTemporaries(this.outputsIn.get(folder) ?? [], isGone);
        this.swept.set(folder, swept);
      }
      await swept;
    }
  }

  /** What stands where a result shall go and is not this batch's. */
  private async foreign(task: BracketTask, names: readonly string[]): Promise<SmhdrError | undefined> {
    if (this.options.overwrite) return undefined;
    for (const [i, path] of task.outputs.entries()) {
      if (this.ours.has(names[i]) || !(await stat(path).catch(() => undefined))) continue;
      const why = "is there and was not written by this batch; move it, or use --overwrite";
      return new SmhdrError("INVALID_ARGUMENT", `${path} ${why}.`);
    }
    return undefined;
  }

  /** Throws where the next brackets would fail in the same way. */
  private async stopIfHopeless(error: SmhdrError): Promise<void> {
    const { output } = this.place;
    if (error.code === "ADDON_MISSING" && !this.executor.remote) throw error;
    if (error.code !== "IO") return;
    const goOn = "The same command goes on from here once that is put right.";
    await access(output).catch((cause) => {
      throw new SmhdrError("IO", `${output}: the output folder is gone. ${goOn}`, { cause });
    });
    const { bavail, bsize } = await statfs(output);
    if (bavail * bsize < LEAST_FREE || /no space left|read-only/.test(error.message))
      throw new SmhdrError("IO", `${error.message} ${goOn}`, { cause: error });
  }

  private async setAside(index: number, task: BracketTask, attempts: number, error: SmhdrError): Promise<void> {
    const { id, name, photographs } = task;
    const { code, message } = error;
    await this.place.journal.append({ kind: "set-aside", id, name, code, message });
    await this.executor.forget?.(task);
    const outcome = { name, photographs, outputs: [], seconds: 0, attempts, notes: [], error: { code, message } };
    this.add(index, id, { ...outcome, state: "set-aside" });
  }

  private finish(
    index: number,
    { id, name, photographs, outputs }: BracketTask,
    { state, record: { seconds, attempts, notes } }: { state: "merged" | "present"; record: DoneRecord },
  ): void {
    this.add(index, id, { name, state, photographs, outputs, seconds, attempts, notes });
  }

  private add(index: number, id: string, outcome: BracketOutcome): void {
    this.outcomes[index] = outcome;
    this.counter.finish(id, outcome.state === "set-aside" ? "setAside" : outcome.state);
    this.options.onOutcome?.(outcome);
  }

  private report(): BatchReport {
    const { merged, present, setAside, seconds, perMinute } = this.counter;
    const engine = this.executor.engineSeconds();
    const worked = (this.lastEnd - (this.firstStart ?? 0)) / 1000;
    return {
      brackets: this.plan.brackets.length,
      merged,
      present,
      setAside,
      seconds: round(seconds),
      perMinute: round(perMinute),
      ...(engine !== undefined && merged > 0 && { engineUtilisation: round(engine / worked) }),
      outcomes: this.outcomes,
      left: this.plan.left,
    };
  }
}

async function isThere(output: string, { outputs }: DoneRecord): Promise<boolean> {
  for (const { path, bytes } of outputs) {
    const found = await stat(join(output, path)).catch(() => undefined);
    if (found?.size !== bytes) return false;
  }
  return true;
}

const round = (value: number) => Number(value.toPrecision(4));
