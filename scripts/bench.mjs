// npm run bench: sets up, builds the native benchmark, and runs `smhdr bench` with all it can race. Arguments go on to
// it; -- --write also puts the tables into BENCHMARKS.md, between <!-- bench NAME --> and <!-- /bench --> for every NAME
// that begins the names of rows that were measured.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { dropForeignBuild, root, run } from "./build-addon.mjs";
import { setUp } from "./setup.mjs";

const smhdr = join(root, "dist", "cli", "smhdr.js");
const document = join(root, "BENCHMARKS.md");

function buildBenchmark() {
  const folder = join(root, "build", "native");
  dropForeignBuild(folder);
  const fresh = !existsSync(join(folder, "CMakeCache.txt"));
  const ninja = fresh && spawnSync("ninja", ["--version"]).status === 0 ? ["-G", "Ninja"] : [];
  const configure = [
    "-S",
    root,
    "-B",
    folder,
    "-DCMAKE_BUILD_TYPE=Release",
    "-DSMHDR_CUDA_ARCHITECTURES=90-real",
    ...ninja,
  ];
  const build = ["--build", folder, "--target", "smhdr_bench", "--parallel", String(availableParallelism())];
  for (const args of [configure, build]) {
    if (!run("cmake", args, { stdio: ["ignore", "ignore", "inherit"] })) {
      throw new Error("The native benchmark did not build: see above.");
    }
  }
}

/** Runs smhdr bench, shows its table as it grows, and returns its rows and what it said of the machine. */
async function measure(args) {
  const { textLine } = await import(pathToFileURL(join(root, "dist", "bench", "table.js")).href);
  const child = spawn(process.execPath, [smhdr, "bench", ...args, "--json"], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.once("close", resolve));
  const rows = [];
  const notes = [];
  let machine = "";
  for await (const line of createInterface({ input: child.stdout })) {
    const { event, ...fields } = JSON.parse(line);
    if (event === "note" && fields.code === "machine") machine = fields.message;
    if (event === "note") console.error(`Note: ${fields.message}`);
    if (event === "note" && /^skipped: (?!slow)/.test(fields.message)) notes.push(fields.message);
    if (event !== "result") continue;
    if (rows.length === 0) console.log(textLine());
    console.log(textLine(fields));
    rows.push(fields);
  }
  if ((await ended) !== 0) throw new Error("smhdr bench failed; BENCHMARKS.md stays as it is.");
  return { rows, machine, notes };
}

async function write({ rows, machine, notes }, command) {
  const { replaceTables } = await import(pathToFileURL(join(root, "dist", "bench", "document.js")).href);
  const { text, written, homeless } = replaceTables(readFileSync(document, "utf8"), { rows, machine, notes, command });
  writeFileSync(`${document}.new`, text);
  renameSync(`${document}.new`, document);
  console.error(`BENCHMARKS.md: ${written.join(", ") || "nothing"} written.`);
  if (homeless.length > 0) console.error(`BENCHMARKS.md has no place for: ${homeless.join(", ")}`);
}

try {
  const args = process.argv.slice(2).filter((argument) => argument !== "--write");
  const writes = args.length < process.argv.length - 2;
  if (writes && (args.includes("--quick") || args.includes("--json"))) {
    throw new Error("--write goes with neither --quick, which measures nothing, nor --json.");
  }
  await setUp();
  console.log("> Building the native benchmark (build/native)");
  buildBenchmark();
  if (writes) await write(await measure(args), ["npm run bench -- --write", ...args].join(" "));
  else process.exitCode = run(process.execPath, [smhdr, "bench", ...args]) ? 0 : 1;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
