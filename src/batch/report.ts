import { writeFile } from "node:fs/promises";
import { duration } from "../duration.js";
import type { ErrorCode } from "../errors.js";
import { replaceFile } from "../output/replace-file.js";
import type { LeftPhotograph } from "./photographs.js";

/** What became of one bracket. */
export interface BracketOutcome {
  readonly name: string;
  /** "present": an earlier run had merged it. */
  readonly state: "merged" | "present" | "set-aside";
  /** Absolute; those that are there. */
  readonly outputs: readonly string[];
  readonly photographs: readonly string[];
  /** Of merging; 0 where it was set aside. */
  readonly seconds: number;
  readonly attempts: number;
  readonly notes: readonly string[];
  readonly error?: { readonly code: ErrorCode; readonly message: string };
}

/** The report, in the output folder. */
export const REPORT_NAME = "smhdr-report.json";

export interface BatchReport {
  readonly brackets: number;
  readonly merged: number;
  readonly present: number;
  readonly setAside: number;
  /** Of this run, looking through what is present included. */
  readonly seconds: number;
  /** Brackets that this run merged in a minute. */
  readonly perMinute: number;
  /** The fraction of the time from the first merge to the last in which the network's engine computed. */
  readonly engineUtilisation?: number;
  readonly outcomes: readonly BracketOutcome[];
  readonly left: readonly LeftPhotograph[];
}

/** Writes the report as JSON. @throws SmhdrError IO */
export async function writeReport(report: BatchReport, path: string): Promise<void> {
  // A hundred thousand outcomes are more than one string should hold: an outcome a line.
  const { outcomes, left, ...summary } = report;
  await replaceFile(path, undefined, (temporary) => writeFile(temporary, lines({ ...summary, left }, outcomes)));
}

function* lines(summary: object, outcomes: readonly BracketOutcome[]): Generator<string> {
  yield `${JSON.stringify(summary, null, 2).slice(0, -2)},\n  "outcomes": [`;
  for (const [i, outcome] of outcomes.entries()) yield `${i === 0 ? "" : ","}\n    ${JSON.stringify(outcome)}`;
  yield outcomes.length > 0 ? "\n  ]\n}\n" : "]\n}\n";
}

/** The summary in one sentence for people. */
export function describeReport(report: BatchReport): string {
  const { brackets, merged, present, setAside, seconds, perMinute, outcomes } = report;
  const noted = outcomes.filter(({ state, notes }) => state === "merged" && notes.length > 0).length;
  const parts = [
    `${merged} of ${brackets} brackets merged in ${duration(seconds)}`,
    ...(merged > 1 ? [`${perMinute.toFixed(1)} a minute`] : []),
    ...(present > 0 ? [`${present} were there`] : []),
    ...(setAside > 0 ? [`${setAside} set aside`] : []),
    ...(noted > 0 ? [`${noted} with notes in ${REPORT_NAME}`] : []),
  ];
  return `${parts.join(", ")}.`;
}
