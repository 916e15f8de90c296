// Builds the native tests with sanitizers, into build/sanitize-*, and runs them: memory errors, leaks and undefined
// behaviour in one build, data races in another. `npm run sanitize -- thread merge_test` picks sanitizers and tests.
// With --addon it builds the addon so instead and runs the TypeScript tests that load it (see sanitize-addon.mjs).
import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { dropForeignBuild, requireTools, root, run } from "./build-addon.mjs";
import { sanitizeAddon } from "./sanitize-addon.mjs";

const sanitizers = {
  address: {
    flags: "address,undefined",
    env: {
      ASAN_OPTIONS: "detect_leaks=1:detect_stack_use_after_return=1:strict_init_order=1",
      UBSAN_OPTIONS: "print_stacktrace=1",
    },
  },
  thread: { flags: "thread", env: { TSAN_OPTIONS: "halt_on_error=1:second_deadlock_stack=1" } },
};
const timeLimit = 20 * 60_000; // of one test: far beyond what any takes, so that a hang ends

function build(name) {
  const folder = join(root, "build", `sanitize-${name}`);
  dropForeignBuild(folder);
  const ninja = spawnSync("ninja", ["--version"]).status === 0 ? ["-G", "Ninja"] : [];
  const configure = ["-S", root, "-B", folder, `-DSMHDR_SANITIZE=${sanitizers[name].flags}`, ...ninja];
  const compile = ["--build", folder, "--parallel", String(availableParallelism())];
  if (!run("cmake", configure) || !run("cmake", compile)) throw new Error(`The ${name} build failed: see above.`);
  const list = spawnSync("ctest", ["--test-dir", folder, "--show-only=json-v1"], { encoding: "utf8" });
  return JSON.parse(list.stdout).tests.map((test) => ({ name: test.name, program: test.command[0] }));
}

/** A row of the table; what a failing test printed goes to stderr. */
function runTest(sanitizer, { name, program }) {
  const start = Date.now();
  const env = { ...process.env, ...sanitizers[sanitizer].env };
  const options = { cwd: root, env, encoding: "utf8", timeout: timeLimit, maxBuffer: 1 << 28 };
  const { status, stdout, stderr } = spawnSync(program, [], options);
  const seconds = ((Date.now() - start) / 1000).toFixed(0);
  if (status !== 0) console.error(`${stdout}${stderr}`);
  const checks = stdout.trimEnd().split("\n").at(-1) ?? "";
  return { sanitizer, test: name, result: status === 0 ? "ok" : "FAILED", seconds, checks };
}

function choose(words) {
  const chosen = Object.keys(sanitizers).filter((name) => words.includes(name));
  const tests = words.filter((word) => !Object.hasOwn(sanitizers, word));
  return { chosen: chosen.length > 0 ? chosen : Object.keys(sanitizers), tests };
}

try {
  requireTools();
  const words = process.argv.slice(2).filter((word) => word !== "--addon");
  const addon = words.length < process.argv.length - 2;
  const { chosen, tests } = choose(words);
  const rows = addon ? chosen.flatMap((sanitizer) => sanitizeAddon(sanitizer, sanitizers[sanitizer], tests)) : [];
  for (const sanitizer of addon ? [] : chosen) {
    const known = build(sanitizer);
    const unknown = tests.filter((test) => !known.some(({ name }) => name === test));
    if (unknown.length > 0) {
      const names = known.map(({ name }) => name).join(", ");
      throw new Error(`Expected sanitizers (address, thread) or tests (${names}), got ${unknown.join(", ")}.`);
    }
    for (const test of known.filter(({ name }) => tests.length === 0 || tests.includes(name))) {
      console.log(`> ${sanitizer}: ${test.name}`);
      rows.push(runTest(sanitizer, test));
    }
  }
  console.table(rows);
  process.exitCode = rows.every(({ result }) => result === "ok") ? 0 : 1;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
