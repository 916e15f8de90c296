import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { SmhdrError, throwIfAborted } from "../errors.js";

/**
 * A name in the folder of `path` that nobody else uses: renaming it to `path` stays on one file system. Random, since a
 * process number comes again (in a container it is always the same) while what a killed process left may still be there.
 */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${stem(path)}.${process.pid}-${randomBytes(6).toString("hex")}.tmp`);
}

/** The file's name, long ones shortened and told apart by a hash: file systems take 255 bytes. */
function stem(path: string): string {
  const name = basename(path);
  if (name.length <= 40) return name;
  return `${name.slice(0, 31)}~${createHash("sha256").update(name).digest("hex").slice(0, 8)}`;
}

/**
 * Deletes what processes that were killed left of temporaryName(path) beside `path`: files of processes for which `isGone` says so.
 * Writers may add an extension to a temporary name for a second file.
 */
export async function removeTemporaries(paths: readonly string[], isGone: (pid: number) => boolean): Promise<void> {
  for (const folder of new Set(paths.map(dirname))) {
    const mine = new Set(paths.map(stem));
    for (const name of await readdir(folder).catch(() => [])) {
      const match = /^\.(.+)\.(\d+)-[0-9a-f]{12}\.tmp(\.\w+)?$/.exec(name);
      if (match && mine.has(match[1]) && isGone(Number(match[2]))) await rm(join(folder, name), { force: true });
    }
  }
}

/**
 * Runs `write` on a temporary file beside `path` and renames it to `path` when that is done: a reader never sees half
 * a file, and whatever fails leaves nothing behind and an existing file as it was. Throws IO, naming the path, where
 * the file system says no, and CANCELLED when `signal` fires.
 */
export async function replaceFile(
  path: string,
  signal: AbortSignal | undefined,
  write: (temporary: string) => Promise<void>,
): Promise<void> {
  throwIfAborted(signal);
  const temporary = temporaryName(path);
  try {
    await write(temporary);
    throwIfAborted(signal);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {}); // the first error is the one to tell
    if (error instanceof SmhdrError) throw error;
    throw new SmhdrError("IO", `${path}: cannot be written (${explain(error, path)}).`, { cause: error });
  }
}

/** Opens `path` anew for `write` and closes it whatever happens. */
export async function withNewFile(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, "wx");
  try {
    await write(file);
  } finally {
    await file.close();
  }
}

/** FileHandle.write may write less than it was given; this does not. */
export async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

function explain(error: unknown, path: string): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return `the folder ${dirname(path)} does not exist`;
  if (code === "ENOTDIR") return `${dirname(path)} is not a folder`;
  if (code === "EACCES" || code === "EPERM") return `no permission to write in ${dirname(path)}`;
  if (code === "EROFS") return `${dirname(path)} is read-only`;
  if (code === "ENOSPC" || code === "EDQUOT") return "no space left";
  if (code === "EISDIR") return "it is a folder";
  return message.split("\n")[0].trim(); // libvips repeats itself over many lines
}
