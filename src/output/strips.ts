import { availableParallelism } from "node:os";
import { promisify } from "node:util";
import { deflate } from "node:zlib";
import { throwIfAborted } from "../errors.js";

const deflateAsync = promisify(deflate);

export interface StripWork {
  readonly count: number;
  /** The bytes of strip i; it may be called ahead of `store`. */
  readonly prepare: (index: number) => Uint8Array;
  /** Called in order. */
  readonly store: (index: number, deflated: Uint8Array, raw: Uint8Array) => Promise<void>;
  /** Of deflate; undefined stores the strips as they are. */
  readonly level: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** Deflates strips in zlib's threads, a few at a time, and stores them in order. */
export async function deflateStrips({ count, prepare, store, level, signal, onProgress }: StripWork): Promise<void> {
  const ahead = Math.min(8, availableParallelism() + 1);
  const waiting: { raw: Uint8Array; deflated: Promise<Uint8Array> }[] = [];
  let next = 0;
  try {
    for (let i = 0; i < count; i++) {
      for (; next < count && next < i + ahead; next++) {
        const raw = prepare(next);
        const deflated = level === undefined ? Promise.resolve(raw) : deflateAsync(raw, { level });
        deflated.catch(() => {}); // told by the await below, or no longer of interest
        waiting.push({ raw, deflated });
      }
      const { raw, deflated } = waiting.shift() as (typeof waiting)[number];
      await store(i, await deflated, raw);
      throwIfAborted(signal);
      onProgress?.((i + 1) / count);
    }
  } finally {
    await Promise.allSettled(waiting.map((strip) => strip.deflated));
  }
}

/** The largest finite float32. */
const MAX_FLOAT = 3.4028234663852886e38;

/**
 * Copies values, putting 0 for NaN and +-`limit` for what is beyond it: no file gets a NaN or an infinity.
 * Negative values stay: colours outside the primaries have them.
 */
export function copyFinite(from: Float32Array, to: Float32Array, limit = MAX_FLOAT): void {
  for (let i = 0; i < from.length; i++) {
    const value = from[i];
    to[i] = value > limit ? limit : value < -limit ? -limit : Number.isNaN(value) ? 0 : value;
  }
}
