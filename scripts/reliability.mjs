// npm run reliability: the long forms of the tests in test/reliability (every *.long.ts there; an argument picks those
// whose name contains it): soaks, signals, full disks, inputs that change. An hour or so; RELIABILITY.md tells what came of them.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { root } from "./build-addon.mjs";
import { setUp } from "./setup.mjs";

try {
  await setUp();
  const folder = join(root, "test", "reliability");
  const chosen = process.argv.slice(2);
  const files = readdirSync(folder)
    .filter((name) => name.endsWith(".long.ts") && (chosen.length === 0 || chosen.some((word) => name.includes(word))))
    .sort()
    .map((name) => join(folder, name));
  if (files.length === 0) throw new Error(`No long test in test/reliability is named ${chosen.join(" or ")}.`);
  // One after the other: they measure memory and moments.
  const args = ["--import", "tsx", "--test", "--test-concurrency=1", "--test-reporter=spec", ...files];
  process.exitCode = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" }).status ?? 1;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
