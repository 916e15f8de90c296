import { SmhdrError } from "../errors.js";
import { startWorker } from "./contender.js";
import { PUBLISHED_MULTIPLY_ADDS } from "./forward-cost.js";
import { RACED_MODELS } from "./network-race.js";
import { race } from "./race.js";
import type { BenchContext, Row } from "./row.js";

export const MEGAPIXELS = [0.25, 1, 4, 12, 24, 45] as const;
/** Above this many megapixels the network takes minutes. */
export const SLOW_NETWORK = 4;

/**
 * How time and memory grow with the picture: three 8-bit photographs in memory through Reconstructor with its default
 * memory limit (the network: whole or in tiles; radiance: in strips), in a process that does nothing else. Its peak
 * includes Node and the photographs.
 */
export async function measureGrowth(
  context: BenchContext,
  method: "network" | "radiance",
  megapixels: number,
): Promise<Row> {
  const { threads, signal, quick } = context;
  const name = `growth/${method}/${megapixels}MP`;
  const height = Math.round(Math.sqrt(((quick ? 0.04 : megapixels) * 1e6) / 1.5));
  const size = { width: Math.round(1.5 * height), height, depth: "uint8" } as const;
  const worker = await startWorker(
    name,
    { kind: "growth", ...size, method, model: RACED_MODELS.smnet, threads },
    signal,
  );
  const options = quick ? { rounds: 1, least: 1, budget: 60 } : { rounds: 3, least: 1, budget: 15 };
  const standing = (await race([worker], options, context)).get(name);
  if (!standing) throw new SmhdrError("INTERNAL", `${name} was not measured.`);
  const pixels = size.width * size.height;
  return {
    name,
    seconds: standing.seconds,
    threads,
    ...(method === "network" && { gflops: (2 * PUBLISHED_MULTIPLY_ADDS * pixels) / standing.seconds / 1e9 }),
    ...(method === "radiance" && { gigabytesPerSecond: (pixels * 21) / standing.seconds / 1e9 }),
    ...(standing.peakBytes !== undefined && { memoryBytes: standing.peakBytes }),
    peers: {},
    runs: { smhdr: standing.runs },
    ...(quick && { quick: true as const }),
  };
}
