import { register } from "node:module";
import { bridge, countersUsed } from "./runtime.js";
import type { Target } from "./target.js";

// What scripts/fuzz.mjs starts: run.ts TARGET, then libFuzzer's arguments. With --seeds FOLDER it writes the target's
// first inputs and ends; with --list it prints the targets' names.

register("./hooks.ts", import.meta.url);
const { targets } = await import("./targets.js");
const planted = await import("./planted.js");
const { survive } = await import("./target.js");
const [name, ...rest] = process.argv.slice(2);

if (name === "--list") {
  console.log(targets.map((target) => target.name).join("\n"));
} else {
  const faults = [
    { name: "planted-error", parse: planted.plantedError },
    { name: "planted-comparison", parse: planted.plantedComparison },
    { name: "planted-loop", parse: planted.plantedLoop },
  ].map((fault) => ({ ...fault, factor: 64, longest: 16, seeds: async () => [Buffer.alloc(12)] }));
  const target: Target | undefined = [...targets, ...faults].find((one) => one.name === name);
  if (!target) throw new Error(`Expected one of ${targets.map((one) => one.name).join(", ")}, got ${name}.`);
  if (rest[0] === "--seeds") {
    const { writeFileSync } = await import("node:fs");
    for (const [i, seed] of (await target.seeds()).entries()) writeFileSync(`${rest[1]}/seed-${i}`, seed);
  } else {
    const patience = 10;
    const options = [
      `-timeout=${patience}`,
      `-max_len=${target.longest ?? 4096}`,
      "-print_funcs=0",
      "-use_value_profile=1",
    ];
    bridge.start([target.name, ...options, ...rest], patience, countersUsed(), async (bytes) => {
      try {
        await survive(target, bytes);
        bridge.finished();
      } catch (error) {
        bridge.finished(error instanceof Error ? (error.stack ?? error.message) : String(error));
      }
    });
  }
}
