import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { loadAddon } from "../engine/addon.js";
import { instructionSet } from "../engine/devices.js";
import type { Precision } from "../engine/engine.js";
import { SmhdrError } from "../errors.js";
import { MEGAPIXELS, measureGrowth, SLOW_NETWORK } from "./growth.js";
import { MERGE_KINDS, raceMerge } from "./merge-race.js";
import { measureNative, nativeBenchmark, nativeRows } from "./native-rows.js";
import { RACED_MODELS, type RacedNetwork, raceNetwork, raceTraining } from "./network-race.js";
import { racedPrecisions } from "./precisions.js";
import type { BenchContext, Peer, Row } from "./row.js";

export interface BenchOptions {
  /** Only rows whose names contain it. */
  readonly filter?: string | undefined;
  readonly threads: number;
  readonly quick: boolean;
  /** Also the slow rows; those that `filter` names wholly run anyway. */
  readonly full: boolean;
  readonly peers: readonly Peer[];
  readonly signal: AbortSignal;
  note(message: string): void;
  /** Begins a piece of the work; the function returned takes its finished fraction. */
  stage(name: string): (fraction: number) => void;
}

/** Rows that are measured together. */
interface Piece {
  readonly names: readonly string[];
  readonly slow?: boolean;
  run(context: BenchContext, names: readonly string[]): AsyncGenerator<Row> | Promise<Row[]>;
}

const FOR_CLONES = ["train/2x128", "kernel/", "peak/", "growth/core/"];

/** All pieces of work, in the order of the table; without the native benchmark only what the addon can do. */
function allPieces(binary: string | undefined): Piece[] {
  const precisions = racedPrecisions();
  const suffixed = (names: readonly string[]): Precision[] =>
    precisions.filter((precision) =>
      names.some((name) => name.endsWith(`/${precision}`) || (precision === "fp32" && name === "train/2x128")),
    );
  const native = binary ? nativeRows(binary) : [];
  const nativePieces = (group: string): Piece[] =>
    [false, true].flatMap((slow) => {
      const names = native.filter((row) => row.name.startsWith(group) && row.slow === slow).map(({ name }) => name);
      if (!binary || names.length === 0) return [];
      return [{ names, slow, run: (context, wanted) => measureNative(context, binary, wanted) }];
    });
  const training = precisions.map((precision) => (precision === "fp32" ? "train/2x128" : `train/2x128/${precision}`));
  return [
    ...nativePieces("peak/"),
    ...(Object.keys(RACED_MODELS) as RacedNetwork[]).flatMap((network) =>
      [256, 512].map((side) => ({
        names: precisions.map((precision) => `${network}/${side}/${precision}`),
        run: (context: BenchContext, names: readonly string[]) => raceNetwork(context, network, side, suffixed(names)),
      })),
    ),
    ...(binary
      ? [
          {
            names: training,
            run: (context: BenchContext, names: readonly string[]) => raceTraining(context, binary, suffixed(names)),
          },
        ]
      : []),
    ...MERGE_KINDS.map((kind) => ({
      names: [kind.name],
      run: async (context: BenchContext) => [await raceMerge(context, kind)],
    })),
    ...nativePieces("kernel/"),
    ...(["radiance", "network"] as const).flatMap((method) =>
      MEGAPIXELS.map((megapixels) => ({
        names: [`growth/${method}/${megapixels}MP`],
        slow: method === "network" && megapixels > SLOW_NETWORK,
        run: async (context: BenchContext) => [await measureGrowth(context, method, megapixels)],
      })),
    ),
    ...nativePieces("growth/core/"),
  ];
}

/** The machine a table was made on, in one line. */
export function describeMachine(threads: number): string {
  const processors = cpus();
  const model = processors[0]?.model.trim() || "unknown processor";
  const date = new Date().toISOString().slice(0, 10);
  return `${model}, ${processors.length} processors, ${instructionSet(loadAddon())} kernels, ${threads} threads, ${process.platform} ${process.arch}, Node ${process.versions.node}, ${date}`;
}

/**
 * Measures rows and gives each as soon as it is known. What takes part must be there or is left out with a note.
 * @throws SmhdrError INVALID_ARGUMENT for a filter that leaves nothing, naming the rows; ADDON_MISSING; CANCELLED.
 */
export async function* bench(options: BenchOptions): AsyncGenerator<Row> {
  const { filter = "", full, quick, threads, peers, signal } = options;
  loadAddon();
  const binary = nativeBenchmark();
  const pieces = allPieces(binary);
  const chosen = pieces
    .map((piece) => ({ ...piece, wanted: piece.names.filter((name) => name.includes(filter)) }))
    .filter(({ wanted }) => wanted.length > 0);
  const inClones = `In a clone, npm run bench also measures: ${FOR_CLONES.join(", ")}.`;
  if (chosen.length === 0) {
    const names = pieces.flatMap((piece) => piece.names).join(", ");
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `filter: "${filter}" is in no row's name. The rows are: ${names}.${binary ? "" : ` ${inClones}`}`,
    );
  }
  const said = new Set<string>();
  const note = (message: string) => {
    if (!said.has(message)) options.note(message);
    said.add(message);
  };
  if (!binary && filter === "") note(inClones);
  if (quick) note("quick: small work, one run; no figure is its row's.");
  const runs = ({ slow, wanted }: (typeof chosen)[number]) => !slow || full || wanted.includes(filter);
  const skipped = chosen.filter((piece) => !runs(piece)).flatMap(({ wanted }) => wanted);
  if (skipped.length > 0) note(`skipped: slow rows (--full runs them): ${skipped.join(", ")}`);

  const folder = await mkdtemp(join(tmpdir(), "smhdr-bench-"));
  try {
    for (const piece of chosen.filter(runs)) {
      const progress = options.stage(piece.wanted.length > 1 ? `${piece.wanted[0]} ...` : piece.wanted[0]);
      const context: BenchContext = { threads, quick, peers, signal, folder, note, progress };
      yield* await piece.run(context, piece.wanted);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
