import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
export const repository = fileURLToPath(new URL("../../../", import.meta.url));

/** A real GIMP 3 in a Debian of its own, with the plug-in installed. Network and processes are shared with the host. */
export interface Gimp {
  /** A folder of this test, as the host and as GIMP see it. */
  readonly folder: string;
  readonly inside: string;
  /** Runs a command in there with the environment that the plug-in and its test want. */
  run(command: readonly string[], environment?: Record<string, string>): ChildProcess;
  remove(): void;
}

/** The GIMP, or why there is none here. Made on the first call on a machine, which takes some minutes. */
export function installGimp(): Gimp | string {
  const made = spawnSync(join(here, "make-chroot.sh"), { encoding: "utf8", timeout: 600_000 });
  if (made.status === 77) return made.stderr.trim();
  if (made.status !== 0) throw new Error(`make-chroot.sh failed: ${made.stderr}`);
  const root = made.stdout.trim();
  // A chroot takes root even where it has been made.
  if (process.getuid?.() !== 0) return `running GIMP in ${root} takes root.`;
  const folder = mkdtempSync(join(root, "tmp", "smhdr-"));
  const inside = folder.slice(root.length);
  const plugIn = join(folder, "config", "plug-ins", "smhdr");
  mkdirSync(plugIn, { recursive: true });
  cpSync(join(here, "..", "plug-ins", "smhdr"), plugIn, {
    recursive: true,
    filter: (path) => !path.includes("__pycache__"),
  });
  for (const name of ["in_gimp.py", "in_dialog.py"]) cpSync(join(here, name), join(folder, name));
  for (const number of [1, 2, 3]) {
    const name = `exposure-${number}.jpg`;
    cpSync(join(repository, "examples", "bracket", name), join(folder, name));
  }
  const environment = {
    PATH: "/usr/bin:/bin:/usr/sbin:/sbin",
    LANG: "C.UTF-8",
    HOME: inside,
    GIMP3_DIRECTORY: join(inside, "config"),
    SMHDR_SERVICE_FILE: join(inside, "service.json"),
  };
  return {
    folder,
    inside,
    run: (command, more = {}) =>
      spawn("chroot", [root, ...command], { env: { ...environment, ...more }, stdio: ["ignore", "pipe", "pipe"] }),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** The command that makes GIMP execute a Python file and end, without windows; 64 is its exit code where the file raises. */
export function batch(path: string): string[] {
  const quiet = ["-i", "--no-data", "--no-fonts", "--quit"];
  return ["gimp-console-3.0", ...quiet, "--batch-interpreter=python-fu-eval", "-b", execute(path)];
}

/** The command that makes a GIMP with windows execute a Python file; it does not end by itself. */
export const withWindows = (path: string) => [
  "gimp-3.0",
  "-s",
  "--batch-interpreter=python-fu-eval",
  "-b",
  execute(path),
];

const execute = (path: string) => `exec(open(${JSON.stringify(path)}).read())`;
