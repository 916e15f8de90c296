#!/usr/bin/env node
import { createRequire } from "node:module";
import { Command, CommanderError } from "commander";
import { registerBatch } from "./batch.js";
import { registerBench } from "./bench.js";
import { registerBuildAddon } from "./build-addon.js";
import { registerDevices } from "./devices.js";
import { registerEvaluate } from "./evaluate.js";
import { registerExport } from "./export.js";
import { registerFinetune } from "./finetune.js";
import { registerImport } from "./import.js";
import { registerMerge } from "./merge.js";
import { registerReport } from "./report.js";
import { registerSegment } from "./segment.js";
import { registerServe } from "./serve.js";
import { registerSynthesize } from "./synthesize.js";
import { registerTrain } from "./train.js";
import { registerWorker } from "./worker.js";

const { version, description } = createRequire(import.meta.url)("../../package.json");

const program = new Command("smhdr")
  .description(`${description}.`)
  .version(version, "-v, --version")
  .showHelpAfterError("(smhdr --help, or smhdr <command> --help, shows how to call it)")
  .exitOverride();
registerMerge(program);
registerBatch(program);
registerWorker(program);
registerDevices(program);
registerBuildAddon(program);
registerBench(program);
registerServe(program);
registerSynthesize(program);
registerSegment(program);
registerEvaluate(program);
registerTrain(program);
registerFinetune(program);
registerReport(program);
registerImport(program);
registerExport(program);

// A reader that has seen enough (smhdr ... | head) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? 0 : 2; // commander has printed its message, for people
  if (process.exitCode !== 0 && process.argv.includes("--json")) {
    const message = error.message.replace(/^error: /, "");
    console.log(JSON.stringify({ event: "error", code: "INVALID_ARGUMENT", message }));
  }
}
