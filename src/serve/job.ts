import { randomBytes } from "node:crypto";
import type { Exposure, Note } from "../bracket/bracket.js";
import { checkGiven, findExposureValues } from "../bracket/exposure-value.js";
import type { Room } from "../room.js";
import { describeError, type ErrorReport, ServiceError } from "./errors.js";
import type { JobExposure } from "./exposure.js";
import { type Merged, type MergeOptions, type MergeReport, mergeExposures, type Stage } from "./merge.js";
import { type MergeRequest, type Settings, withSettings } from "./settings.js";

export type JobState = "open" | "waiting" | "merging" | "done" | "failed" | "cancelled";

/** A job as clients see it. */
export interface JobReport {
  readonly id: string;
  readonly state: JobState;
  readonly width: number | null;
  readonly height: number | null;
  readonly exposures: readonly { readonly name: string; readonly complete: boolean; readonly ev: number | null }[];
  readonly settings: Settings;
  readonly progress: { readonly stage: Stage; readonly fraction: number } | null;
  readonly notes: readonly Note[];
  readonly error: ErrorReport | null;
  readonly result: MergeReport | null;
}

export type JobEvent =
  | { readonly event: "progress"; readonly data: NonNullable<JobReport["progress"]> }
  | { readonly event: "note"; readonly data: Note }
  | { readonly event: "done" | "failed" | "cancelled"; readonly data: JobReport };

export interface ExposureValueReport {
  readonly values: readonly (number | null)[];
  readonly source: Exposure["exposureSource"];
  readonly notes: readonly Note[];
}

export interface JobContent<E extends JobExposure> {
  readonly width: number | null;
  readonly height: number | null;
  readonly exposures: readonly E[];
  readonly settings: Settings;
}

/** One bracket on its way through the service, and what came of it. */
export class Job<E extends JobExposure = JobExposure> {
  readonly id = randomBytes(12).toString("base64url");
  readonly exposures: readonly E[];
  width: number | null;
  height: number | null;
  merged: Merged | undefined;
  /** Requests that are being answered, event streams among them: the job does not expire meanwhile. */
  requests = 0;
  touched = performance.now();
  private state: JobState = "open";
  private settings: Settings;
  private progress: JobReport["progress"] = null;
  private notes: Note[] = [];
  private error: ErrorReport | null = null;
  private values: readonly (number | null)[] | undefined;
  private running: { readonly controller: AbortController; readonly ended: Promise<void> } | undefined;
  private readonly listeners = new Set<(event: JobEvent) => void>();

  constructor({ width, height, exposures, settings }: JobContent<E>) {
    this.width = width;
    this.height = height;
    this.exposures = exposures;
    this.settings = settings;
    this.checkSettings(settings);
  }

  get busy(): boolean {
    return this.running !== undefined;
  }

  report(): JobReport {
    const { id, state, width, height, settings, progress, notes, error } = this;
    const exposures = this.exposures.map(({ name, complete }, i) => ({ name, complete, ev: this.values?.[i] ?? null }));
    const result = state === "done" ? (this.merged?.report ?? null) : null;
    return { id, state, width, height, exposures, settings, progress, notes, error, result };
  }

  /** The exposure at that index. Throws NOT_FOUND. */
  exposure(index: number): E {
    const exposure = this.exposures[index];
    if (exposure) return exposure;
    throw new ServiceError("NOT_FOUND", `exposure: expected 0 to ${this.exposures.length - 1}; got ${index}.`);
  }

  /** Throws CONFLICT while a merge reads the pixels. */
  checkIdle(): void {
    if (this.busy) throw new ServiceError("CONFLICT", "The job is being merged: wait for it, or cancel it first.");
  }

  /** The last merge. Throws CONFLICT before there is one. */
  result(): Merged {
    if (this.state === "done" && this.merged) return this.merged;
    throw new ServiceError("CONFLICT", `There is no result yet: the job is ${this.state}.`);
  }

  /** Exposure values in the order of the exposures, null for those not in `use`, from EXIF or the pixels. */
  async exposureValues(use: readonly number[]): Promise<ExposureValueReport> {
    this.checkComplete(use);
    const members = await Promise.all(use.map((i) => this.exposures[i].member()));
    const { order, values, source, notes } = findExposureValues(members);
    const all = this.exposures.map((_, i) => (use.includes(i) ? values[order.indexOf(use.indexOf(i))] : null));
    return { values: all, source, notes };
  }

  /** The exposures that settings name. */
  used({ use }: Pick<Settings, "use">): readonly number[] {
    return use ?? this.exposures.map((_, i) => i);
  }

  /**
   * Begins a merge, which waits for its turn. What it comes to is told by report() and events.
   * @throws ServiceError CONFLICT while one runs, BAD_INPUT before all exposures are complete, INVALID_ARGUMENT
   */
  start(request: MergeRequest, turn: Room, options: Pick<MergeOptions, "models" | "memory" | "threads">): void {
    this.checkIdle();
    const settings = withSettings(this.settings, request);
    this.checkSettings(settings);
    if (settings.model !== null) options.models.resolve(settings.model);
    const use = this.used(settings);
    this.checkComplete(use);
    this.settings = settings;
    this.merged = undefined;
    this.values = undefined;
    this.notes = [];
    this.error = null;
    this.state = "waiting";
    this.setProgress("waiting", 0);
    const controller = new AbortController();
    const { signal } = controller;
    const work = async () => {
      this.state = "merging";
      return mergeExposures(this.exposures, use, settings, {
        ...options,
        size: request.size,
        signal,
        onProgress: (stage, fraction) => this.setProgress(stage, fraction),
        onNote: (note) => this.addNote(note),
      });
    };
    const ended = turn.run(1, work, signal).then(
      (merged) => this.end("done", merged),
      (error: unknown) => this.end(signal.aborted ? "cancelled" : "failed", undefined, error),
    );
    this.running = { controller, ended };
  }

  /** Stops waiting or merging; resolves when it has. */
  async cancel(): Promise<void> {
    this.running?.controller.abort();
    await this.running?.ended;
  }

  /** Stops what runs, tells who listens and frees everything. */
  async close(): Promise<void> {
    await this.cancel();
    if (this.state === "open") this.state = "cancelled";
    this.emit({ event: "cancelled", data: this.report() });
    for (const exposure of this.exposures) exposure.close();
    this.merged = undefined;
  }

  /** Calls `listener` with what happens from now on; returns what takes it off again. */
  listen(listener: (event: JobEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** The event that an ended merge ended with. */
  lastEvent(): JobEvent | undefined {
    const { state } = this;
    return state === "done" || state === "failed" || state === "cancelled"
      ? { event: state, data: this.report() }
      : undefined;
  }

  private end(state: "done" | "failed" | "cancelled", merged?: Merged, error?: unknown): void {
    this.running = undefined;
    this.progress = null;
    this.state = state;
    this.merged = merged;
    this.values = merged?.report.ev;
    if (state !== "done") {
      this.error =
        state === "cancelled"
          ? { code: "CANCELLED", message: "The merge was cancelled." }
          : describeError(error).report;
    }
    this.touched = performance.now();
    this.emit({ event: state, data: this.report() });
  }

  private setProgress(stage: Stage, fraction: number): void {
    const percent = Math.floor(fraction * 100) / 100;
    if (this.progress?.stage === stage && this.progress.fraction === percent) return;
    this.progress = { stage, fraction: percent };
    this.emit({ event: "progress", data: this.progress });
  }

  private addNote(note: Note): void {
    this.notes.push(note);
    this.emit({ event: "note", data: note });
  }

  private emit(event: JobEvent): void {
    for (const listener of [...this.listeners]) listener(event);
  }

  private checkComplete(use: readonly number[]): void {
    const at = use.find((i) => !this.exposure(i).complete);
    if (at === undefined) return;
    const { name, missing } = this.exposures[at];
    throw new ServiceError("BAD_INPUT", `exposure ${at} (${name}): ${missing}.`);
  }

  private checkSettings({ use, ev, reference }: Settings): void {
    const count = this.exposures.length;
    const unknown = use?.find((i) => i >= count);
    if (unknown !== undefined) {
      throw new ServiceError("INVALID_ARGUMENT", `use: expected indices from 0 to ${count - 1}; got ${unknown}.`);
    }
    if (ev !== null) checkGiven(ev, count);
    if (reference !== null && reference >= count) {
      throw new ServiceError("INVALID_ARGUMENT", `reference: expected 0 to ${count - 1} or null; got ${reference}.`);
    }
    if (reference !== null && use !== null && !use.includes(reference)) {
      throw new ServiceError(
        "INVALID_ARGUMENT",
        `reference: expected one of use, ${use.join(", ")}; got ${reference}.`,
      );
    }
  }
}
