import { join } from "node:path";
import type { Command } from "commander";
import { writeReport } from "../train/report.js";
import { runCommand } from "./run-command.js";

export function registerReport(program: Command): void {
  program
    .command("report")
    .description("write a page about a training run: plots, maps and pictures in one HTML file")
    .argument("<run>", "folder of the run")
    .option("-o, --output <file>", "where to write (default: RUN/report.html)")
    .option("--json", "print one JSON object a line")
    .action((run: string, options: { output?: string; json?: boolean }) =>
      runCommand(options, async (reporter, signal) => {
        const path = options.output ?? join(run, "report.html");
        await writeReport(run, path, signal);
        reporter.result(path, { report: path });
      }),
    );
}
