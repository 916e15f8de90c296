import assert from "node:assert/strict";
import { execFile, type SpawnSyncReturns, spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const root = fileURLToPath(new URL("../../", import.meta.url));
/** The addon's build: what both need is compiled once. */
const build = `${root}build/Release`;

function cmake(command: string, ...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(command, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
}

/** Builds the tests of the native core, and returns their names. */
function buildNativeTests(): string[] {
  const steps = [
    ["-S", root, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DSMHDR_TESTS=ON"],
    ["--build", build, "--parallel", String(availableParallelism())],
  ];
  for (const step of steps) {
    const { status, stdout, stderr } = cmake("cmake", ...step);
    if (status !== 0) throw new Error(`cmake ${step.join(" ")} failed:\n${stdout}${stderr}`);
  }
  const { tests } = JSON.parse(cmake("ctest", "--test-dir", build, "--show-only=json-v1").stdout);
  return tests.map((test: { name: string }) => test.name);
}

const names = buildNativeTests();

// As many at once as there are processors: most of them compute on one.
describe("native core (ctest)", { concurrency: availableParallelism() }, () => {
  it("has tests", () => assert.ok(names.length > 0));
  for (const name of names) {
    it(name, async () => {
      const args = ["--test-dir", build, "--output-on-failure", "--timeout", "300", "-R", `^${name}$`];
      await promisify(execFile)("ctest", args, { cwd: root, maxBuffer: 1 << 28 }).catch(({ stdout, stderr }) =>
        assert.fail(`${stdout}${stderr}`),
      );
    });
  }
});
