import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { SmhdrError } from "../errors.js";

/**
 * What the native addon exports: the one place that declares it. Whoever adds a function to native/addon adds its type
 * here. Long functions return a NativeTask: call them through finishTask (task.ts).
 */
export interface Addon {
  /** The instruction set the kernels were chosen for ("generic", "avx2", "avx512") and the number of processors. */
  cpuInfo(): { readonly isa: string; readonly processors: number };
}

const packageRoot = fileURLToPath(new URL("../../", import.meta.url));
const require = createRequire(import.meta.url);

let loaded: { readonly addon: Addon; readonly path: string } | undefined;

/** Where the addon may lie, in the order tried. */
function candidates(): string[] {
  const chosen = process.env.SMHDR_ADDON;
  if (chosen) return [resolve(chosen)]; // asked for by name: nothing else will do
  return [`@smhdr/${platformName()}/smhdr.node`, `${packageRoot}build/Release/smhdr.node`];
}

/** Name of the prebuilt package for this machine, such as linux-x64 or linux-x64-musl. */
export function platformName(): string {
  const name = `${process.platform}-${process.arch}`;
  if (process.platform !== "linux" || !process.report) return name;
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime ? name : `${name}-musl`;
}

function load(): { readonly addon: Addon; readonly path: string } {
  if (loaded) return loaded;
  const reasons: string[] = [];
  for (const path of candidates()) {
    try {
      loaded = { addon: require(path) as Addon, path: require.resolve(path) };
      return loaded;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      reasons.push(`${path}: ${code === "MODULE_NOT_FOUND" ? "not there" : message.split("\n")[0]}`);
    }
  }
  // A working tree has its own way to build; an installed package has only its command.
  const command = existsSync(`${packageRoot}tsconfig.json`) ? "npm run build:addon" : "npx smhdr build-addon";
  throw new SmhdrError(
    "ADDON_MISSING",
    [
      "The native part of smhdr could not be loaded.",
      ...reasons.map((reason) => `  ${reason}`),
      `Build it with:  ${command}`,
      "That needs Node 20 or newer, CMake 3.22 or newer and a C++20 compiler (g++ 11, clang 14, or newer).",
    ].join("\n"),
  );
}

/**
 * The native addon: from the environment variable SMHDR_ADDON, else the prebuilt package @smhdr/<platform>, else
 * build/Release. Loaded once.
 * @throws SmhdrError ADDON_MISSING saying where it was looked for, why that failed and how to build it.
 */
export function loadAddon(): Addon {
  return load().addon;
}

/** The file the addon was loaded from. Throws as loadAddon does. */
export function addonPath(): string {
  return load().path;
}
