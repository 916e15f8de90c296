import { resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { mergeBatch } from "../batch/merge-batch.js";
import { DEFAULT_NAME, NAME_FIELDS } from "../batch/output-names.js";
import { type BatchPlan, planBatch, planTable } from "../batch/plan.js";
import { readPlan, writePlan } from "../batch/plan-file.js";
import { describeReport, REPORT_NAME } from "../batch/report.js";
import { type BatchProgress, JOURNAL_NAME } from "../batch/run-batch.js";
import { duration } from "../duration.js";
import { SmhdrError } from "../errors.js";
import { collect, parseCount } from "./arguments.js";
import {
  addLimitOptions,
  addMergeOptions,
  type LimitOptions,
  type MergeOptions,
  mergeSettings,
} from "./merge-options.js";
import type { Reporter } from "./reporter.js";
import { runCommand } from "./run-command.js";

interface BatchCommandOptions extends MergeOptions, LimitOptions {
  readonly output?: string;
  readonly name?: string[];
  readonly plan?: string;
  readonly dryRun?: boolean;
  readonly pattern?: string;
  readonly exposures?: number;
  readonly gap: number;
  readonly sameExposure?: boolean;
  readonly jobs?: number;
  readonly queue?: string;
  readonly retries: number;
  readonly overwrite?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

const help = `
Brackets are found by capture time, exposures, camera and size, and by what cameras note about bracketing; look at them with
--dry-run first. --plan FILE keeps what was found as JSON: correct it, then run it by naming no folder. Photographs
without EXIF are grouped by --pattern: {bracket} is what a bracket's names share, {exposure} what differs, {ev} stops, * anything.
A name takes ${NAME_FIELDS}.
Whatever stops a run, the same command goes on from there: ${JOURNAL_NAME} in the output folder knows what is done. ${REPORT_NAME}
beside it tells what became of every bracket. Results do not depend on --jobs.

Examples:
  smhdr batch photos --dry-run                                           show the brackets
  smhdr batch photos -o merged --name "{name}.exr" --name "{name}.jpg"   two files a bracket
  smhdr batch photos --dry-run --plan plan.json                          keep them, to correct ...
  smhdr batch --plan plan.json -o merged                                 ... and run
  smhdr batch sets -o merged --pattern "{bracket}/{exposure}"            a folder a bracket
  smhdr batch photos -o merged --queue redis://10.0.0.5                  merged by smhdr worker processes
  smhdr batch panorama -o merged --same-exposure                         one absolute scale for all results`;

export function registerBatch(program: Command): void {
  const command = program
    .command("batch")
    .description("find the brackets in folders of photographs and merge them all")
    .argument("[folder...]", "where the photographs are, folders in them included")
    .option("-o, --output <dir>", "folder of the results")
    .option("--name <template>", `name of a result (default: ${DEFAULT_NAME}); may be repeated`, collect)
    .option("--dry-run", "show the brackets, merge nothing")
    .option("--plan <file>", "write what was found; without folders: read what to merge")
    .option("--pattern <names>", 'group by names, such as "{bracket}_{exposure}"')
    .option("--exposures <n>", "photographs per bracket (default: as found)", parseCount(2))
    .option("--gap <seconds>", "longest pause within a bracket", parseSeconds, 2)
    .option("--same-exposure", "one absolute scale for all results, by exposure time, f-number and ISO")
    .option("--jobs <n>", "brackets in work at once (default: by threads and memory)", parseCount(1))
    .option("--queue <address>", "leave the merging to smhdr worker processes behind this Redis (redis://host:port)")
    .option("--retries <n>", "how often a bracket that fails is tried again", parseCount(0), 2)
    .option("--overwrite", "replace files that no run of this batch wrote");
  addLimitOptions(addMergeOptions(command))
    .option("--json", "print one JSON object a line: progress, notes, every bracket, the summary")
    .option("--quiet", "no progress bar, no notes")
    .addHelpText("after", help)
    .action((folders: string[], options: BatchCommandOptions) =>
      runCommand(options, (reporter, signal) => batch(folders, options, reporter, signal)),
    );
}

function parseSeconds(text: string): number {
  const seconds = text.trim() === "" ? Number.NaN : Number(text);
  if (!(seconds >= 0)) throw new InvalidArgumentError("Expected seconds, 0 or more.");
  return seconds;
}

async function batch(
  folders: string[],
  options: BatchCommandOptions,
  reporter: Reporter,
  signal: AbortSignal,
): Promise<void> {
  const { output, dryRun, name: names, sameExposure, retries, overwrite } = options;
  const plan = await choosePlan(folders, options, reporter, signal);
  if (dryRun) {
    reporter.result(planTable(plan), { brackets: plan.brackets, left: plan.left });
    return;
  }
  if (output === undefined) throw new SmhdrError("INVALID_ARGUMENT", "-o: expected the folder of the results.");
  if (plan.brackets.length === 0)
    throw new SmhdrError(
      "BAD_INPUT",
      `No brackets were found.\n${planTable(plan)}\nSee smhdr batch --dry-run, --pattern.`,
    );
  const { jobs, threads, memory, queue } = options;
  let progress: ((fraction: number, detail?: string) => void) | undefined;
  const report = await mergeBatch(plan, {
    ...{ output, names, settings: mergeSettings(options), sameExposure, retries, overwrite, signal },
    ...{ jobs, threads, memory, queue },
    onNote: (note) => reporter.note(note),
    onProgress: (state) => {
      progress ??= reporter.stage("Merging");
      progress(state.fraction, describeProgress(state));
    },
    onOutcome: (outcome) => {
      const { name, state, outputs, error } = outcome;
      if (state === "merged") reporter.result(outputs.join("\n"), { bracket: name, ...outcome });
      if (error) reporter.note({ code: "set-aside", message: `${name} was set aside: ${error.message}` });
      if (state === "merged" || error) progress = undefined; // what was printed took the bar off the terminal
    },
  });
  const { outcomes, left, ...summary } = report;
  reporter.note({ code: "summary", message: describeReport(report) });
  if (options.json) reporter.result("", { summary: true, ...summary, left: left.length });
  if (report.setAside > 0) {
    const [first] = outcomes.filter(({ error }) => error);
    const code = first.error?.code === "INVALID_ARGUMENT" ? "BAD_INPUT" : (first.error?.code ?? "INTERNAL");
    const where = `${resolve(output, REPORT_NAME)} says why`;
    throw new SmhdrError(code, `${report.setAside} of ${report.brackets} brackets were set aside; ${where}.`);
  }
}

async function choosePlan(
  folders: string[],
  { plan: file, output, pattern, exposures, gap }: BatchCommandOptions,
  reporter: Reporter,
  signal: AbortSignal,
): Promise<BatchPlan> {
  if (folders.length === 0) {
    if (file === undefined) throw new SmhdrError("INVALID_ARGUMENT", "folder: expected at least one, or --plan FILE.");
    return readPlan(file);
  }
  const exclude = new Set(
    output === undefined || folders.some((folder) => resolve(folder) === resolve(output)) ? [] : [resolve(output)],
  );
  const onProgress = reporter.stage("Looking");
  const plan = await planBatch(folders, { pattern, exposures, gap, exclude, signal, onProgress });
  if (file !== undefined) await writePlan(plan, file);
  return plan;
}

function describeProgress({ merged, total, present, setAside, perMinute, secondsLeft }: BatchProgress): string {
  const parts = [
    `${merged + present} of ${total}`,
    ...(perMinute > 0 ? [`${perMinute.toFixed(perMinute < 10 ? 1 : 0)} a minute`] : []),
    ...(secondsLeft !== undefined ? [`${duration(secondsLeft)} left`] : []),
    ...(setAside > 0 ? [`${setAside} set aside`] : []),
  ];
  return parts.join(", ");
}
