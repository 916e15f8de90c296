import { open } from "node:fs/promises";
import { join as joinPath } from "node:path";
import { SmhdrError } from "../errors.js";
import { startPython, startWorker } from "./contender.js";
import { Peak } from "./meter.js";
import { EXPOSURE_VALUES, type PictureSize, photograph } from "./pictures.js";
import { join, race, ratio } from "./race.js";
import type { BenchContext, Row } from "./row.js";
import type { MergeTask } from "./worker.js";

export interface MergeKind {
  readonly name: string;
  readonly depth: PictureSize["depth"];
  /** All but the reference lie elsewhere and are moved back while merging. */
  readonly moved: boolean;
}

/** The first is also OpenCV's work, which takes 8 bits and moves nothing. */
export const MERGE_KINDS: readonly MergeKind[] = [
  { name: "merge/3x24MP", depth: "uint8", moved: false },
  { name: "merge/3x24MP/16bit", depth: "uint16", moved: false },
  { name: "merge/3x24MP/aligned", depth: "uint16", moved: true },
];

/**
 * Three photographs of 24 megapixels in memory into radiance in memory, by mergeRadiance as the product calls it (its
 * analysis included), against a copy of the bytes that must be touched and against OpenCV's MergeDebevec.
 */
export async function raceMerge(context: BenchContext, { name, depth, moved }: MergeKind): Promise<Row> {
  const { threads, signal, folder, quick, peers } = context;
  const size: PictureSize = quick ? { width: 600, height: 400, depth } : { width: 6000, height: 4000, depth };
  const input = joinPath(folder, `photographs-${depth}.raw`);
  const file = await open(input, "w");
  try {
    for (const i of EXPOSURE_VALUES.keys()) await file.writeFile(new Uint8Array(photograph(size, i).buffer));
  } finally {
    await file.close();
  }
  const task: MergeTask = { kind: "merge", ...size, input, moved, threads };
  const samples = size.width * size.height * 3;
  const touched = samples * (EXPOSURE_VALUES.length * (depth === "uint8" ? 1 : 2) + 4);
  const copy = new Peak("copy", threads, touched);
  const ours = await startWorker(name, task, signal);
  const opencv =
    peers.includes("opencv") && depth === "uint8" && !moved
      ? await join(context, "opencv", () =>
          startPython("opencv", "opencv_peer.py", { ...task, exposureValues: EXPOSURE_VALUES }, signal),
        ).catch((error) => {
          ours.close();
          throw error;
        })
      : undefined;
  const options = quick ? { rounds: 1, least: 1, budget: 60 } : { rounds: 7, least: 3, budget: 60 };
  const standings = await race([ours, copy, ...(opencv ? [opencv] : [])], options, context);
  const mine = standings.get(name);
  const copied = standings.get(copy.name);
  const theirs = standings.get("opencv");
  if (!mine || !copied) throw new SmhdrError("INTERNAL", `${name} was not measured.`);
  return {
    name,
    seconds: mine.seconds,
    threads,
    gigabytesPerSecond: touched / mine.seconds / 1e9,
    fractionOfPeak: ratio(copied, mine),
    bound: "memory",
    ...(mine.peakBytes !== undefined && { memoryBytes: mine.peakBytes }),
    peers: { ...(theirs && { opencv: theirs.seconds }), copy: copied.seconds },
    ratios: { ...(theirs && { opencv: ratio(theirs, mine) }), copy: ratio(copied, mine) },
    ...(theirs?.peakBytes !== undefined && { peerMemoryBytes: { opencv: theirs.peakBytes } }),
    runs: { smhdr: mine.runs, copy: copied.runs, ...(theirs && { opencv: theirs.runs }) },
    ...(quick && { quick: true as const }),
  };
}
