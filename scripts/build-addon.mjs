// Builds the native addon into build/Release/smhdr.node. Run by itself or imported; needs no dependency but cmake-js.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "");

const installHints = {
  linux: "Debian or Ubuntu: sudo apt install cmake g++ make    Fedora: sudo dnf install cmake gcc-c++ make",
  darwin: "xcode-select --install && brew install cmake",
  win32: "Visual Studio Build Tools (C++ workload) and CMake from https://cmake.org/download",
};

/** Runs a program in the repository's root, its output shown; returns whether it succeeded. */
export function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: "inherit", ...options });
  if (result.error) console.error(`${command}: ${result.error.message}`);
  return result.status === 0;
}

function works(command) {
  return spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0;
}

/** What is missing to compile, in words; empty when nothing is. */
export function missingTools() {
  const missing = [];
  if (!works("cmake")) missing.push("CMake 3.22 or newer");
  const compilers = [process.env.CXX, "c++", "g++", "clang++"].filter(Boolean);
  // Visual Studio's compiler is not on the path; cmake-js looks for it.
  if (process.platform !== "win32" && !compilers.some(works)) missing.push("a C++20 compiler");
  return missing;
}

/** Throws with what to install when something needed to compile is missing. */
export function requireTools() {
  const missing = missingTools();
  if (missing.length === 0) return;
  const hint = installHints[process.platform];
  throw new Error(`To build smhdr's native part, install ${missing.join(" and ")}.${hint ? `\n  ${hint}` : ""}`);
}

/** Removes a build folder that was configured for another place: CMake would refuse it. */
export function dropForeignBuild(folder) {
  const cache = join(folder, "CMakeCache.txt");
  if (!existsSync(cache)) return;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, "utf8"))?.[1];
  if (!home || !existsSync(home) || realpathSync(home) !== realpathSync(root)) rmSync(folder, { recursive: true });
}

/** Builds what changed of the addon. `cmake` is passed on: { NAME: value } become -DNAME=value. */
export function buildAddon({ folder = join(root, "build", "Release"), cmake = {} } = {}) {
  requireTools();
  dropForeignBuild(folder);
  const cmakeJs = createRequire(join(root, "package.json")).resolve("cmake-js/bin/cmake-js");
  const definitions = { SMHDR_TESTS: "OFF", CMAKE_LIBRARY_OUTPUT_DIRECTORY: folder, ...cmake };
  const args = ["build", "-O", folder, "-l", "error", "-p", String(availableParallelism())];
  for (const [name, value] of Object.entries(definitions)) args.push(`--CD${name}=${value}`);
  if (!run(process.execPath, [cmakeJs, ...args])) throw new Error("The native addon did not build: see above.");
  const addon = join(folder, "smhdr.node");
  if (!existsSync(addon)) throw new Error(`The build succeeded but ${addon} is not there.`);
  return addon;
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const at = process.argv.indexOf("--out");
  try {
    console.log(buildAddon(at > 0 ? { folder: resolve(process.argv[at + 1]) } : {}));
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
