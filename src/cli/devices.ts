import type { Command } from "commander";
import { listDevices } from "../engine/devices.js";
import { runCommand } from "./run-command.js";

export function registerDevices(program: Command): void {
  program
    .command("devices")
    .description("list the devices that can do the computing")
    .option("--json", "print one JSON object a line")
    .addHelpText("after", "\nExamples:\n  smhdr devices\n  smhdr devices --json")
    .action((options: { json?: boolean }) =>
      runCommand(options, async (reporter) => {
        for (const device of await listDevices()) {
          const { name, model, threads, instructionSet, precisions } = device;
          const facts = [model, threads && `${threads} threads`, instructionSet && `${instructionSet} kernels`];
          if (precisions) facts.push(precisions.join(" and "));
          reporter.result(`${name}\t${facts.filter(Boolean).join(", ")}`, { ...device });
        }
      }),
    );
}
