import type { Command } from "commander";
import { listDevices } from "../engine/devices.js";
import { runCommand } from "./run-command.js";

export function registerDevices(program: Command): void {
  program
    .command("devices")
    .description("list the devices that can do the computing, and why a GPU cannot")
    .option("--json", "print one JSON object a line")
    .addHelpText("after", "\nExamples:\n  smhdr devices\n  smhdr devices --json")
    .action((options: { json?: boolean }) =>
      runCommand(options, async (reporter) => {
        for (const device of await listDevices()) {
          const { name, model, threads, instructionSet, precisions, capability, memory, unavailable } = device;
          const facts = [model, threads && `${threads} threads`, instructionSet && `${instructionSet} kernels`];
          if (capability) facts.push(`compute capability ${capability.toFixed(1)}`);
          if (memory) facts.push(`${(memory / 2 ** 30).toFixed(1)} GiB`);
          if (unavailable) facts.push(model === "none" ? unavailable : `cannot be used: ${unavailable}`);
          else if (precisions) facts.push(precisions.join(" and "));
          reporter.result(`${name}\t${facts.filter(Boolean).join(", ")}`, { ...device });
        }
      }),
    );
}
