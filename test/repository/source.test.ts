import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, normalize, sep } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const require = createRequire(import.meta.url);

/** Runs a dependency's program, given as package and path inside it; fails with what it printed. */
function passes(packageName: string, program: string, ...args: string[]): void {
  const path = join(dirname(require.resolve(`${packageName}/package.json`)), program);
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...args], { cwd: root, encoding: "utf8" });
  assert.equal(status, 0, `${stdout}${stderr}`);
}

describe("source", () => {
  for (const project of ["tsconfig.check.json", "test/e2e", "plugin", "plugin/photoshop"]) {
    it(`type-checks: ${project}`, () => passes("typescript", "bin/tsc", "-p", project));
  }
  it("follows the style (biome check)", () => passes("@biomejs/biome", "bin/biome", "check", "--error-on-warnings"));
  it("imports downwards only: cli, then serve and batch, then what makes results, then what those build on", () => {
    const layers = [["cli"], ["serve", "batch", "bench"], ["reconstruct", "train", "segment", "output"]];
    const layer = (path: string) => {
      const room = path.includes(sep) ? path.split(sep)[0] : "";
      const at = layers.findIndex((rooms) => rooms.includes(room));
      return at < 0 ? layers.length : at;
    };
    const source = join(root, "src");
    const upward: string[] = [];
    for (const file of readdirSync(source, { recursive: true, encoding: "utf8" })) {
      if (!file.endsWith(".ts") || file === "index.ts") continue;
      for (const [, target] of readFileSync(join(source, file), "utf8").matchAll(/from "(\.[^"]+)"/g)) {
        if (layer(normalize(join(dirname(file), target))) < layer(file)) upward.push(`${file} imports ${target}`);
      }
    }
    assert.deepEqual(upward, []);
  });
});
