// npm run fuzz -- --seconds 60 --target openexr: coverage-guided fuzzing by libFuzzer (Debian: clang, libclang-rt-14-dev).
// The parsers are TypeScript: libFuzzer drives them through native/fuzz/bridge.cpp, with counters from
// test/fuzz/instrument.ts. The targets named native-* are C++, under address and undefined-behaviour sanitizers. Without
// --target every one runs in turn. Seeds are made anew; what was learnt stays in build/fuzz/corpus, and an input that
// breaks something is kept in build/fuzz/found: once it is fixed it belongs in test/fuzz/found, where npm test reads it.
import { spawnSync } from "node:child_process";
import { createCipheriv } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { dropForeignBuild, root, run } from "./build-addon.mjs";

const { values } = parseArgs({
  options: {
    seconds: { type: "string" },
    runs: { type: "string" }, // executions at most
    target: { type: "string", multiple: true },
    folder: { type: "string", default: join(root, "build", "fuzz") },
  },
});
const { folder } = values;
const bridge = join(folder, "bridge.node");
const tsx = ["--import", "tsx"];
const entry = join(root, "test", "fuzz", "run.ts");
const env = { ...process.env, SMHDR_FUZZ_BRIDGE: bridge };

/** What clang++ prints for arguments; undefined where there is none. */
function clang(...args) {
  const { status, stdout } = spawnSync("clang++", args, { encoding: "utf8" });
  return status === 0 ? stdout.trim() : undefined;
}

function buildBridge() {
  const library = clang("-print-file-name=libclang_rt.fuzzer_no_main-x86_64.a");
  if (!library || !existsSync(library))
    throw new Error("Fuzzing needs clang++ and its libFuzzer.\n  Debian: sudo apt install clang libclang-rt-14-dev");
  const headers = join(root, "node_modules", "node-api-headers", "include");
  const source = join(root, "native", "fuzz", "bridge.cpp");
  const flags = ["-std=c++20", "-O2", "-shared", "-fPIC", "-I", headers, source, library, "-lpthread", "-o", bridge];
  if (!run("clang++", flags)) throw new Error("The bridge to libFuzzer did not build: see above.");
}

function buildNative() {
  const build = join(folder, "native");
  dropForeignBuild(build);
  const ninja = spawnSync("ninja", ["--version"]).status === 0 ? ["-G", "Ninja"] : [];
  const configure = ["-S", root, "-B", build, "-DSMHDR_FUZZ=ON", "-DCMAKE_CXX_COMPILER=clang++", ...ninja];
  const quiet = { stdio: ["ignore", "ignore", "inherit"] };
  if (!run("cmake", configure, quiet)) throw new Error("The native fuzzers cannot be configured: see above.");
  const compile = ["--build", build, "--parallel", String(availableParallelism())];
  if (!run("cmake", compile)) throw new Error("The native fuzzers did not build: see above.");
  return build;
}

const nativeTargets = readdirSync(join(root, "native", "fuzz"))
  .filter((name) => name.endsWith("_fuzz.cpp"))
  .map((name) => `native-${name.slice(0, -"_fuzz.cpp".length)}`);

function typescriptTargets() {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...tsx, entry, "--list"], {
    cwd: root,
    env,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
  return stdout.trim().split("\n");
}

/** `length` bytes without pattern, always the same ones for a number. */
function bytesOf(number, length) {
  const key = Buffer.alloc(32, number);
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

/** Fuzzes one target; a row of the table. */
function fuzz(name, seconds, nativeFolder) {
  const [corpus, found, seeds] = ["corpus", "found", "seeds"].map((kind) => join(folder, kind, name));
  for (const path of [corpus, found, seeds]) mkdirSync(path, { recursive: true });
  const options = [
    `-max_total_time=${seconds}`,
    "-rss_limit_mb=3000",
    `-runs=${values.runs ?? -1}`,
    "-print_final_stats=1",
    "-verbosity=1",
    `-artifact_prefix=${found}/`,
    corpus,
    seeds,
  ];
  const native = name.startsWith("native-");
  if (!native && !run(process.execPath, [...tsx, entry, name, "--seeds", seeds], { env }))
    throw new Error(`The seeds of ${name} could not be made: see above.`);
  if (native) {
    // Any bytes are an input to them; longer ones say more than libFuzzer's first ones of one byte.
    for (let i = 0; i < 32; i++) writeFileSync(join(seeds, `seed-${i}`), bytesOf(i, 64 << (i % 7)));
  }
  const [program, args] = native
    ? [
        join(nativeFolder, `${name.slice("native-".length)}_fuzz`),
        ["-max_len=8192", "-len_control=0", "-timeout=20", ...options],
      ]
    : [process.execPath, [...tsx, entry, name, ...options]];
  console.log(`> ${name}`);
  const before = new Set(readdirSync(found));
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: root, env, encoding: "utf8", maxBuffer: 1 << 28 });
  const output = `${stdout}${stderr}`;
  const number = (pattern) => Number([...output.matchAll(pattern)].at(-1)?.[1] ?? Number.NaN);
  writeFileSync(join(folder, `${name}.log`), output);
  const kept = readdirSync(found).filter((file) => !before.has(file));
  const executions = number(/stat::number_of_executed_units:\s+(\d+)/g);
  const sound = status === 0 && executions > 0; // one that never came to its end has proved nothing
  if (!sound) console.error(output.split("\n").slice(-60).join("\n"));
  for (const file of kept) console.error(`Kept: ${relative(root, join(found, file))}`);
  return {
    target: name,
    seconds,
    executions,
    branches: number(/\bcov: (\d+)/g),
    inputs: readdirSync(corpus).length,
    result: sound ? "ok" : `FAILED (${status})`,
  };
}

try {
  const seconds = Number(values.seconds ?? (values.runs ? 3600 : 60));
  if (!(seconds >= 1)) throw new Error(`--seconds: expected a number of at least 1, got ${values.seconds}.`);
  mkdirSync(folder, { recursive: true });
  buildBridge();
  const known = [...typescriptTargets(), ...nativeTargets];
  const chosen = values.target ?? known;
  const unknown = chosen.filter((name) => !known.includes(name) && !name.startsWith("planted-"));
  if (unknown.length > 0) throw new Error(`--target: expected ${known.join(", ")}; got ${unknown.join(", ")}.`);
  const nativeFolder = chosen.some((name) => nativeTargets.includes(name)) ? buildNative() : undefined;
  const rows = chosen.map((name) => fuzz(name, seconds, nativeFolder));
  console.table(rows);
  process.exitCode = rows.every(({ result }) => result === "ok") ? 0 : 1;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
