import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const build = `${root}build/native`;

function cmake(command: string, ...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(command, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
}

/** Builds the native core as people without Node do, and returns the names of its tests. */
function buildNativeTests(): string[] {
  const ninja = spawnSync("ninja", ["--version"]).status === 0 ? ["-G", "Ninja"] : [];
  // The addon's build has compiled the CUDA kernels for all devices; here they are needed only where there is one to run them.
  const device = process.platform !== "linux" || ["/dev/nvidiactl", "/dev/dxg"].some(existsSync);
  const cuda = device ? ["-DSMHDR_CUDA_ARCHITECTURES=90-real"] : ["-DSMHDR_CUDA=OFF"];
  const steps = [
    ["-S", root, "-B", build, "-DCMAKE_BUILD_TYPE=Release", ...cuda, ...ninja],
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
