import { createRequire } from "node:module";

/** native/fuzz/bridge.cpp. */
export interface Bridge {
  counterArray(): ArrayBuffer;
  start(args: readonly string[], patience: number, used: number, onInput: (bytes: Buffer) => void): void;
  finished(failure?: string): void;
  compared(site: number, a: number, b: number): void;
  comparedText(site: number, a: string, b: string): void;
}

export const bridge: Bridge = createRequire(import.meta.url)(process.env.SMHDR_FUZZ_BRIDGE ?? "");

const counters = new Uint8Array(bridge.counterArray());
let used = 0;
let sites = 0;

/** How many counters the modules loaded so far have. */
export const countersUsed = () => used;

function tell(site: number, a: unknown, b: unknown): void {
  if (typeof a === "number" && typeof b === "number") {
    if (Number.isInteger(a) && Number.isInteger(b)) bridge.compared(site, a, b);
  } else if (typeof a === "string" && typeof b === "string") {
    if (a !== b && a.length < 100 && b.length < 100) bridge.comparedText(site, a, b);
  }
}

/** What an instrumented module (instrument.ts) calls. */
function instrumented(count: number, comparisons: number) {
  if (used + count > counters.length)
    throw new Error("The code has more branches than native/fuzz/bridge.cpp counters.");
  const hits = counters.subarray(used, used + count);
  const first = sites;
  used += count;
  sites += comparisons;
  const compare =
    <T>(decide: (a: T, b: T) => boolean) =>
    (site: number, a: T, b: T) => {
      tell(first + site, a, b);
      return decide(a, b);
    };
  return {
    hits,
    compare: {
      same: compare<unknown>((a, b) => a === b),
      different: compare<unknown>((a, b) => a !== b),
      less: compare<number>((a, b) => a < b),
      lessOrSame: compare<number>((a, b) => a <= b),
      more: compare<number>((a, b) => a > b),
      moreOrSame: compare<number>((a, b) => a >= b),
    },
  };
}

(globalThis as Record<string, unknown>).__fuzz = { module: instrumented };
