import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";

export function registerBuildAddon(program: Command): void {
  program
    .command("build-addon")
    .description("compile the native part from its sources, where no prebuilt one could be installed")
    .addHelpText(
      "after",
      "\nNeeds CMake 3.22 or newer and a C++20 compiler.\n\nExample:\n  npx --no-install smhdr build-addon",
    )
    .action(async () => {
      const script = fileURLToPath(new URL("../../scripts/build-addon.mjs", import.meta.url));
      const [status] = await once(spawn(process.execPath, [script], { stdio: "inherit" }), "exit");
      process.exitCode = status === 0 ? 0 : 1;
    });
}
