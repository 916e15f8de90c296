import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { SmhdrError, throwIfAborted } from "../errors.js";
import type { BenchContext, Row } from "./row.js";

/** Rows that the native benchmark measures alone; the others it has are raced with peers from here. */
const GROUPS = ["peak/", "kernel/", "growth/core/"];

/** The native benchmark of a clone where it is built (npm run bench does); an installed package has none. */
export function nativeBenchmark(): string | undefined {
  const path = fileURLToPath(new URL("../../build/native/smhdr_bench", import.meta.url));
  return [path, `${path}.exe`].find((candidate) => existsSync(candidate));
}

export function nativeRows(binary: string): { readonly name: string; readonly slow: boolean }[] {
  const { stdout, status } = spawnSync(binary, ["--list"], { encoding: "utf8" });
  if (status !== 0) throw new SmhdrError("INTERNAL", `${binary} --list failed (${status}).`);
  return stdout
    .trimEnd()
    .split("\n")
    .filter((line) => GROUPS.some((group) => line.startsWith(group)))
    .map((line) => ({ name: line.split(" ")[0], slow: line.endsWith("(slow)") }));
}

/** Runs the native benchmark; gives its rows as they come. */
export async function* measureNative(
  { threads, quick, signal, progress }: BenchContext,
  binary: string,
  names: readonly string[],
): AsyncGenerator<Row> {
  throwIfAborted(signal);
  const args = ["--json", "--threads", String(threads), ...(quick ? ["--quick"] : [])];
  const child = spawn(binary, [...args, ...names.flatMap((name) => ["--row", name])], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const stop = () => child.kill("SIGKILL");
  process.once("exit", stop);
  signal.addEventListener("abort", stop);
  const ended = once(child, "close");
  ended.catch(() => {}); // awaited below
  try {
    let done = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      progress(++done / names.length);
      yield JSON.parse(line) as Row;
    }
    const [code, killed] = await ended;
    throwIfAborted(signal);
    if (code !== 0) throw new SmhdrError("INTERNAL", `${binary} ended (${killed ?? `exit code ${code}`}).`);
  } finally {
    stop();
    process.off("exit", stop);
    signal.removeEventListener("abort", stop);
  }
}
