import { loadAddon, type NativeMeter } from "../engine/addon.js";
import { finishTask } from "../engine/task.js";
import type { Contender } from "./contender.js";

export type PeakKind = "fp32" | "bf16" | "triad" | "copy";

/** A peak of this machine as a contender: its runs are loops that do nothing else. */
export class Peak implements Contender {
  readonly name: string;
  private meter: NativeMeter | undefined;
  private amount = 0;

  /** `bytes`: read and written by a copy. */
  constructor(
    private readonly kind: PeakKind,
    private readonly threads: number,
    private readonly bytes?: number,
  ) {
    this.name = `peak/${kind}`;
  }

  async run(): Promise<{ seconds: number }> {
    const addon = loadAddon();
    this.meter ??= addon.createMeter(this.threads);
    const meter = this.meter;
    const { amount, seconds } = await finishTask(() => addon.meterSample(meter, this.kind, this.bytes));
    this.amount = amount;
    return { seconds };
  }

  /** Operations or bytes of a run, known after the first. */
  get work(): number {
    return this.amount;
  }

  close(): void {
    this.meter = undefined;
  }
}
