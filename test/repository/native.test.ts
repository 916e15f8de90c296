import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

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

describe("native core (ctest)", () => {
  it("has tests", () => assert.ok(names.length > 0));
  for (const name of names) {
    it(name, () => {
      const result = cmake("ctest", "--test-dir", build, "--output-on-failure", "--timeout", "300", "-R", `^${name}$`);
      assert.equal(result.status, 0, `${result.stdout}${result.stderr}`);
    });
  }
});
