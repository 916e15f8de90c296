import { readFile } from "node:fs/promises";
import { SmhdrError, throwIfAborted } from "../errors.js";
import { type Contender, Missing } from "./contender.js";
import type { BenchContext } from "./row.js";

export interface RaceOptions {
  /** Runs of each that count, at most. */
  readonly rounds: number;
  /** Runs of each that count, at least, however long they take. */
  readonly least: number;
  /** Seconds for each, after which it gets no more runs than the least. */
  readonly budget: number;
}

/** What a race says of one contender. */
export interface Standing {
  /** The median. */
  readonly seconds: number;
  readonly runs: number;
  readonly peakBytes?: number | undefined;
  /** Seconds by round, with holes where it did not run. */
  readonly rounds: readonly (number | undefined)[];
}

/** How many times b's seconds a's are: the median over the rounds in which both ran. */
export function ratio(a: Standing, b: Standing): number {
  const both = a.rounds.flatMap((theirs, round) => {
    const other = b.rounds[round];
    return theirs === undefined || other === undefined ? [] : [theirs / other];
  });
  return both.length > 0 ? median(both) : a.seconds / b.seconds;
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** Starts an optional contender; where it cannot take part, says so and returns undefined. */
export async function join(
  { note }: Pick<BenchContext, "note">,
  name: string,
  start: () => Promise<Contender>,
): Promise<Contender | undefined> {
  try {
    return { ...(await start()), name, optional: true };
  } catch (error) {
    if (!(error instanceof Missing)) throw error;
    note(`skipped: ${name}: ${error.message}`);
    return undefined;
  }
}

/** Why something failed, in one line. */
const firstLine = (error: unknown) => (error as Error).message.trim().split("\n")[0];

/**
 * Lets contenders take turns, a run each, so that what slows the machine down slows all of them. The first run of each
 * warms it up and does not count unless it is long; `judge`, called after it with the names of those that ran, may throw
 * some out by name. Closes all.
 * @throws what a contender that is not optional throws; CANCELLED
 */
export async function race(
  contenders: readonly Contender[],
  options: RaceOptions,
  { signal, progress, note }: Pick<BenchContext, "signal" | "progress" | "note">,
  judge: (ran: ReadonlySet<string>) => Promise<Iterable<string>> = async () => [],
): Promise<Map<string, Standing>> {
  try {
    const times = new Map<string, (number | undefined)[]>(contenders.map(({ name }) => [name, []]));
    const spent = new Map<string, number>();
    const peaks = new Map<string, number | undefined>();
    const counted = (name: string) => times.get(name)?.filter((seconds) => seconds !== undefined) ?? [];
    const out = new Set<string>();
    const run = async (contender: Contender, round: number) => {
      throwIfAborted(signal);
      const { name, optional } = contender;
      const sample = await contender.run(round === 0).catch((error) => {
        if (!optional || signal.aborted) throw error;
        out.add(name);
        note(`skipped: ${name} failed: ${firstLine(error)}`);
      });
      if (!sample) return;
      const { seconds, peakBytes } = sample;
      peaks.set(name, peakBytes);
      spent.set(name, (spent.get(name) ?? 0) + seconds);
      const list = times.get(name);
      if (list && (round > 0 || seconds > options.budget / 3)) list[round] = seconds;
    };
    for (const [i, contender] of contenders.entries()) {
      await run(contender, 0);
      progress((i + 1) / contenders.length / (options.rounds + 1));
    }
    const ran = new Set(contenders.map(({ name }) => name).filter((name) => !out.has(name)));
    for (const name of await judge(ran)) out.add(name);
    for (let round = 1; round <= options.rounds; round++) {
      for (const contender of contenders) {
        const { name } = contender;
        const runs = counted(name).length;
        const total = spent.get(name) ?? 0;
        const affordable = total + total / round <= options.budget;
        if (out.has(name) || runs >= options.rounds || (runs >= options.least && !affordable)) continue;
        await run(contender, round);
      }
      progress((round + 1) / (options.rounds + 1));
    }
    const standings = new Map<string, Standing>();
    for (const [name, rounds] of times) {
      const all = counted(name);
      if (out.has(name)) continue;
      standings.set(name, { seconds: median(all), runs: all.length, peakBytes: peaks.get(name), rounds });
    }
    return standings;
  } finally {
    for (const contender of contenders) contender.close();
  }
}

/**
 * Compares results that contenders left in files of float32.
 * @returns the largest difference from `ours`, relative to the largest value; NaN where either is no number
 */
export async function difference(ours: string, theirs: string): Promise<number> {
  const [a, b] = await Promise.all([ours, theirs].map(readFloats));
  if (a.length !== b.length || a.length === 0) {
    throw new SmhdrError("INTERNAL", `Results of ${a.length} and ${b.length} values cannot be compared.`);
  }
  let largest = 0;
  let apart = 0;
  for (let i = 0; i < a.length; i++) {
    largest = Math.max(largest, Math.abs(a[i]));
    const gap = Math.abs(a[i] - b[i]);
    if (Number.isNaN(gap)) return gap;
    apart = Math.max(apart, gap);
  }
  return apart / largest;
}

export async function readFloats(path: string): Promise<Float32Array> {
  const bytes = await readFile(path);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}
