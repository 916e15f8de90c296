import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { SmhdrError } from "../errors.js";
import type { WorkerTask } from "./worker.js";

/** What one run took. */
export interface Sample {
  readonly seconds: number;
  /** The most memory its process has held so far. */
  readonly peakBytes?: number;
}

/** Someone who does the same work again and again when asked. */
export interface Contender {
  readonly name: string;
  /** Where it fails it is left out with a note, and the race goes on. */
  readonly optional?: boolean;
  /** `check`: also leave the result where it can be compared. */
  run(check: boolean): Promise<Sample>;
  close(): void;
}

/** A contender that cannot take part on this machine. */
export class Missing extends Error {}

/** A line of a contender's process; one of the first three, or a sample. */
interface Message extends Partial<Sample> {
  readonly ready?: string;
  readonly missing?: string;
  readonly error?: string;
}

/**
 * Starts a process that says {"ready": version} or {"missing": why} in a line of its own on stdout, then does one run for
 * every line on stdin ("run" or "check") and answers with a line {"seconds", "peakBytes"}. Processes of their own keep
 * thread pools and memory apart, and make the peak of memory each contender's.
 *
 * @throws Missing where it cannot take part, SmhdrError INTERNAL where it fails, CANCELLED.
 */
export async function startContender(
  name: string,
  command: string,
  args: readonly string[],
  signal: AbortSignal,
  environment: Readonly<Record<string, string>> = {},
): Promise<Contender> {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...environment } });
  const answers = new Answers(child, name);
  const stop = () => child.kill("SIGKILL");
  const close = () => {
    process.off("exit", stop);
    signal.removeEventListener("abort", stop);
    stop();
  };
  process.once("exit", stop);
  signal.addEventListener("abort", stop);
  const next = async () => {
    const message = await answers.next().catch((error: Error) => {
      close();
      throw signal.aborted ? new SmhdrError("CANCELLED", "Cancelled.", { cause: signal.reason }) : error;
    });
    if (message.missing === undefined && message.error === undefined) return message;
    close();
    if (message.missing !== undefined) throw new Missing(message.missing);
    throw new SmhdrError("INTERNAL", `${name}: ${message.error}`);
  };
  await next();
  return {
    name,
    async run(check) {
      child.stdin?.write(check ? "check\n" : "run\n");
      return (await next()) as Sample;
    },
    close,
  };
}

/** The lines of a process as they come. */
class Answers {
  private readonly lines: AsyncIterator<string>;
  private failure: Promise<never>;
  private complaints = "";

  constructor(child: ChildProcess, name: string) {
    if (!child.stdout || !child.stderr || !child.stdin) throw new SmhdrError("INTERNAL", `${name} has no pipes.`);
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.complaints = (this.complaints + text).slice(-2000);
    });
    child.stdin.on("error", () => {}); // it has ended, which `failure` tells
    this.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.failure = new Promise((_, reject) => {
      child.once("error", (error: NodeJS.ErrnoException) =>
        reject(new Missing(error.code === "ENOENT" ? `${child.spawnfile} is not there` : error.message)),
      );
      child.once("close", (code, signal) =>
        reject(new SmhdrError("INTERNAL", `${name} ended (${signal ?? `exit code ${code}`}). ${this.complaints}`)),
      );
    });
    this.failure.catch(() => {}); // heard only while somebody waits
  }

  async next(): Promise<Message> {
    const { value, done } = await Promise.race([this.lines.next(), this.failure]);
    if (done) return this.failure;
    return JSON.parse(value) as Message;
  }
}

/** A contender in a Node process of its own; see worker.ts. */
export function startWorker(name: string, task: WorkerTask, signal: AbortSignal): Promise<Contender> {
  // Run uncompiled (by tsx, in tests), a process has to be taught TypeScript first.
  const compiled = !import.meta.url.endsWith(".ts");
  const script = fileURLToPath(new URL(compiled ? "./worker.js" : "./worker.ts", import.meta.url));
  const require = createRequire(import.meta.url);
  const teach = compiled ? [] : ["--import", pathToFileURL(require.resolve("tsx")).href];
  return startContender(name, process.execPath, [...teach, script, JSON.stringify(task)], signal);
}

const peersFolder = fileURLToPath(new URL("../../bench/peers/", import.meta.url));

/** A contender in Python, bench/peers/`script`, which an installed package has not. */
export async function startPython(name: string, script: string, task: object, signal: AbortSignal): Promise<Contender> {
  const path = `${peersFolder}${script}`;
  if (!existsSync(path)) throw new Missing("it is raced only in a clone of the repository");
  const python = process.env.SMHDR_PYTHON || "python3";
  try {
    return await startContender(name, python, [path, JSON.stringify(task)], signal);
  } catch (error) {
    if (!(error instanceof Missing)) throw error;
    throw new Missing(`${error.message} (Python: ${python}; SMHDR_PYTHON names another)`);
  }
}
