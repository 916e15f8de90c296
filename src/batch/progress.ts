import type { BatchProgress } from "./run-batch.js";

/** Counts what is done, and foretells what is left from the pace of this run. */
export class ProgressCounter {
  merged = 0;
  present = 0;
  setAside = 0;
  private readonly start = performance.now();
  private readonly parts = new Map<string, number>();

  constructor(
    private readonly total: number,
    private readonly tell: ((progress: BatchProgress) => void) | undefined,
  ) {}

  get seconds(): number {
    return (performance.now() - this.start) / 1000;
  }

  get perMinute(): number {
    return this.seconds > 0 ? (60 * this.merged) / this.seconds : 0;
  }

  /** A bracket in work has come so far. */
  part(id: string, fraction: number): void {
    this.parts.set(id, fraction);
    this.report();
  }

  finish(id: string | undefined, kind: "merged" | "present" | "setAside"): void {
    if (id !== undefined) this.parts.delete(id);
    this[kind]++;
    this.report();
  }

  /** A bracket in work stopped without a result. */
  drop(id: string): void {
    this.parts.delete(id);
  }

  private report(): void {
    const { total, merged, present, setAside, seconds } = this;
    let inWork = 0;
    for (const fraction of this.parts.values()) inWork += fraction;
    const tried = merged + setAside + inWork;
    const left = total - present - tried;
    this.tell?.({
      fraction: total > 0 ? (present + tried) / total : 1,
      total,
      merged,
      present,
      setAside,
      perMinute: seconds > 0 ? (60 * (merged + inWork)) / seconds : 0,
      secondsLeft: tried > 0 ? (seconds * left) / tried : undefined,
    });
  }
}
