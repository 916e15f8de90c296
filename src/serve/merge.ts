import type { Bracket, Exposure, Note } from "../bracket/bracket.js";
import { photographOf } from "../bracket/motion.js";
import { memoryPixels } from "../bracket/pixels.js";
import { buildProxy } from "../bracket/proxy.js";
import { bracketFromMembers, type Member } from "../bracket/read-bracket.js";
import { throwIfAborted } from "../errors.js";
import type { Primaries, Radiance } from "../image.js";
import { reduceArea } from "../measure/reduce.js";
import { type GhostMap, ghostMap } from "../reconstruct/ghost-map.js";
import { Reconstructor } from "../reconstruct/reconstructor.js";
import type { JobExposure } from "./exposure.js";
import type { Models } from "./models.js";
import type { Settings } from "./settings.js";
import { sizeWithin } from "./size.js";

export type Stage = "waiting" | "reading" | "aligning" | "merging";

export interface MergeOptions {
  readonly models: Models;
  /** Bytes that the merge may take. */
  readonly memory: number;
  readonly threads: number | undefined;
  /** Longest side of a preview; undefined merges the whole pictures. */
  readonly size: number | undefined;
  readonly signal: AbortSignal;
  readonly onProgress: (stage: Stage, fraction: number) => void;
  readonly onNote: (note: Note) => void;
}

/** Stops that the reference lies above the shortest exposure. */
export function referenceStops({ ev, reference }: MergeReport): number {
  return ev[reference] ?? 0;
}

export interface MergeReport {
  readonly width: number;
  readonly height: number;
  readonly primaries: Primaries;
  /** Index into the job's exposures. */
  readonly reference: number;
  /** In the order of the job's exposures, null for those not used. */
  readonly ev: readonly (number | null)[];
  readonly evSource: Exposure["exposureSource"];
  readonly method: string;
  readonly model: string | null;
  readonly seconds: number;
}

/** What a merge leaves. */
export interface Merged {
  readonly radiance: Radiance;
  /** Made when first asked for: not everybody does. */
  readonly ghosts: () => GhostMap;
  readonly report: MergeReport;
}

/** Pixels a side of the ghost map at most. */
const GHOST_SIZE = 1024;

/**
 * Merges those of a job's exposures that `use` names, all of them complete.
 * @throws SmhdrError as Reconstructor and bracketFromMembers do; CANCELLED.
 */
export async function mergeExposures(
  exposures: readonly JobExposure[],
  use: readonly number[],
  settings: Settings,
  options: MergeOptions,
): Promise<Merged> {
  const { models, memory, threads, size, signal, onProgress, onNote } = options;
  const { ev, reference, method, model, device, precision, align, follow } = settings;
  const start = performance.now();
  onProgress("reading", 0);
  const reconstructor = await Reconstructor.load({
    method: method ?? undefined,
    model: model === null ? undefined : models.resolve(model),
    device,
    precision,
    memory,
    threads,
  });
  for (const note of reconstructor.notes) onNote(note);

  const members: Member[] = [];
  for (const [i, exposure] of use.map((index) => exposures[index]).entries()) {
    throwIfAborted(signal);
    const member = await exposure.member();
    members.push(size === undefined ? member : reduced(member, size));
    for (const note of exposure.notes) onNote(note);
    onProgress("reading", (i + 1) / use.length);
  }
  const bracket = await bracketFromMembers(members, {
    ev: ev === null ? undefined : use.map((index) => ev[index]),
    referenceMember: reference === null ? undefined : use.indexOf(reference),
    align,
    follow: follow ?? undefined,
    signal,
    onProgress: (fraction) => onProgress("aligning", fraction),
  });
  for (const note of bracket.notes) onNote(note);

  const radiance = await reconstructor.run(bracket, {
    signal,
    onNote,
    onProgress: (fraction) => onProgress("merging", fraction),
  });
  throwIfAborted(signal);
  const order = orderOf(bracket, members);
  // Of what was merged: a thing that was followed is no ghost.
  const proxyOf = ({ pixels }: Exposure, i: number) => {
    const member = members[order[i]];
    return member.pixels === pixels ? member.proxy : buildProxy(pixels);
  };
  let ghosts: GhostMap | undefined;
  const values = exposures.map((_, index) =>
    use.includes(index) ? bracket.exposures[order.indexOf(use.indexOf(index))].exposureValue : null,
  );
  return {
    radiance,
    ghosts: () => {
      ghosts ??= ghostMap(bracket, bracket.exposures.map(proxyOf), radiance, GHOST_SIZE);
      return ghosts;
    },
    report: {
      width: radiance.width,
      height: radiance.height,
      primaries: radiance.encoding.primaries,
      reference: use[order[bracket.reference]],
      ev: values,
      evSource: bracket.exposures[0].exposureSource,
      method: radiance.metadata.method ?? "radiance",
      model: radiance.metadata.model ?? null,
      seconds: Number(((performance.now() - start) / 1000).toFixed(3)),
    },
  };
}

/** For each exposure of the bracket, shortest first, which member it is. */
function orderOf(bracket: Bracket, members: readonly Member[]): number[] {
  return bracket.exposures.map(({ pixels }) => members.findIndex((member) => member.pixels === photographOf(pixels)));
}

/** A member of at most `size` pixels a side: linear light, as proxies are. */
function reduced({ name, settings, proxy, pixels }: Member, size: number): Member {
  const to = sizeWithin(size, pixels, proxy);
  const format = {
    ...to,
    depth: "float32",
    encoding: { transfer: "linear", primaries: pixels.encoding.primaries },
  } as const;
  const small = memoryPixels(format, reduceArea(proxy.data, proxy, to, 3));
  return { name, settings, pixels: small, proxy: buildProxy(small) };
}
