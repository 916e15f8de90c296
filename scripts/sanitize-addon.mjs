// npm run sanitize -- --addon [address|thread] [test files]: the addon built with sanitizers, loaded into an ordinary Node
// by the TypeScript tests, and by the programs they start. The sanitizer's library is preloaded, for Node has none.
// Leaks: Node frees little of its own at its end, so of the leaks reported those count that code of the addon asked for.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { buildAddon, root } from "./build-addon.mjs";

const addonTests = [
  "test/bracket/align.test.ts",
  "test/bracket/read-bracket.test.ts",
  "test/reconstruct/radiance.test.ts",
  "test/reconstruct/network.test.ts",
  "test/engine/golden.test.ts",
  "test/train/train.test.ts",
  "test/train/restore-scene.test.ts",
  "test/cli/merge.test.ts",
  "test/cli/train.test.ts",
];

/** The path of a library of the compiler's; the addon is built by the same one. */
function library(name) {
  const compiler = process.env.CXX ?? "c++";
  const { stdout } = spawnSync(compiler, [`-print-file-name=${name}`], { encoding: "utf8" });
  const path = stdout?.trim() ?? "";
  if (!existsSync(path)) throw new Error(`${compiler} has no ${name}: the addon is sanitized with GCC on Linux.`);
  return path;
}

/** The reports in a folder: faults are those whose title is no leak, and leaks whose memory the addon asked for. */
export function faultsIn(report) {
  const faults = [];
  if (/ERROR: AddressSanitizer|WARNING: ThreadSanitizer|runtime error:/.test(report)) faults.push(report);
  for (const leak of report.split("\n\n").filter((block) => /^(Direct|Indirect) leak of /m.test(block))) {
    const frames = leak.split("\n").filter((line) => /^\s+#\d/.test(line));
    const node = frames.findIndex((frame) => /\/node\+0x|\/bin\/node/.test(frame));
    const asked = node < 0 ? frames : frames.slice(0, node);
    // What JavaScript still holds when Node ends (an External and how to free it) is never freed.
    const held = frames.slice(0, 3).some((frame) => / New<.*napi-inl\.h/.test(frame));
    if (!held && asked.some((frame) => /smhdr::|smhdr\.node/.test(frame))) faults.push(leak);
  }
  return faults;
}

/** Builds and runs; rows of the table. */
export function sanitizeAddon(sanitizer, { flags, env }, chosen) {
  const folder = join(root, "build", `sanitize-addon-${sanitizer}`);
  mkdirSync(folder, { recursive: true });
  console.log(`> ${sanitizer}: building the addon (${relative(root, folder)})`);
  const addon = buildAddon({ folder, cmake: { SMHDR_SANITIZE: flags } });
  const preload = [library(sanitizer === "thread" ? "libtsan.so" : "libasan.so"), library("libstdc++.so.6")].join(" ");
  return (chosen.length > 0 ? chosen : addonTests).map((test) => {
    console.log(`> ${sanitizer}: ${test}`);
    const reports = mkdtempSync(join(tmpdir(), "smhdr-sanitize-"));
    const log = `log_path=${join(reports, "report")}`;
    const options = {
      ...process.env,
      LD_PRELOAD: preload,
      SMHDR_ADDON: addon,
      // Node's own leaks must not change what its programs return.
      ASAN_OPTIONS: `${env.ASAN_OPTIONS ?? ""}:${log}:detect_leaks=1:exitcode=99:alloc_dealloc_mismatch=0`,
      LSAN_OPTIONS: "exitcode=0:report_objects=0:print_suppressions=0",
      UBSAN_OPTIONS: `print_stacktrace=1:${log}`,
      TSAN_OPTIONS: `${env.TSAN_OPTIONS ?? ""}:${log}:exitcode=99`,
    };
    const start = Date.now();
    const args = ["--import", "tsx", "--test", "--test-reporter=spec", test];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, {
      cwd: root,
      env: options,
      encoding: "utf8",
      maxBuffer: 1 << 28,
    });
    const texts = readdirSync(reports).map((name) => readFileSync(join(reports, name), "utf8"));
    const faults = texts.flatMap(faultsIn);
    rmSync(reports, { recursive: true });
    if (status !== 0) console.error(`${stdout}${stderr}`);
    for (const fault of faults) console.error(fault);
    const passed = /pass (\d+)/.exec(stdout)?.[1] ?? 0;
    const result = status === 0 && faults.length === 0 ? "ok" : "FAILED";
    const checks = `${passed} passed, ${faults.length} faults, ${texts.length} reports`;
    console.log(`  ${result}: ${checks}`);
    return {
      sanitizer: `${sanitizer}, addon`,
      test,
      result,
      seconds: ((Date.now() - start) / 1000).toFixed(0),
      checks,
    };
  });
}
