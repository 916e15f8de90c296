import { dirname, extname } from "node:path";
import { lightInStops } from "../bracket/metadata.js";
import { MAX_EXPOSURES } from "../bracket/read-bracket.js";
import { byName } from "./by-name.js";
import type { FoundPhotograph, LeftPhotograph } from "./photographs.js";

export interface GroupOptions {
  /** Seconds between the end of one photograph and the beginning of the next that still are one bracket. Default 2. */
  readonly gap?: number | undefined;
  /** How many photographs a bracket has. Default: found from the exposures. */
  readonly exposures?: number | undefined;
}

/** Photographs that belong together, shortest exposure first, and what told so. */
export interface FoundBracket {
  readonly photographs: readonly FoundPhotograph[];
  readonly why: string;
}

/** Exposures closer than this, in stops, are the same: cameras' finest step is a third. */
const SAME = 0.17;
/** Photographs whose exposures span less are a burst, unless the camera says that it bracketed. */
const LEAST_SPAN = 1;

/**
 * Finds brackets by what cameras write: photographs of one folder, camera, size, format, focal length and aperture, each taken
 * soon after the one before it, whose exposures differ. A camera's own count within its bracket comes first; then the shortest
 * pattern of exposures that repeats; then every exposure that was there already begins a new bracket.
 */
export function groupPhotographs(
  photographs: readonly FoundPhotograph[],
  { gap = 2, exposures }: GroupOptions = {},
): { readonly brackets: FoundBracket[]; readonly left: LeftPhotograph[] } {
  const brackets: FoundBracket[] = [];
  const left: LeftPhotograph[] = [];
  for (const alike of partition(photographs)) {
    const timed = alike.filter(({ capture }) => capture.settings.time !== undefined);
    for (const { path, capture } of alike)
      if (capture.settings.time === undefined)
        left.push({ path, reason: "its EXIF has no exposure time; use --pattern" });
    for (const burst of bursts(timed, gap)) {
      for (const { members, by } of cut(burst, exposures)) {
        const reason = whyNot(members, exposures, gap);
        if (reason) left.push(...members.map(({ path }) => ({ path, reason })));
        else brackets.push({ photographs: [...members].sort((a, b) => stops(a) - stops(b)), why: by });
      }
    }
  }
  const first = ({ photographs }: FoundBracket) =>
    photographs.map(({ path }) => path).reduce((a, b) => (byName(a, b) <= 0 ? a : b));
  return { brackets: brackets.sort((a, b) => byName(first(a), first(b))), left };
}

const stops = ({ capture }: FoundPhotograph) => lightInStops(capture.settings);

/** Photographs that could be of one bracket at all. */
function partition(photographs: readonly FoundPhotograph[]): FoundPhotograph[][] {
  const parts = new Map<string, FoundPhotograph[]>();
  for (const photograph of photographs) {
    const { path, width, height, capture } = photograph;
    const format = extname(path).toLowerCase().replace("jpeg", "jpg").replace("tiff", "tif");
    const key = JSON.stringify([dirname(path), format, capture.camera, width, height]);
    const part = parts.get(key);
    if (part) part.push(photograph);
    else parts.set(key, [photograph]);
  }
  return [...parts.values()];
}

/** Runs of photographs without a pause or a change of lens settings between them. Without clocks, the order of names. */
function bursts(photographs: readonly FoundPhotograph[], gap: number): FoundPhotograph[][] {
  const clocks = photographs.every(({ capture }) => capture.takenAt !== undefined);
  const order = [...photographs].sort(
    (a, b) => (clocks ? (a.capture.takenAt as number) - (b.capture.takenAt as number) : 0) || byName(a.path, b.path),
  );
  const runs: FoundPhotograph[][] = [];
  for (const photograph of order) {
    const last = runs.at(-1)?.at(-1);
    if (last && follows(last, photograph, clocks ? gap : undefined)) runs.at(-1)?.push(photograph);
    else runs.push([photograph]);
  }
  return runs;
}

function follows({ capture: a }: FoundPhotograph, { capture: b }: FoundPhotograph, gap: number | undefined): boolean {
  const pause = (b.takenAt ?? 0) - (a.takenAt ?? 0) - 1000 * (a.settings.time ?? 0) - (a.clockStep ?? 0);
  if (gap !== undefined && pause > 1000 * gap) return false;
  if (a.settings.fNumber !== b.settings.fNumber || a.focalLength !== b.focalLength) return false;
  return (a.bracketing ?? b.bracketing) === (b.bracketing ?? a.bracketing);
}

interface Cut {
  readonly members: FoundPhotograph[];
  readonly by: string;
}

function cut(burst: FoundPhotograph[], exposures: number | undefined): Cut[] {
  const says = burst.every(({ capture }) => capture.bracketing) ? "the camera's bracketing" : "";
  const because = (what: string) => [says, what].filter(Boolean).join(", ");
  const counts = burst.map(({ capture }) => capture.sequence);
  if (!exposures && says && counts.every((count) => count !== undefined))
    return split(burst, (i) => (counts[i] as number) <= (counts[i - 1] as number), because("its count"));
  const size = exposures ?? MAX_EXPOSURES;
  const period = exposures ? undefined : repeats(burst.map(stops));
  if (period) return split(burst, (i) => i % period === 0, because(`${period} exposures repeat`));
  let start = 0;
  const again = (i: number) => {
    const known = burst.slice(start, i).some((other) => Math.abs(stops(other) - stops(burst[i])) < SAME);
    if (known || i - start >= size) start = i;
    return start === i;
  };
  return split(burst, again, because("time and exposures"));
}

function split(burst: FoundPhotograph[], begins: (index: number) => boolean, by: string): Cut[] {
  const cuts: { members: FoundPhotograph[]; by: string }[] = [];
  for (const [i, photograph] of burst.entries()) {
    if (i === 0 || begins(i)) cuts.push({ members: [], by });
    cuts[cuts.length - 1].members.push(photograph);
  }
  return cuts;
}

/**
 * The length of the pattern that a series of exposures repeats, if it does. From one time to the next all may shift together by
 * less than half a step: automatic exposure follows the light.
 */
function repeats(series: readonly number[]): number | undefined {
  for (let period = 2; period <= Math.min(MAX_EXPOSURES, series.length / 2); period++) {
    if (series.length % period !== 0) continue;
    const pattern = series.slice(0, period).sort((a, b) => a - b);
    const step = Math.min(...pattern.slice(1).map((value, i) => value - pattern[i]));
    if (step < SAME) continue;
    const fits = series.every((value, i) => {
      const block = i - (i % period);
      const shift = series[block] - series[0];
      return Math.abs(shift) < step / 2 && Math.abs(value - series[i % period] - shift) < SAME;
    });
    if (fits) return period;
  }
  return undefined;
}

/** Why photographs that were taken together are no bracket. */
function whyNot(members: readonly FoundPhotograph[], exposures: number | undefined, gap: number): string | undefined {
  if (members.length === 1) return `no other exposure was taken within ${gap} s of it (--gap)`;
  if (exposures && members.length !== exposures)
    return `taken with ${members.length - 1} others; expected ${exposures}`;
  const light = members.map(stops);
  const span = Math.max(...light) - Math.min(...light);
  const bracketing = members.every(({ capture }) => capture.bracketing);
  if (span < (bracketing ? SAME : LEAST_SPAN)) return "a burst: its exposures differ by less than a stop";
  return undefined;
}
