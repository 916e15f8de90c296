import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const program = join(root, "dist", "cli", "smhdr.js");

/** The compiled program is what is tested: one older than its sources would prove nothing. */
function checkFresh(): void {
  const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => statSync(join(root, "src", name)).mtimeMs);
  const built = statSync(join(root, "dist", ".tsbuildinfo"), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (Math.max(...sources) > built) throw new Error("dist is older than src: npm run build");
}
checkFresh();

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly process: ChildProcess;
  readonly finished: Promise<Finished>;
}

/** Starts the command line as a process of its own, as people run it. */
export function start(args: readonly string[], options: { cwd?: string; env?: Record<string, string> } = {}): Running {
  const child = spawn(process.execPath, [program, ...args], {
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text) => (stderr += text));
  const finished = once(child, "close").then(([code, signal]) => ({ code, signal, stdout, stderr }));
  return { process: child, finished };
}

export function smhdr(...args: string[]): Promise<Finished> {
  return start(args).finished;
}

/** smhdr batch by the quick method, where what is tested is the batch. */
export const BATCH = ["batch", "--method", "radiance"] as const;

/** The objects of a --json stream; throws where a line is not one. */
export function jsonLines(stdout: string): Record<string, unknown>[] {
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}
