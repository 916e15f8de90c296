import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const script = fileURLToPath(new URL("../../scripts/fuzz.mjs", import.meta.url));
const clang = spawnSync("clang++", ["-print-file-name=libclang_rt.fuzzer_no_main-x86_64.a"], { encoding: "utf8" });
const missing = clang.status !== 0 || !clang.stdout.includes("/");

for (const [target, what, kind] of [
  ["planted-error", "an error behind four bytes", /^crash-/],
  ["planted-comparison", "an error behind a number and a word", /^crash-/],
  ["planted-loop", "an endless loop", /^timeout-/],
] as const)
  test(`the fuzzer finds ${what}`, { skip: missing && "no clang++ with libFuzzer here" }, () => {
    const folder = mkdtempSync(join(tmpdir(), "smhdr-fuzz-"));
    try {
      // Bounded by executions, not by time: a busy machine finds it as well.
      const args = [script, "--target", target, "--runs", "2000000", "--folder", folder];
      const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
      assert.equal(status, 1, stderr);
      const [found] = readdirSync(join(folder, "found", target));
      assert.match(found, kind);
      const bytes = readFileSync(join(folder, "found", target, found)).toString("latin1");
      assert.match(bytes, { "planted-error": /^FUZz/, "planted-comparison": /magic/, "planted-loop": /^lop/ }[target]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
