import { basename, dirname, extname, join, resolve } from "node:path";
import { SmhdrError, shown } from "../errors.js";
import { byName } from "./by-name.js";
import { type GroupOptions, groupPhotographs } from "./group.js";
import { groupByName } from "./name-pattern.js";
import { type FoundPhotograph, findPhotographs, type LeftPhotograph, type SearchOptions } from "./photographs.js";

/** A bracket to merge. */
export interface PlannedBracket {
  /** Names the result: a path without extension, with "/" between its parts. */
  readonly name: string;
  /** Absolute paths. */
  readonly photographs: readonly string[];
  /** Exposure values in stops, one for each photograph, where EXIF is not to tell. */
  readonly ev?: readonly number[];
  readonly reference?: number;
  /** For people: what the photographs are, and what told that they belong together. */
  readonly about?: string;
}

/** What a batch will merge, and the photographs that it will not. */
export interface BatchPlan {
  readonly brackets: readonly PlannedBracket[];
  readonly left: readonly LeftPhotograph[];
}

export interface PlanOptions extends GroupOptions, SearchOptions {
  /** Groups by names instead, such as "{bracket}_{exposure}": see groupByName. */
  readonly pattern?: string | undefined;
}

/**
 * Finds the brackets in folders of mixed photographs.
 * @throws SmhdrError IO where a folder cannot be read, INVALID_ARGUMENT, CANCELLED.
 */
export async function planBatch(folders: readonly string[], options: PlanOptions = {}): Promise<BatchPlan> {
  if (!Array.isArray(folders))
    throw new SmhdrError("INVALID_ARGUMENT", `folders: expected an array of paths; got ${shown(folders)}.`);
  if (folders.length === 0) throw new SmhdrError("INVALID_ARGUMENT", "folders: expected at least one; got none.");
  const found = await findPhotographs(folders, options);
  // Of several folders, each keeps its name.
  const prefix = (path: string) => {
    const folder = folders.map((each) => resolve(each)).find((each) => path.startsWith(join(each, "/")));
    return folders.length > 1 && folder ? `${basename(folder)}/` : "";
  };
  if (options.pattern !== undefined) {
    const { brackets, left } = groupByName(found.photographs, options.pattern);
    return {
      brackets: brackets.map(({ name, photographs, ev }) => ({
        name: `${prefix(photographs[0].path)}${name}`,
        photographs: photographs.map(({ path }) => path),
        ...(ev && { ev }),
        about: about(photographs, "names", ev),
      })),
      left: [...found.left, ...left],
    };
  }
  const { brackets, left } = groupPhotographs(found.photographs, options);
  return {
    brackets: brackets.map(({ photographs, why }) => {
      const [first] = [...photographs].sort((a, b) => byName(a.path, b.path));
      const name = first.relative.slice(0, first.relative.length - extname(first.relative).length);
      return {
        name: `${prefix(first.path)}${name}`,
        photographs: photographs.map(({ path }) => path),
        about: about(photographs, why),
      };
    }),
    left: [...found.left, ...left],
  };
}

/** "6000 x 4000; 1/200 1/50 1/13 s; 2026-05-01 12:03:04; time and exposures". */
function about(photographs: readonly FoundPhotograph[], why: string, ev?: readonly number[]): string {
  const [{ width, height, capture }] = photographs;
  const times = photographs.map(({ capture: { settings } }) => shutter(settings.time));
  const exposures = ev ? `${ev.join(" ")} EV` : times.includes("?") ? "" : `${times.join(" ")} s`;
  const taken =
    capture.takenAt === undefined ? "" : new Date(capture.takenAt).toISOString().slice(0, 19).replace("T", " ");
  return [`${width} x ${height}`, exposures, taken, why].filter(Boolean).join("; ");
}

function shutter(seconds: number | undefined): string {
  if (seconds === undefined) return "?";
  return seconds < 0.4 ? `1/${Math.round(1 / seconds)}` : String(Number(seconds.toPrecision(2)));
}

/** The plan as lines of a table for people: name, count, what is known, the photographs. */
export function planTable({ brackets, left }: BatchPlan): string {
  const rows = brackets.map(({ name, photographs, about = "" }) => [
    name,
    String(photographs.length),
    about,
    photographs.map((path) => basename(path)).join(" "),
  ]);
  const header = ["bracket", "of", "what told", "photographs"];
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i]))
      .join("  ")
      .trimEnd();
  const reasons = new Map<string, string[]>();
  for (const { path, reason } of left) reasons.set(reason, [...(reasons.get(reason) ?? []), path]);
  return [
    ...(rows.length > 0 ? [line(header), ...rows.map(line)] : []),
    ...[...reasons].map(([reason, paths]) => {
      const where = [...new Set(paths.map(dirname))].length === 1 ? dirname(paths[0]) : "several folders";
      const few = paths.slice(0, 8).map((path) => basename(path));
      return `left: ${paths.length} in ${where}, ${reason}: ${few.join(" ")}${paths.length > 8 ? " ..." : ""}`;
    }),
  ].join("\n");
}
