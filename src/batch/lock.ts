import { open, readFile, rename, rm, stat } from "node:fs/promises";
import { hostname, uptime } from "node:os";
import { resolve } from "node:path";
import { SmhdrError } from "../errors.js";

const held = new Set<string>();
/** A sign without a text for so long, in milliseconds, was never finished. */
const UNFINISHED = 5000;

/**
 * Takes the file `path` as a sign that this process works in its folder; returns what gives it up. The sign of a process that
 * has died on this machine is taken over.
 * @throws SmhdrError IO where another process works there, or the folder cannot be written to.
 */
export async function takeLock(path: string): Promise<() => Promise<void>> {
  for (let attempt = 0; ; attempt++) {
    try {
      const file = await open(path, "wx");
      try {
        await file.writeFile(JSON.stringify({ host: hostname(), pid: process.pid, since: Date.now() }));
      } catch (error) {
        await rm(path, { force: true }); // a full disk: nobody works here
        throw error;
      } finally {
        await file.close();
      }
      held.add(resolve(path));
      return async () => {
        held.delete(resolve(path));
        await rm(path, { force: true });
      };
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") {
        throw new SmhdrError("IO", `${path}: cannot be written (${(cause as Error).message}).`, { cause });
      }
    }
    const holder = await readHolder(path);
    if (attempt < 3 && holder !== "gone" && !held.has(resolve(path)) && isDead(holder)) await takeAway(path, holder);
    else if (attempt >= 3 || holder !== "gone") throw taken(path, holder);
  }
}

type Holder = { readonly host?: string; readonly pid?: number; readonly since?: number } | "gone";

async function readHolder(path: string): Promise<Holder> {
  try {
    const text = await readFile(path, "utf8");
    if (text !== "") return JSON.parse(text);
    const { mtimeMs } = await stat(path);
    return Date.now() - mtimeMs > UNFINISHED ? { host: hostname(), since: 0 } : {};
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? "gone" : {};
  }
}

/** Removes the sign of a dead holder; one that another process has put there meanwhile comes back. */
async function takeAway(path: string, dead: Holder): Promise<void> {
  const aside = `${path}.${process.pid}`;
  await rename(path, aside).catch(() => {}); // gone
  const taken = await readHolder(aside);
  if (taken !== "gone" && JSON.stringify(taken) !== JSON.stringify(dead)) await rename(aside, path);
  else await rm(aside, { force: true });
}

function isDead(holder: Exclude<Holder, "gone">): boolean {
  const { host, pid, since = 0 } = holder;
  if (host !== hostname()) return false;
  return pid === undefined || pid === process.pid || since < Date.now() - 1000 * uptime() || isGone(pid);
}

/** Whether no process of this machine has the number. */
export function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

function taken(path: string, holder: Holder): SmhdrError {
  const who =
    holder === "gone" ? "" : ` (process ${holder.pid ?? "unknown"} on ${holder.host ?? "an unknown machine"})`;
  return new SmhdrError(
    "IO",
    `Another batch${who} works in this folder: wait for it, or delete ${path} if there is none.`,
  );
}
