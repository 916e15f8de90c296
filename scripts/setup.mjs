// Brings a working tree, even a fresh clone, to where it can run: dependencies, native addon, compiled TypeScript.
// Plain Node and nothing installed. Does only what is out of date; with --clean the TypeScript is compiled afresh, so
// that nothing of a deleted source stays in dist (npm pack).
import { chmodSync, existsSync, readFileSync, rmSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildAddon, requireTools, root, run } from "./build-addon.mjs";

/** Whether node_modules holds what package-lock.json asks for (npm records there what it installed). */
function dependenciesMatch() {
  const installed = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(installed)) return false;
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  const present = JSON.parse(readFileSync(installed, "utf8")).packages;
  return Object.entries(wanted).every(([path, { version, integrity, optional, devOptional, link }]) => {
    if (path === "" || link) return true;
    if (!present[path]) return Boolean(optional || devOptional); // optional: perhaps not for this platform
    return present[path].version === version && present[path].integrity === integrity;
  });
}

/** Runs npm with the same npm that runs this, where one does. */
export function npm(args, options) {
  const npmCli = process.env.npm_execpath;
  if (npmCli?.endsWith(".js")) return run(process.execPath, [npmCli, ...args], options);
  return run(process.platform === "win32" ? "npm.cmd" : "npm", args, {
    shell: process.platform === "win32",
    ...options,
  });
}

function step(title, work) {
  const start = Date.now();
  console.log(`> ${title}`);
  work();
  if (Date.now() - start > 2000) console.log(`  ${((Date.now() - start) / 1000).toFixed(0)} s`);
}

export async function setUp() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 17)) {
    throw new Error(`smhdr needs Node 20.17 or newer; this is ${process.versions.node}.`);
  }
  requireTools();
  if (!dependenciesMatch()) {
    step("Installing dependencies (npm ci)", () => {
      if (!npm(["ci", "--include=dev", "--no-audit", "--no-fund"])) throw new Error("npm ci failed: see above.");
    });
  }
  step("Building the native addon (build/Release)", () => buildAddon());
  step("Compiling TypeScript (dist)", compile);
  const { buildPanels } = await import("./build-panel.mjs"); // needs dependencies
  await buildPanels();
}

function compile() {
  if (process.argv.includes("--clean")) rmSync(join(root, "dist"), { recursive: true, force: true });
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  if (!run(process.execPath, [tsc, "--incremental", "--tsBuildInfoFile", "dist/.tsbuildinfo"])) {
    throw new Error("The TypeScript sources do not compile: see above.");
  }
  const now = new Date();
  utimesSync(join(root, "dist", ".tsbuildinfo"), now, now); // tsc leaves it be when nothing changed
  chmodSync(join(root, "dist", "cli", "smhdr.js"), 0o755);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await setUp();
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
