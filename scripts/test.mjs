// Everything that proves the repository: set-up, then every test through Node's test runner (the native tests, the
// type-check and the style check are tests there too). Arguments pick test files: npm test -- test/cli/merge.test.ts
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { root } from "./build-addon.mjs";
import { setUp } from "./setup.mjs";

function testFiles() {
  const folders = ["test", "plugin"].map((name) => join(root, name)).filter(existsSync);
  return folders
    .flatMap((folder) => readdirSync(folder, { recursive: true }).map((name) => join(folder, name)))
    .filter((path) => path.endsWith(".test.ts") && !path.includes("node_modules"))
    .sort();
}

try {
  await setUp();
  const chosen = process.argv.slice(2);
  const files = chosen.length > 0 ? chosen : testFiles();
  const args = ["--import", "tsx", "--test", "--test-reporter=spec", ...files];
  process.exitCode = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" }).status ?? 1;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
